"""Speed of making batches: this code, tf.data, PyTorch's DataLoader.

Claim:    This code makes batches at 1.2 times the speed of the best contestant,
          per core; a small-image network waits for data under 2% of its time.
Source:   our own goal.
Command:  python -m benchmarks.data --folder=FOLDER --output=data.json
Cost:     two minutes on two CPU cores.
Result:   benchmarks/results/data_*.json

Photographs are decoded, cropped at random and resized to 224 pixels, in batches
of 32. FOLDER has a folder of JPEG files per class; the default is
$BNRESEARCH_DATA_DIR/flowers160. Images of MNIST's and CIFAR's size are shifted,
flipped and converted to float32, in batches of 256. Contestants take turns,
each in its own process; the CPU seconds of all its threads count, after a first
batch. Then this code makes photographs with all cores, by the clock. tf.data
and the DataLoader are skipped if not installed. Without a FOLDER, photographs
are smooth noise of 500x375 pixels.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

import cv2
import jax
import numpy as np
from rich.table import Table

from benchmarks import _data_contestants as contestants
from benchmarks import _timing
from bnresearch import command
from bnresearch import config as configs
from bnresearch.assembly import assemble
from bnresearch.machine import process
from bnresearch.reports import claims
from bnresearch.terminal import Console
from configs import default

COUNTS = {'photographs': 40, 'mnist': 400, 'cifar': 400}  # batches per turn
GOAL, MOST_WAITING = 1.2, 0.02
NETWORKS = ('mlp', 'lenet')
STEPS = 200
MADE = 512  # photographs, where there are none


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Measures all contestants, or plays one of them in a child process."""
  originals = os.environ.get('BNRESEARCH_DATA_DIR')
  args = _timing.parse(
    'data',
    __doc__,
    5,
    argv,
    folder={'default': f'{originals}/flowers160' if originals else ''},
    play={'choices': contestants.PLAYERS, 'help': argparse.SUPPRESS},
    case={'choices': COUNTS, 'help': argparse.SUPPRESS},
    clock={'action': 'store_true', 'help': argparse.SUPPRESS},
  )
  os.environ['NPROC'] = str(process.cores() if args.clock else 1)
  process.prepare()
  if args.play:
    print(json.dumps(_play(args)))
    return 0
  with _photographs(args):
    rounds = [
      {case: {p: _turn(p, case, args) for p in _present()} for case in COUNTS}
      for _ in range(args.rounds)
    ]
    by_clock = _turn('bnresearch', 'photographs', args, clock=True)
  networks = NETWORKS[:1] if args.dry_run else NETWORKS
  waiting = {name: _waiting(name, args) for name in networks}
  _print(rounds, waiting)
  judged = _judge(rounds, waiting)
  return _timing.finish(
    'data',
    args,
    judged,
    data='photographs, and images of random numbers',
    images_per_cpu_second=rounds,
    photographs_per_s=by_clock,
    cores=process.cores(),
    waiting=waiting,
    batch_sizes=contestants.BATCHES,
  )


def _present():
  """Returns the contestants that are installed."""
  return [
    name
    for name, (_, package) in contestants.PLAYERS.items()
    if importlib.util.find_spec(package)
  ]


@contextlib.contextmanager
def _photographs(args) -> Iterator[None]:
  """Makes photographs for the time of the measurement, if there are none."""
  if args.folder:
    yield
    return
  random = np.random.RandomState(0)
  with tempfile.TemporaryDirectory() as args.folder:
    for k in range(8 if args.dry_run else MADE):
      folder = pathlib.Path(args.folder, f'class_{k % 2}')
      folder.mkdir(exist_ok=True)
      noise = random.randint(0, 256, (15, 20, 3), np.uint8)
      large = cv2.resize(noise, (500, 375), interpolation=cv2.INTER_CUBIC)
      cv2.imwrite(str(folder / f'{k}.jpg'), large)
    yield


