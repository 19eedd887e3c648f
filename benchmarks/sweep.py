"""Speed of a sweep: vectorized, sequential, by processes, and in PyTorch.

Claim:    on two CPU cores, 32 points train vectorized at 1.5 times the speed of
          sequential runs and at 3.5 times that of PyTorch; on an accelerator,
          at 10 times the speed of sequential runs. Their step is compiled once,
          not 32 times.
Source:   our own goal.
Command:  python -m benchmarks.sweep --data=mnist --steps=5000
Cost:     15 minutes on two CPU cores.
Result:   benchmarks/results/sweep_*.json

The points are Figure 1's network with BN, with 8 learning rates and 4 seeds;
batches of 60, SGD, an evaluation on the test split every 500 steps, no probes,
only the last checkpoint. Each contestant has its own process, or one per core,
and begins without compiled programs. Sequential runs keep theirs in the cache
of programs as usual, where the seeds of a learning rate share them; without
that cache every run compiles. Whole times begin with the start of the process.
Training is the launcher's time, including the start of its processes, minus the
compilations (those of several processes divided by their number).

With --study=figure1 the points are all of configs/figure1.py instead, with and
without BN, probes and checkpoints as published; --steps=50000 is the paper's.
With --widths=4,8,16,32 it also trains that many points as one program, to find
the best number on this machine.
"""

import argparse
import json
import sys
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from benchmarks import _sweep_contestants as contestants
from benchmarks import _timing
from bnresearch import command
from bnresearch.config import ConfigError
from bnresearch.machine import process
from bnresearch.reports import claims
from bnresearch.terminal import Console

