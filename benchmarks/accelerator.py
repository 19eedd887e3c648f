"""The first minutes on an accelerator: the open questions, by one command.

Claim:    none; docs/accelerators.md says which decision follows from what.
Source:   our own questions, in the order of what their answers decide.
Command:  python -m benchmarks.accelerator --minutes=8
Cost:     at most --minutes; the same command goes on with what is left.
Result:   benchmarks/results/accelerator_*.json

Each item is another benchmark or check, in a process of its own, which has the
whole device. Its result is in the JSON file, and in the page made from that, as
soon as it ends. An item that needs more time than is left is put off, and a
shorter one may go before it.
"""

import argparse
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from benchmarks import _accelerator_answers as answers
from benchmarks import _accelerator_page
from benchmarks._accelerator_items import ITEMS
from bnresearch import command, lookup, paths
from bnresearch.terminal import Console, say

_TAIL = 4000  # characters of an item's output that are kept
_LEFT_FOR_JSON = 5  # seconds
_WHERE = (
  *('date', 'platform', 'device', 'devices', 'python', 'jax', 'jaxlib', 'flax'),
  *('bnresearch', 'commit'),
)


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Measures what is left, as long as there is time; prints the table."""
  args = _parse(argv)
  ends = time.monotonic() + 60 * args.minutes
  found = _read(args.output, args.dry_run)
  chosen = [item for item in ITEMS if item.name in args.items]
  data = _data()
  for item in chosen:
    left = ends - time.monotonic() - _LEFT_FOR_JSON
    if found.get(item.name, {}).get('status') == 'done':
      continue
    words = [word.format(**data) for word in item.words]
    if left < (1 if args.dry_run else item.least):
      left = max(0, round(left))
      say(f'{item.name}: needs {item.least} s; {left} s are left.')
      found[item.name] = {'status': 'put off', 'left': left}
    else:
      say(f'{item.name}: {" ".join(words)}, {left:.0f} s are left.')
      found[item.name] = _measured(item, words, left, args.dry_run)
    _write(found, args)
  Console(width=100).print(_table(found))
  say(f'{args.page} says what follows; {args.output} has all numbers.')
  missing = [i for i in chosen if found[i.name]['status'] != 'done']
  if missing:
    longest = _accelerator_page.minutes(max(i.least for i in missing))
    names = ', '.join(item.name for item in missing)
    say(f'The same command goes on with {names}.')
    say(f'The longest of them needs --minutes={longest}.')
  wrong = {'failed', 'out of time'} & {found[i.name]['status'] for i in chosen}
  return 1 if wrong else 0


def _data():
  """Returns the data sets of the items: those of the papers, if here."""
  names = {'digits': 'mnist', 'clothes': 'fashion_mnist'}
  for key, name in names.items():
    if missing := lookup.find('data', name).ready():
      say(f"{missing} scikit-learn's digits take its place.")
      names[key] = 'digits'
  return names


def _measured(item, words, seconds, dry) -> dict[str, Any]:
  """Runs an item in a process of its own; returns what is known of it."""
  with tempfile.TemporaryDirectory() as folder:
    output = pathlib.Path(folder, 'result.json')
    command = [sys.executable, '-m', *words, *(['--dry_run'] if dry else ())]
    if item.writes:
      command.append(f'--output={output}')
    began = time.monotonic()
    code, text = _run(command, seconds)
    # A goal that is missed is a result; a difference, wrong use or a fault is
    # none.
    status = 'failed' if code or item.writes > output.exists() else 'done'
    return {
      'status': 'out of time' if code is None else status,
      'command': ' '.join(words),
      'seconds': round(time.monotonic() - began, 1),
      'output': text[-_TAIL:],
      'result': json.loads(output.read_text()) if output.exists() else None,
    }


def _run(command, seconds) -> tuple[int | None, str]:
  """Runs a command; returns its exit status, None if it was stopped, and text.

  Its own processes end with it: they would keep the device.
  """
  child = subprocess.Popen(
    command,
    stdout=subprocess.PIPE,
    stderr=subprocess.STDOUT,
    text=True,
    errors='replace',
    start_new_session=True,
    env=os.environ | {'PYTHONUNBUFFERED': '1'},  # what it said is never lost
  )
  try:
    text, _ = child.communicate(timeout=seconds)
    return child.returncode, text
  except subprocess.TimeoutExpired:
    os.killpg(child.pid, signal.SIGKILL)
    text, _ = child.communicate()
    return None, text
  except BaseException:
    os.killpg(child.pid, signal.SIGKILL)
    child.wait()
    raise


def _write(found, args):
  """Writes the JSON file, and the page made from it."""
  whole = _whole(found) | ({'dry_run': True} if args.dry_run else {})
  with paths.replacing(args.output) as file:
    file.write_text(json.dumps(whole, indent=2), encoding='utf-8')
  with paths.replacing(args.page) as file:
    file.write_text(_accelerator_page.page(whole), encoding='utf-8')


def _whole(found):
  """Returns what is written: what the items found, and where they ran.

  An item says that, because JAX would take the device's memory if this process
  asked for it.
  """
  told = [r['result'] for r in found.values() if r.get('result')]
  where = (
    {key: told[0][key] for key in _WHERE if key in told[0]} if told else {}
  )
  return {
    'benchmark': 'accelerator',
    'data': 'what each item has',
    'steps': 0,
    'claims': [],
    **where,
    'items': found,
  }


def _read(file, dry_run):
  """Returns what an earlier call has found; {} if one of them was a dry run."""
  if not file.exists():
    return {}
  whole = json.loads(file.read_text(encoding='utf-8'))
  if whole.get('dry_run', False) != dry_run:
    return {}
  return whole['items']


def _table(found):
  table = Table('item', 'status', 'seconds', 'found', title='Measured')
  for item in ITEMS:
    row = found.get(item.name, {'status': 'left'})
    told = ''
    if row['status'] == 'done':
      told = ' '.join(answers.of(item.name, found))
    seconds = f'{row["seconds"]:.0f}' if 'seconds' in row else ''
    table.add_row(item.name, row['status'], seconds, told)
  return table


def _names(text):
  names, known = text.split(','), [item.name for item in ITEMS]
  for name in names:
    if name not in known:
      why = lookup.suggest(name, known)
      raise argparse.ArgumentTypeError(f'{name!r}: there is none. {why}')
  return names


def _parse(argv):
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks.accelerator',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument('--minutes', type=float, default=8)
  parser.add_argument(
    '--items',
    type=_names,
    default=[item.name for item in ITEMS],
    help=f'comma-separated, default all: {", ".join(i.name for i in ITEMS)}',
  )
  parser.add_argument(
    '--output',
    type=paths.output,
    default='accelerator.json',
    help='a JSON file; what it has already is not measured again',
  )
  parser.add_argument(
    '--page',
    type=paths.output,
    help='an HTML file; by default beside the JSON file',
  )
  parser.add_argument(
    '--dry_run', action='store_true', help='each item as small as it can be'
  )
  args = parser.parse_args(argv)
  if not args.minutes > 0:
    parser.error(f'--minutes={args.minutes}: needs more than 0.')
  args.page = args.page or args.output.with_suffix('.html')
  return args


if __name__ == '__main__':
  sys.exit(main())