def _turn(player, case, args, clock=False):
  """Returns a contestant's images per CPU second, or second, in a process."""
  command = [sys.executable, '-m', 'benchmarks.data']
  command += [f'--play={player}', f'--case={case}', f'--folder={args.folder}']
  command += ['--dry_run'] * args.dry_run + ['--clock'] * clock
  child = subprocess.run(command, capture_output=True, text=True)
  if child.returncode:
    raise RuntimeError(f'{player} failed:\n{child.stderr}')
  speed = json.loads(child.stdout.splitlines()[-1])
  of = 'second, all cores' if clock else 'CPU second'
  print(f'{case}, {player}: {speed:,.0f} images a {of}', flush=True)
  return speed


def _play(args):
  count = 2 if args.dry_run else COUNTS[args.case]
  function, _ = contestants.PLAYERS[args.play]
  batches = function(args.case, count, args.folder)
  now = time.perf_counter if args.clock else time.process_time
  next(batches)
  began = now()
  for _ in batches:
    pass
  seconds = now() - began
  return count * contestants.BATCHES[args.case] / seconds


def _waiting(network, args):
  """Returns the fraction of its time that training waits for data.

  'device' keeps the images on the device, the default for small ones, and
  gathers batches within the step; 'host' sends them from here.
  """
  steps = 4 if args.dry_run else STEPS
  config = default.get_config()
  wrong = configs.override(
    config,
    {
      'data.name': 'mnist',
      'model.name': network,
      'train.steps': 10 * args.rounds * steps,
      'train.batch_size': 64,
      'augment.crop': 'padded',
      'augment.flip': True,
    },
  )
  assert not wrong, wrong
  sources = {'train': contestants.small('mnist')}
  key, result = jax.random.key(0), {}
  for place, on_device in (('device', 'always'), ('host', 'never')):
    config.data.on_device = on_device
    parts = assemble(config, sources=sources)
    now = parts.training.fresh_state()
    made = parts.training.feed(now)
    now, _ = jax.block_until_ready(made.advance(now, range(steps), key))
    before, began = made.waited, time.perf_counter()
    for k in range(1, 1 + args.rounds):
      now, _ = made.advance(now, range(k * steps, (k + 1) * steps), key)
    jax.block_until_ready(now)
    seconds = time.perf_counter() - began
    result[place] = {
      'ms_per_step': seconds / args.rounds / steps * 1e3,
      'waiting': (made.waited - before) / seconds,
    }
    made.close()
  return result


def _medians(rounds, case):
  return {
    player: float(np.median([turns[case][player] for turns in rounds]))
    for player in rounds[0][case]
  }


def _print(rounds, waiting):
  table = Table(title='Images per CPU second, medians')
  players = list(contestants.PLAYERS)
  for column in ('case', *players, *(f'over {p}' for p in players[1:])):
    table.add_column(column, justify='right')
  for case in rounds[0]:
    speed = _medians(rounds, case)
    numbers = [f'{speed[p]:,.0f}' if p in speed else '' for p in players]
    ratios = [
      f'{speed["bnresearch"] / speed[p]:.2f}' if p in speed else ''
      for p in players[1:]
    ]
    table.add_row(case, *numbers, *ratios)
  Console(width=110).print(table)
  for network, places in waiting.items():
    for place, found in places.items():
      print(
        f'{network}, images on the {place}: {found["ms_per_step"]:.2f} ms a '
        f'step, waits for data {found["waiting"]:.2%} of the time'
      )


def _judge(rounds, waiting):
  judged = []
  for case in rounds[0]:
    ratios = [
      turns[case]['bnresearch']
      / max(v for p, v in turns[case].items() if p != 'bnresearch')
      for turns in rounds
      if len(turns[case]) > 1
    ]
    if ratios:
      judged.append(
        claims.Claim(
          case,
          f'{GOAL} times the speed of the best of the others, per core',
          'our goal',
          f'{np.median(ratios):.2f}, median of {np.round(ratios, 2).tolist()}',
          tuple(ratio >= GOAL for ratio in ratios),
        )
      )
  for network, places in waiting.items():
    judged.append(
      claims.Claim(
        network,
        f'waits for data under {MOST_WAITING:.0%} of its time',
        'our goal',
        ', '.join(
          f'{found["waiting"]:.2%}, images on the {place}'
          for place, found in places.items()
        ),
        (places['device']['waiting'] < MOST_WAITING,),
      )
    )
  return judged


if __name__ == '__main__':
  sys.exit(main())