# Least ratio of a contestant's time to that of 'vectorized'.
GOALS_ON_CPU = {'sequential': 1.5, 'torch': 3.5}
GOALS_ON_ACCELERATOR = {'sequential': 10.0}


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Measures the contestants, or plays one of them in a child process."""
  args = _parse(argv)
  if args.play:
    print(json.dumps(contestants.play(args.play, args)))
    return 0
  with contestants.ready(args) as data:
    rounds = _rounds(args, data)
    widths = _widths(args, data)
  rows = [_row(name, rounds, args) for name in args.contestants]
  _print(rows, widths, args)
  judged = _judge(rounds) if args.study == 'rates' else []
  used = rounds['vectorized'][0]
  return _timing.finish(
    'sweep',
    args,
    judged,
    data=args.data,
    steps=args.steps,
    study=args.study,
    points=args.points,
    rounds=args.rounds,
    rows=rows,
    ms_per_member_step_of_widths=widths,
    measured=rounds,
    cores=process.cores(),
    **{key: used[key] for key in ('devices', 'threads')},
  )


def _rounds(args, data):
  """Returns {contestant: its results}, measured in turns, back and forth."""
  rounds = {name: [] for name in args.contestants}
  for k in range(args.rounds):
    for name in args.contestants[:: -1 if k % 2 else 1]:
      result = contestants.measure(name, args, data)
      print(f'round {k + 1}, {name}: {_rounded(result)}', flush=True)
      rounds[name].append(result)
  return rounds


def _widths(args, data):
  """Returns {members of a program: median ms per member step}."""
  found = {width: [] for width in args.widths}
  for k in range(args.rounds):
    for width in args.widths[:: -1 if k % 2 else 1]:
      own = argparse.Namespace(**{**vars(args), 'points': width})
      result = contestants.measure('vectorized', own, data)
      ms = result['train_s'] / (width * args.steps) * 1e3
      print(f'round {k + 1}, {width} members: {ms:.4f} ms', flush=True)
      found[width].append(ms)
  return {width: float(np.median(ms)) for width, ms in found.items()}


def _row(name, rounds, args):
  """Returns the medians over rounds."""
  results = rounds[name]
  if 'skipped' in results[0]:
    return {'contestant': name, **results[0]}
  keys = 'whole_s', 'train_s', 'programs', 'training_programs', 'compile_s'
  row = {
    key: float(np.median([result[key] for result in results]))
    for key in keys
    if key in results[0]
  }
  return {
    'contestant': name,
    **row,
    'ms_per_member_step': row['train_s'] / (args.points * args.steps) * 1e3,
    'over_vectorized': float(np.median(_ratios(name, rounds))),
  }


def _ratios(name, rounds):
  """Returns whole times relative to 'vectorized', by round."""
  return [
    theirs['whole_s'] / ours['whole_s']
    for ours, theirs in zip(rounds['vectorized'], rounds[name])
  ]


def _judge(rounds):
  """Returns the claims about the measured contestants."""
  ours = rounds['vectorized']
  on_cpu = ours[0]['platform'] == 'cpu'
  judged = []
  for name, goal in (GOALS_ON_CPU if on_cpu else GOALS_ON_ACCELERATOR).items():
    if 'skipped' in rounds.get(name, [{'skipped': ''}])[0]:
      continue
    ratios = np.array(_ratios(name, rounds))
    judged.append(
      claims.Claim(
        'whole time, from the start of the process',
        f'vectorized at least {goal} times as fast as {name}',
        'our goal',
        f'{np.median(ratios):.2f}, median of {np.round(ratios, 2).tolist()}',
        tuple(bool(ratio >= goal) for ratio in ratios),
      )
    )
  compiled = {
    name: [result['training_programs'] for result in results]
    for name, results in rounds.items()
    if 'training_programs' in results[0]
  }
  judged.append(
    claims.Claim(
      'compilations of the training step',
      'one for all points',
      'our goal',
      ', '.join(
        f'{name} {np.median(counts):.0f}' for name, counts in compiled.items()
      ),
      tuple(count == 1 for count in compiled['vectorized']),
    )
  )
  return judged


def _print(rows, widths, args):
  table = Table(
    title=f'{args.points} points on {args.data}, {args.steps:,} steps each'
  )
  table.add_column('contestant', no_wrap=True)
  for column in (
    'whole s',
    'training s',
    'ms/member step',
    'programs',
    'that step',
    'compile s',
    'ratio',
  ):
    table.add_column(column, justify='right')
  for row in rows:
    title = contestants.TITLES[row['contestant']]
    if 'skipped' in row:
      table.add_row(title, row['skipped'])
      continue
    compiled = [
      f'{row[key]:{form}}' if key in row else ''
      for key, form in (
        ('programs', '.0f'),
        ('training_programs', '.0f'),
        ('compile_s', '.1f'),
      )
    ]
    table.add_row(
      title,
      f'{row["whole_s"]:.1f}',
      f'{row["train_s"]:.1f}',
      f'{row["ms_per_member_step"]:.4f}',
      *compiled,
      f'{row["over_vectorized"]:.2f}',
    )
  Console(width=110).print(table)
  print('Ratio: whole time over that of vectorized. Programs: compiled ones.')
  for width, ms in widths.items():
    best = ', the best' if ms == min(widths.values()) else ''
    print(f'{width} members in a program: {ms:.4f} ms per member step{best}')


def _rounded(result):
  return {
    key: round(value, 2) if isinstance(value, float) else value
    for key, value in result.items()
  }


def _parse(argv):
  args = _timing.parse(
    'sweep',
    __doc__,
    1,
    argv,
    data={'default': 'digits', 'help': 'digits, mnist, ...'},
    steps={'type': int, 'default': 2000, 'help': 'of each point, 500 x any'},
    study={'choices': contestants.STUDIES, 'default': 'rates'},
    points={'type': int, 'default': 32, 'help': 'of the rates'},
    contestants={
      'type': _contestants,
      'default': ','.join(contestants.TITLES),
      'help': f'some of {",".join(contestants.TITLES)}',
    },
    widths={'type': _numbers, 'default': '', 'help': 'as 4,8,16,32'},
    play={'choices': contestants.PLAYERS, 'help': argparse.SUPPRESS},
  )
  if args.dry_run:
    args.data, args.steps, args.points = 'synthetic', 500, 2
    if args.contestants == list(contestants.TITLES):
      args.contestants = ['vectorized', 'processes', 'torch']
  try:
    args.points = len(contestants.points_of(args))
  except ConfigError as error:
    raise SystemExit(str(error)) from None
  return args


def _contestants(text):
  """Reads names; puts 'vectorized' first, the reference for the others."""
  names = ['vectorized', *text.split(',')]
  unknown = sorted(set(names) - set(contestants.TITLES))
  if unknown:
    raise argparse.ArgumentTypeError(
      f'{", ".join(unknown)}: needs some of {",".join(contestants.TITLES)}.'
    )
  return [name for name in contestants.TITLES if name in names]


def _numbers(text):
  numbers = [int(part) for part in text.split(',') if part]
  if any(number < 1 for number in numbers):
    raise argparse.ArgumentTypeError(f'{text}: needs 1 or more.')
  return numbers


if __name__ == '__main__':
  sys.exit(main())
