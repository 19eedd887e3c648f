"""A campaign against runs: kills, damage, bad values, bad images, many starts.

  python -m tests.campaign                  # all of it, about half an hour
  python -m tests.campaign kills images     # some of it
  python -m tests.campaign starts --count=10 --busy

Each prints how many it tried, how many survived, and what was lost. The exit
status is 1 if anything was lost. It is not part of the test suite.
"""

import argparse
import contextlib
import io
import multiprocessing
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import PIL.Image
from rich.console import Console
from rich.progress import track
from rich.table import Table

import bnresearch as bnr
from bnresearch import config as configs
from bnresearch import knobs, main
from bnresearch.images import decoding
from bnresearch.runs.checkpoint import digest

ROOT = pathlib.Path(__file__).parent.parent
# Busy: a checkpoint every 40 steps, of which three are kept.
RUN = (
  '--config=configs/default.py',
  '--config.model.features=(24, 16)',
  '--config.train.steps=800',
  '--config.train.log_every=20',
  '--config.eval.every=40',
  '--config.checkpoint.every=40',
)
# Kills the process at event number N of those by which files come and go, or of
# those while a checkpoint is deleted.
KILLED = """
import os, runpy, signal, sys
kind, left = sys.argv.pop(1), int(sys.argv.pop(1))
deleting = kind != 'deletion'
def hook(event, args):
  global left, deleting
  if event == 'shutil.rmtree' and 'checkpoints' in str(args[0]):
    deleting = True
  if deleting and event in ('os.remove', 'os.rmdir', 'os.rename', 'os.mkdir'):
    left -= 1
    if left == 0:
      os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
runpy.run_module('bnresearch.main', run_name='__main__', alter_sys=True)
"""
BAD = (
  *('nan', 'inf', '-inf', '-1', '0', '1e39', '1e400', '9' * 400, 'None', ''),
  *('[]', '(1,', '{1: 2}', "{'a': 1}", '(' * 300, '((1,),)', 'true', '1_0'),
  *('[/bold]', '[red]', '\x1b[31m', '\u0301', '$a$b$', '../..', 'gs://x', '~'),
)


class Outcome(NamedTuple):
  """The result of one attempt; `lost` says what was lost, '' if nothing."""

  name: str
  lost: str = ''


