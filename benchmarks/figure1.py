"""Speed of Figure 1's training: this code, a Flax-style loop, PyTorch eager.

Claim:    Both networks of Figure 1 train here in at most a quarter of the time
          of PyTorch eager and half that of a loop with one jitted call a step.
Source:   our own goal; the arithmetic of the network sets the floor.
Command:  python -m benchmarks.figure1 --data=mnist --steps=50000
Cost:     the command above, about four minutes on two CPU cores.
Result:   benchmarks/results/figure1_*.json

Each contestant trains both networks, none and batch, with the same data,
batches of 60, SGD and an evaluation on the test split every 500 steps, without
probes, and with the last checkpoint only. Each has its own processes: ours one
per network on a CPU; the others, and ours elsewhere, train one network after
the other, on all cores, as their users do. Whole times begin with the start of
the process.
"""

import argparse
import itertools
import json
import subprocess
import sys
import time
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from benchmarks import _timing
from benchmarks._figure1_contestants import NORMS, PLAYERS
from bnresearch import command, lookup
from bnresearch.reports import claims
from bnresearch.terminal import Console

GOALS = {'flax-style loop': 0.5, 'PyTorch eager': 0.25}
CONTESTANTS = ('bnresearch', 'flax-style loop', 'PyTorch eager')


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Measures all contestants, or plays one of them in a child process."""
  args = _parse(argv)
  if args.play:
    print(json.dumps(PLAYERS[args.play](args)))
    return 0
  rounds = {name: [] for name in CONTESTANTS}
  for k in range(args.rounds):
    for name in rounds:
      result = _measure(name, args)
      print(f'round {k + 1}, {name}: {result}', flush=True)
      rounds[name].append(result)
  peak = _measure('peak', args)['gflops']
  rows = [_row(name, rounds[name], args, peak) for name in rounds]
  _print(rows, args, peak)
  judged = [_judge(name, goal, rounds) for name, goal in GOALS.items()]
  judged = [claim for claim in judged if claim]
  return _timing.finish(
    'figure1',
    args,
    judged,
    data=args.data,
    steps=args.steps,
    rounds=args.rounds,
    peak_gflops=round(peak, 1),
    rows=rows,
  )


def _measure(name, args):
  """Plays one contestant in a fresh process; adds its whole wall time."""
  command = [sys.executable, '-m', 'benchmarks.figure1']
  command += [f'--play={name}', f'--data={args.data}', f'--steps={args.steps}']
  began = time.monotonic()
  child = subprocess.run(command, capture_output=True, text=True)
  whole = time.monotonic() - began
  if child.returncode:
    raise RuntimeError(f'{name} failed:\n{child.stderr}')
  result = json.loads(child.stdout.splitlines()[-1])
  return (
    result if 'skipped' in result else {**result, 'whole_s': round(whole, 2)}
  )


def _row(name, results, args, peak):
  """Returns the medians over rounds, and the fraction of the peak reached."""
  if 'skipped' in results[0]:
    return {'contestant': name, **results[0]}
  whole, train = (
    float(np.median([r[key] for r in results]))
    for key in ('whole_s', 'train_s')
  )
  gflop = len(NORMS) * args.steps * _step_flop(args.data) / 1e9
  return {
    'contestant': name,
    'whole_s': whole,
    'train_s': train,
    'ms_per_step': train / (len(NORMS) * args.steps) * 1e3,
    'fraction_of_peak': gflop / train / peak,
  }


def _judge(name, goal, rounds):
  """Returns the claim about one contestant, by round; None if skipped."""
  if 'skipped' in rounds[name][0]:
    return None
  ratios = np.array(
    [
      ours['whole_s'] / theirs['whole_s']
      for ours, theirs in zip(rounds['bnresearch'], rounds[name])
    ]
  )
  return claims.Claim(
    'whole time, from the start of the process',
    f'at most {goal} of {name}',
    'our goal',
    f'{np.median(ratios):.3f}, median of {np.round(ratios, 3).tolist()}',
    tuple(bool(ratio <= goal) for ratio in ratios),
  )


def _step_flop(data):
  """Returns a step's operations in matrix products, forward and backward.

  Each layer has forward and weight gradient; from the second on, also input
  gradient; each costs 2 * 60 * inputs * outputs.
  """
  H, W, C = lookup.find('data', data).spec().image_shape
  sizes = [H * W * C, 100, 100, 100, 10]
  layers = [a * b for a, b in itertools.pairwise(sizes)]
  return 2 * 60 * (2 * sum(layers) + sum(layers[1:]))


def _print(rows, args, peak):
  table = Table(
    title=f'Figure 1 on {args.data}: both networks, {args.steps:,} steps each'
  )
  for column in ('contestant', 'whole s', 'training s', 'ms/step', 'of peak'):
    table.add_column(column, justify='right')
  table.add_column('time over bnresearch', justify='right')
  for row in rows:
    if 'skipped' in row:
      table.add_row(row['contestant'], row['skipped'])
      continue
    table.add_row(
      row['contestant'],
      f'{row["whole_s"]:.1f}',
      f'{row["train_s"]:.1f}',
      f'{row["ms_per_step"]:.3f}',
      f'{row["fraction_of_peak"]:.0%}',
      f'{row["whole_s"] / rows[0]["whole_s"]:.2f}',
    )
  Console(width=100).print(table)
  print(f'Peak of the matrix product, all cores: {peak:.0f} GFLOP/s.')


def _parse(argv):
  args = _timing.parse(
    'figure1',
    __doc__,
    1,
    argv,
    data={'default': 'digits', 'choices': lookup.names('data')},
    steps={'type': int, 'default': 10_000},
    play={'choices': PLAYERS, 'help': argparse.SUPPRESS},
  )
  if args.dry_run:
    args.data, args.steps = 'synthetic', 500
  return args


if __name__ == '__main__':
  sys.exit(main())
