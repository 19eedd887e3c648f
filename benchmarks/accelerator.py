"""The first minutes on an accelerator: the open questions, by one command.

Claim:    none; docs/accelerators.md says which decision follows from what.
Source:   our own questions, in the order of what their answers decide.
Command:  python -m benchmarks.accelerator --minutes=8
Cost:     at most --minutes; the same command goes on with what is left.
Result:   benchmarks/results/accelerator_*.json

Each item is another benchmark or check, in a process of its own, which has the
whole device. Its result is in the JSON file as soon as it ends. An item that
needs more time than is left is put off, and a shorter one may go before it.
"""

import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import Any, NamedTuple

from rich.table import Table

from bnresearch import command, lookup, paths
from bnresearch.terminal import Console, say

_TAIL = 4000  # characters of an item's output that are kept
_LEFT_FOR_JSON = 5  # seconds
_WHERE = ('date', 'device', 'devices', 'python', 'jax', 'commit')


class Item(NamedTuple):
  """A part of the measurement.

  Attributes:
    name: of the row.
    words: of its command, after `python -m`.
    least: seconds that it is expected to need on one GPU.
    dry: words instead of --dry_run, where it has no such flag.
    writes: whether it takes --output, a JSON file.
  """

  name: str
  words: tuple[str, ...]
  least: int
  dry: tuple[str, ...] = ('--dry_run',)
  writes: bool = True


_MNIST = '--data=mnist'
_BFLOAT16 = '--dtype=bfloat16'
ITEMS = (
  Item('selftest', ('bnresearch.selftest',), 90, ('--help',), writes=False),
  Item('bn', ('benchmarks.norm',), 30),
  Item('bn_bfloat16', ('benchmarks.norm', _BFLOAT16), 30),
  Item('figure1', ('benchmarks.figure1', _MNIST, '--steps=20000'), 90),
  Item('sweep', ('benchmarks.sweep', _MNIST, '--steps=2000'), 120),
  Item(
    'networks_bfloat16',
    (
      'benchmarks.forward_time',
      '--models=resnet_50,inception_v2,mobilenet_v2',
      '--size=224',
      '--batch=128',
      '--burn_in=3',
      '--batches=20',
      _BFLOAT16,
    ),
    120,
  ),
  Item(
    'figure2_bfloat16', ('benchmarks.inception', '--batch=128', _BFLOAT16), 90
  ),
  Item('folding', ('benchmarks.folding',), 30),
  Item('input', ('benchmarks.data',), 60),
)


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Measures what is left, as long as there is time; prints the table."""
  args = _parse(argv)
  ends = time.monotonic() + 60 * args.minutes
  found = _read(args.output)
  chosen = [item for item in ITEMS if item.name in args.items]
  for item in chosen:
    left = ends - time.monotonic() - _LEFT_FOR_JSON
    if found.get(item.name, {}).get('status') == 'done':
      continue
    if left < (1 if args.dry_run else item.least):
      say(f'{item.name}: needs {item.least} s; {max(0, left):.0f} s are left.')
      continue
    say(f'{item.name}: {" ".join(item.words)}, {left:.0f} s are left.')
    found[item.name] = _measured(item, left, args.dry_run)
    with paths.replacing(args.output) as file:
      file.write_text(json.dumps(_whole(found), indent=2), encoding='utf-8')
  Console(width=100).print(_table(found))
  say(f'{args.output} has all numbers; docs/accelerators.md says what follows.')
  missing = [item.name for item in chosen if item.name not in found]
  if missing:
    say(f'The same command goes on with {", ".join(missing)}.')
  return 0 if all(r['status'] == 'done' for r in found.values()) else 1


def _measured(item, seconds, dry) -> dict[str, Any]:
  """Runs an item in a process of its own; returns what is known of it."""
  with tempfile.TemporaryDirectory() as folder:
    output = pathlib.Path(folder, 'result.json')
    words = [sys.executable, '-m', *item.words, *(item.dry if dry else ())]
    if item.writes:
      words.append(f'--output={output}')
    began = time.monotonic()
    try:
      done = subprocess.run(
        words, capture_output=True, text=True, timeout=seconds
      )
    except subprocess.TimeoutExpired as error:
      status, text = 'out of time', error.stdout or b''
      text = text.decode(errors='replace') if type(text) is bytes else text
    else:
      # A goal that is missed is a result; a difference, wrong use or a fault
      # is none.
      status = 'failed' if done.returncode else 'done'
      text = done.stdout + done.stderr
      if item.writes and not output.exists():
        status = 'failed'
    return {
      'status': status,
      'command': ' '.join(item.words),
      'seconds': round(time.monotonic() - began, 1),
      'output': text[-_TAIL:],
      'result': json.loads(output.read_text()) if output.exists() else None,
    }


def _whole(found):
  """Returns what is written: what the items found, and where they ran.

  An item says that, because JAX would take the device's memory if this process
  asked for it.
  """
  told = [r['result'] for r in found.values() if r['result']]
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


def _read(file):
  """Returns what an earlier call has found; what was not done is done again."""
  if not file.exists():
    return {}
  found = json.loads(file.read_text(encoding='utf-8'))['items']
  return {name: r for name, r in found.items() if r['status'] == 'done'}


def _table(found):
  table = Table('item', 'status', 'seconds', 'device', title='Measured')
  for item in ITEMS:
    row = found.get(item.name)
    if row:
      device = (row['result'] or {}).get('device', '')
      table.add_row(item.name, row['status'], f'{row["seconds"]:.0f}', device)
    else:
      table.add_row(item.name, 'left', '', '')
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
    '--dry_run', action='store_true', help='each item as small as it can be'
  )
  args = parser.parse_args(argv)
  if not args.minutes > 0:
    parser.error(f'--minutes={args.minutes}: needs more than 0.')
  return args


if __name__ == '__main__':
  sys.exit(main())