def kills(count: int, draw: random.Random, folder: pathlib.Path):
  """SIGKILL at random moments, also while a checkpoint is deleted."""
  for launcher in ('local', 'vectorized'):
    flags = (*RUN, f'--launcher={launcher}')
    whole = folder / f'whole_{launcher}'
    assert _run(*flags, f'--workdir={whole}').returncode == 0
    for k in range(count // 2):
      path = folder / f'{launcher}_{k}'
      kind = ('clock', 'files', 'deletion')[k % 3]
      died = _killed(kind, draw, (*flags, f'--workdir={path}'))
      name = f'{launcher}, by {kind}'
      # Who only reads must manage with what a kill has left.
      read = _run('--mode=eval', '--step=best', f'--workdir={path}')
      went_on = _run(*flags, f'--workdir={path}')
      if 'Traceback' in read.stderr + went_on.stderr:
        yield Outcome(
          name, f'traceback: {(read.stderr + went_on.stderr)[-300:]}'
        )
      elif not died:
        yield Outcome(name, 'the kill came too late')
      else:
        yield Outcome(name, _difference(whole, path))


def _killed(kind, draw, flags):
  """Starts a run that is killed; returns whether it was."""
  if kind != 'clock':
    at = draw.randint(1, 60 if kind == 'files' else 12)
    command = [sys.executable, '-c', KILLED, kind, str(at), *flags]
    return subprocess.run(command, cwd=ROOT, capture_output=True).returncode < 0
  process = subprocess.Popen(
    [sys.executable, '-m', 'bnresearch.main', *flags],
    cwd=ROOT,
    stdout=subprocess.DEVNULL,
    stderr=subprocess.DEVNULL,
  )
  log = pathlib.Path(flags[-1].partition('=')[2], 'metrics.jsonl')
  rows, deadline = draw.randint(1, 30), time.monotonic() + 120
  while time.monotonic() < deadline and process.poll() is None:
    if log.exists() and log.read_bytes().count(b'\n') >= rows:
      break
    time.sleep(0.001)
  process.kill()
  return process.wait() == -signal.SIGKILL


def _difference(whole, path):
  """Says how a continued run differs from one that never stopped."""
  books = [(p / 'metrics.jsonl').read_bytes() for p in (whole, path)]
  if books[0] != books[1]:
    return 'the logbook is another one'
  for step in ('latest', 'best'):
    a, b = (digest(bnr.open_run(p).restore(step)) for p in (whole, path))
    if a != b:
      return f'the {step} state is another one'
  return ''


def _run(*flags):
  return subprocess.run(
    [sys.executable, '-m', 'bnresearch.main', *flags],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )


def damages(count: int, draw: random.Random, folder: pathlib.Path):
  """A file of a run that was stopped is cut, changed, emptied or deleted."""
  whole, stopped = folder / 'whole', folder / 'stopped'
  assert _run(*RUN, f'--workdir={whole}').returncode == 0
  while not stopped.exists() or not any(stopped.glob('checkpoints/[0-9]*')):
    shutil.rmtree(stopped, ignore_errors=True)
    _killed('clock', draw, (*RUN, f'--workdir={stopped}'))
  for k in range(count):
    path = folder / f'damaged_{k}'
    shutil.copytree(stopped, path)
    files = sorted(
      f for f in path.rglob('*') if f.stat().st_size and f.is_file()
    )
    file = draw.choice(files)
    how = draw.choice((_cut, _change, _empty, pathlib.Path.unlink))
    how(file)
    name = f'{how.__name__.strip("_")} {file.relative_to(path)}'
    printed = ''
    for flags in (
      ('--mode=eval', '--step=best', f'--workdir={path}'),
      (*RUN, '--status', f'--workdir={path}'),
      (*RUN, f'--workdir={path}'),
    ):
      code, text, error = _in_process(flags)
      printed += text
      if error:
        break
    if error:
      yield Outcome(name, error)
    elif code == 0:
      a, b = (digest(bnr.open_run(p).restore()) for p in (whole, path))
      yield Outcome(name, '' if a == b else 'the state is another one')
    else:  # Refused is no loss, if the message names what is wrong.
      named = file.name in printed or str(path) in printed
      yield Outcome(name, '' if named else f'{code}: {printed[-300:]}')
    shutil.rmtree(path)


def _cut(file):
  os.truncate(file, file.stat().st_size // 2)


def _change(file):
  data = bytearray(file.read_bytes())
  data[len(data) // 2] ^= 0x10
  file.write_bytes(data)


def _empty(file):
  file.write_bytes(b'')


def values(count: int, draw: random.Random, folder: pathlib.Path):
  """A knob gets a value that few knobs or none may have."""
  known = configs.load(str(ROOT / 'configs' / 'default.py'))
  keys = sorted(knobs.leaves(known))
  small = ('--config.train.steps=2', '--config.train.log_every=1')
  for k in range(count):
    key, value = draw.choice(keys), draw.choice(BAD)
    path = folder / f'value_{k}'
    flags = (RUN[0], *small, f'--config.{key}={value}', f'--workdir={path}')
    code, printed, error = _in_process(flags)
    name = f'{key}={value[:20]!r}'
    if error:
      yield Outcome(name, error)
    elif code == 2 and path.exists():
      yield Outcome(name, 'refused, but a directory was written')
    elif code and key.split('.')[-1] not in printed:
      yield Outcome(name, f'the message does not name it: {printed[-300:]}')
    else:
      yield Outcome(name)


def _in_process(flags):
  """Returns the exit status of the command line, its output, its traceback."""
  output = io.StringIO()
  try:
    with (
      contextlib.redirect_stdout(output),
      contextlib.redirect_stderr(output),
    ):
      return main.main(flags), output.getvalue(), ''
  except SystemExit as error:
    return error.code, output.getvalue(), ''
  except BaseException:
    return None, output.getvalue(), traceback.format_exc()[-300:]


def images(count: int, draw: random.Random, folder: pathlib.Path):
  """A byte of an image changes, or its end is missing; Pillow is the judge."""
  noise = np.random.RandomState(0).randint(0, 256, (40, 48, 3), np.uint8)
  smooth = noise // 8 + np.arange(48, dtype=np.uint8)[:, None]
  for k in range(count):
    file = folder / f'{k}{draw.choice((".png", ".jpg", ".bmp"))}'
    PIL.Image.fromarray(draw.choice((noise, smooth))).save(file)
    data = bytearray(file.read_bytes())
    at = draw.randrange(8, len(data))
    if draw.random() < 0.7:
      data[at] ^= 1 << draw.randrange(8)
    else:
      del data[at:]
    file.write_bytes(data)
    try:
      with PIL.Image.open(io.BytesIO(data)) as image:
        image.load()
      right = True
    except Exception:
      right = False
    # What training and prediction ask of each file before they take it.
    accepted = not decoding.inspect(bytes(data)).problem
    wrong = accepted and not right
    yield Outcome(file.name, 'damage is taken for an image' if wrong else '')


def starts(count: int, draw: random.Random, folder: pathlib.Path):
  """The default run of fast networks, as a user starts it."""
  for k in range(count):
    for model, steps in (('lenet', 1000), ('vgg', 200)):
      path = folder / f'{model}_{k}'
      done = _run(
        RUN[0],
        f'--config.model.name={model}',
        '--config.model.stem=small',
        '--config.model.width=0.25',
        f'--config.train.steps={steps}',
        '--config.eval.every=100',
        f'--workdir={path}',
      )
      failed = done.returncode != 0
      yield Outcome(model, f'exit {done.returncode}' if failed else '')


@contextlib.contextmanager
def _busy(processes: int) -> Iterator[None]:
  """Keeps this many cores busy."""
  workers = [
    multiprocessing.Process(target=_spin, daemon=True) for _ in range(processes)
  ]
  for worker in workers:
    worker.start()
  try:
    yield
  finally:
    for worker in workers:
      worker.kill()


def _spin():
  while True:
    pass


# What each does, and how many times.
CAMPAIGNS = {
  'kills': (kills, 20),
  'damages': (damages, 45),
  'values': (values, 100),
  'images': (images, 300),
  'starts': (starts, 10),
}


def run(argv=None) -> int:
  """Runs campaigns; returns 1 if anything was lost."""
  parser = argparse.ArgumentParser(
    prog='python -m tests.campaign',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    'names', nargs='*', metavar='NAME', help=f'of {", ".join(CAMPAIGNS)}'
  )
  parser.add_argument(
    '--count', type=int, help='attempts, instead of the usual'
  )
  parser.add_argument('--seed', type=int, default=0, help='of what is drawn')
  parser.add_argument(
    '--busy', action='store_true', help='keep every core busy meanwhile'
  )
  args = parser.parse_args(argv)
  if unknown := set(args.names) - set(CAMPAIGNS):
    parser.error(f'{", ".join(unknown)}: choose from {", ".join(CAMPAIGNS)}.')
  console, lost = Console(markup=False, highlight=False), []
  table = Table('campaign', 'tried', 'survived', 'lost', 'minutes')
  busy = _busy(os.cpu_count()) if args.busy else contextlib.nullcontext()
  with busy:
    for name in args.names or CAMPAIGNS:
      campaign, count = CAMPAIGNS[name]
      count, began = args.count or count, time.monotonic()
      with tempfile.TemporaryDirectory() as folder:
        path, draw = pathlib.Path(folder), random.Random(args.seed)
        outcomes = list(
          track(campaign(count, draw, path), name, count, console=console)
        )
      bad = [outcome for outcome in outcomes if outcome.lost]
      lost += bad
      minutes = f'{(time.monotonic() - began) / 60:.1f}'
      figures = len(outcomes), len(outcomes) - len(bad), len(bad)
      table.add_row(name, *map(str, figures), minutes)
  for outcome in lost:
    console.print(f'{outcome.name}: {outcome.lost}')
  console.print(table)
  return 1 if lost else 0


if __name__ == '__main__':
  sys.exit(run())
