"""Speed and memory of training networks: this code, and PyTorch.

Claim:    on an accelerator, a training step takes at most the time of compiled
          PyTorch's.
Source:   our own goal.
Command:  python -m benchmarks.networks --output=networks.json
Cost:     three minutes on one GPU; hours on two CPU cores.
Result:   benchmarks/results/networks_*.json

Every contestant has its own process, and with it the whole device: the same
batch on the device, layers in --dtype, parameters in float32, three steps to
warm up. The time is that of the fastest round of --steps steps, which are in
flight together. A multiply-add of a convolution or dense layer counts as two
operations, a step as three forward passes; the peak is the product of large
matrices. Compiling is timed apart from the first step, and without the cache of
programs; PyTorch compiles in its first step. This code's memory is what the
compiled step needs, PyTorch's the most that it has allocated. 'largest' is
the largest batch whose step fits and runs, within 10%.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from typing import Any

from rich.table import Table

from benchmarks import _networks_contestants as contestants
from benchmarks import _timing
from bnresearch import command, lookup, zoo
from bnresearch.machine import process
from bnresearch.reports import claims
from bnresearch.terminal import Console

NETWORKS = 'resnet_50,inception_v2,mobilenet_v2'
CONTESTANTS = tuple(name for name in contestants.PLAYERS if name != 'peak')
OF_PYTORCH = 1.0
# {key of a row: its title, its form}
COLUMNS = {
  'images_per_s': ('images/s', ',.0f'),
  'ms': ('ms', ',.1f'),
  'of_peak': ('of peak', '.1%'),
  'memory_gb': ('GB', '.2f'),
  'trace_s': ('trace s', '.1f'),
  'compile_s': ('compile s', '.1f'),
  'first_step_s': ('first step s', '.2f'),
  'largest_batch': ('largest', ',d'),
}


@command.line(lookup.Unknown)
def main(argv: Sequence[str] | None = None) -> int:
  """Measures every contestant on every network, or plays one."""
  args = _parse(argv)
  if args.play:
    name, network = args.play.split(':')
    print(json.dumps(contestants.PLAYERS[name](args, network)))
    return 0
  # This process starts no JAX before its children are done: it would take the
  # device, or most of its memory, from them.
  known = _measure('peak', ','.join(args.models), args)
  rows = [
    _row(name, network, args, known)
    for network in args.models
    for name in args.contestants
  ]
  _print(rows, args, known['gflops'])
  judged = _judge(rows)
  return _timing.finish(
    'networks',
    args,
    judged,
    data=f'uniform random numbers, {args.dtype}',
    batch=args.batch,
    size=args.size,
    dtype=args.dtype,
    timed_steps=args.steps,
    peak_gflops=known['gflops'],
    rows=rows,
  )


def _measure(name, network, args) -> dict[str, Any]:
  """Plays one contestant in a process of its own, without kept programs."""
  command = [sys.executable, '-m', 'benchmarks.networks']
  command += [f'--play={name}:{network}', f'--models={network}']
  for option in ('size', 'batch', 'dtype', 'steps', 'rounds', 'memory_gb'):
    command.append(f'--{option}={getattr(args, option)}')
  print(f'{network}, {name}', flush=True)
  environment = os.environ | {'JAX_ENABLE_COMPILATION_CACHE': 'false'}
  # All cores, as PyTorch takes.
  environment.setdefault('NPROC', str(process.cores()))
  child = subprocess.run(
    command, capture_output=True, text=True, env=environment
  )
  if child.returncode and name.startswith('torch'):
    why = (child.stderr.strip().splitlines() or ['no reason given'])[-1]
    return {'skipped': f'PyTorch failed: {why}'}
  if child.returncode:
    raise RuntimeError(f'{network}, {name} failed:\n{child.stderr[-4000:]}')
  return json.loads(child.stdout.splitlines()[-1])


def _row(name, network, args, known):
  """Returns what a contestant measured, with what follows from its time."""
  row = {
    'network': network,
    'contestant': name,
    **_measure(name, network, args),
  }
  if 'seconds' in row:
    seconds = row.pop('seconds')
    row['ms'] = 1e3 * seconds
    row['images_per_s'] = args.batch / seconds
    row['of_peak'] = known[f'gflop_{network}'] / seconds / known['gflops']
  return row


def _judge(rows):
  """Returns the claim about this code, over the networks."""
  by_network = {}
  for row in rows:
    by_network.setdefault(row['network'], {})[row['contestant']] = row
  ratios = [
    of['bnresearch']['ms'] / of['torch_compiled']['ms']
    for of in by_network.values()
    if all(
      'ms' in of.get(name, {}) for name in ('bnresearch', 'torch_compiled')
    )
    and of['bnresearch']['platform'] != 'cpu'
  ]
  if not ratios:
    return []
  return [
    claims.Claim(
      'over the networks',
      "at most the time of compiled PyTorch's step",
      'our goal',
      ', '.join(f'{ratio:.2f}' for ratio in ratios),
      tuple(ratio <= OF_PYTORCH for ratio in ratios),
    )
  ]


def _print(rows, args, peak):
  table = Table(
    title=f'A training step: {args.batch} images of {args.size} pixels, '
    f'{args.dtype}'
  )
  for column in (
    'network',
    'contestant',
    *(title for title, _ in COLUMNS.values()),
  ):
    table.add_column(column, justify='right')
  for row in rows:
    numbers = [
      format(row[key], form) if key in row else ''
      for key, (_, form) in COLUMNS.items()
    ]
    numbers = [row['skipped']] if 'skipped' in row else numbers
    table.add_row(row['network'], row['contestant'], *numbers)
  Console(width=120).print(table)
  print(f'Peak of the matrix product: {peak:,.0f} GFLOP/s, {args.dtype}.')


def _parse(argv):
  args = _timing.parse(
    'networks',
    __doc__,
    3,
    argv,
    models={
      'type': _list,
      'default': NETWORKS,
      'help': 'comma-separated, of `python -m bnresearch.models`',
    },
    contestants={
      'type': _list,
      'default': ','.join(CONTESTANTS),
      'help': f'some of {",".join(CONTESTANTS)}',
    },
    dtype={'choices': ('float32', 'bfloat16'), 'default': 'bfloat16'},
    batch={'type': int, 'default': 128},
    size={'type': int, 'default': 224, 'help': 'of images, in pixels'},
    steps={'type': int, 'default': 20, 'help': 'of a round'},
    memory_gb={
      'type': float,
      'default': 0.0,
      'help': "for the largest batch; 0 for the device's",
    },
    play={'help': argparse.SUPPRESS},
  )
  if args.dry_run:
    args.models, args.batch, args.size = ['lenet_5'], 2, 28
    args.steps, args.memory_gb = 1, 0.01
  for name in args.models:
    zoo.published(name)
  for name in args.contestants:
    if name not in CONTESTANTS:
      why = lookup.suggest(name, CONTESTANTS)
      raise lookup.Unknown(f'No contestant {name!r}. {why}')
  return args


def _list(text):
  return text.split(',')


if __name__ == '__main__':
  sys.exit(main())
