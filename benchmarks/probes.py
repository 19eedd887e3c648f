"""What probes cost: Figure 1's network with BN, with and without them.

Claim:    all cheap probes, every 500 steps, add less than 20% to the time of
          the run.
Source:   our own goal.
Command:  python -m benchmarks.probes --output=probes.json
Cost:     two minutes on two CPU cores.
Result:   benchmarks/results/probes_*.json

Cheap is a probe that needs no other points, directions or examples than the
network's own: all but those of `COSTLY`. Both contestants are runs as users
start them, from the tight start, in turns; times are whole, from the start of
the process. Round 0, which compiles, does not count.
"""

import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from benchmarks import _timing
from bnresearch import command, lookup
from bnresearch.reports import claims
from bnresearch.runs import run_directory
from bnresearch.terminal import Console

COSTLY = {
  'gradient_landscape',
  'gradient_noise',
  'gradient_shift',
  'hessian_spectrum',
  'layer_jacobian',
  'loss_slices',
  'sharpness',
}
CHEAP = tuple(sorted({*lookup.names('probes')} - COSTLY))
CONTESTANTS = {'without probes': (), 'with cheap probes': CHEAP}
GOAL = 1.2


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Times both runs in turns, prints them side by side, and judges the goal."""
  args = _timing.parse(
    'probes', __doc__, 5, argv, steps={'type': int, 'default': 50_000}
  )
  if args.dry_run:
    args.steps = 500
  rounds = {name: [] for name in CONTESTANTS}
  for k in range(args.rounds + 1):
    for name, probes in CONTESTANTS.items():
      seconds, record = _seconds(probes, args.steps)
      print(f'round {k}, {name}: {seconds:.2f} s', flush=True)
      rounds[name].append(seconds)
  without, with_them = (np.array(times[1:]) for times in rounds.values())
  table = Table(title=f'Figure 1 with BN on the digits, {args.steps:,} steps')
  for column in ('', 'seconds, median', 'least', 'most'):
    table.add_column(column, justify='right')
  for name, times in zip(CONTESTANTS, (without, with_them)):
    numbers = np.median(times), times.min(), times.max()
    table.add_row(name, *(f'{x:.2f}' for x in numbers))
  Console(width=100).print(table)
  print(f'{len(CHEAP)} probes; a record takes {1e3 * record:.1f} ms.')
  ratios = with_them / without
  judged = claims.Claim(
    'whole time, from the start of the process',
    f'with all cheap probes at most {GOAL} of the time without',
    'our goal',
    f'{np.median(ratios):.3f}, median of {np.round(ratios, 3).tolist()}',
    tuple(bool(ratio <= GOAL) for ratio in ratios),
  )
  return _timing.finish(
    'probes',
    args,
    [judged],
    data='digits',
    steps=args.steps,
    rounds=args.rounds,
    probes=CHEAP,
    seconds_of_a_record=record,
    seconds={'without': without.tolist(), 'with': with_them.tolist()},
  )


def _seconds(probes, steps):
  """Returns the seconds of a whole run, and those of one record of probes."""
  with tempfile.TemporaryDirectory() as folder:
    began = time.monotonic()
    child = subprocess.run(
      [
        sys.executable,
        '-m',
        'bnresearch.main',
        f'--config=configs/figure1.py:init=tight,steps={steps}',
        '--config.sweep=()',
        '--config.model.init_std=0.01',
        '--config.norm.name=batch',
        f'--config.probes.names={probes!r}',
        f'--workdir={folder}',
      ],
      capture_output=True,
      text=True,
    )
    seconds = time.monotonic() - began
    if child.returncode:
      raise RuntimeError(f'A run failed:\n{child.stdout}{child.stderr}')
    told = run_directory.read_status(pathlib.Path(folder))
  return seconds, told.get('probe_seconds', 0.0)


if __name__ == '__main__':
  sys.exit(main())
