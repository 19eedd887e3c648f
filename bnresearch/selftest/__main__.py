"""Proves that devices and back-ends change no result.

For every option of batch normalization, each back-end makes a training step on
all devices, and jit makes one on a single device: loss, gradients, statistics
and updated parameters must be the same, up to the order of additions. On an
accelerator, jit makes the step on this machine's CPU too, which must give the
same up to 1e-4 of the largest value. The collectives are those of the compiled
program. The exit status is 1 if anything differs, or if batch normalization
communicates more than once per layer and direction.
"""

import argparse
import sys
from collections.abc import Sequence

import jax
from rich import box
from rich.table import Table

from bnresearch import command
from bnresearch.machine import process
from bnresearch.selftest import cases, steps
from bnresearch.terminal import Console
from bnresearch.training import parallel


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs all cases; returns 1 if the devices change a result."""
  args = _parse(argv)
  if args.cpu_devices:
    jax.config.update('jax_num_cpu_devices', args.cpu_devices)
  chosen = jax.config.jax_platforms
  if chosen and 'cpu' not in chosen.split(','):
    jax.config.update('jax_platforms', f'{chosen},cpu')  # to compare with
  process.prepare(max(2, process.cores()))
  devices = jax.devices()
  todo = cases.cases(len(devices))[: 1 if args.dry_run else None]
  reference = None if devices[0].platform == 'cpu' else jax.devices('cpu')[0]
  # By default, GPUs multiply with fewer digits, which would be no fault.
  with jax.default_matmul_precision('highest'):
    return _run(todo, devices, reference, Console())


def _run(todo, devices, reference, console):
  """Makes the steps of all cases, prints them, and returns the exit status."""
  title = f'{len(devices)} x {devices[0].device_kind}, jax {jax.__version__}'
  table = Table(
    *('option', 'back-end', 'largest difference', 'collectives'),
    title=title,
    title_justify='left',
    box=box.SIMPLE_HEAD,
  )
  problems = []
  for number, case in enumerate(todo, start=1):
    with console.status(f'{number} of {len(todo)}: {case.name}'):
      for k, row in enumerate(_rows(case, devices, reference)):
        found = row.pop('problems')
        problems += [f'{case.name}, {row["by"]}: {text}.' for text in found]
        table.add_row(
          '' if k else case.name,
          row['by'],
          f'{row["most"]:.1e}{" WRONG" if found else ""}',
          row['collectives'],
        )
  console.print(table)
  for problem in problems:
    console.print(problem)
  on = f'1 and {len(devices)} devices' + (' and the CPU' if reference else '')
  console.print(
    f'{len(problems)} problems: results depend on the devices.'
    if problems
    else f'{len(todo)} options agree on {on}.'
  )
  return 1 if problems else 0


def _rows(case, devices, reference):
  """Yields how each back-end's step differs from one device's by jit.

  And how that differs from the step on a CPU, the reference, if there is one.
  """
  N = cases.SHARE * len(devices)
  alone = steps.step(case, 'jit', devices[:1], N)
  compared = [
    (name, steps.step(case, name, devices, N), alone, steps.TOLERANCE)
    for name in parallel.BACKENDS
  ]
  if reference:
    on_cpu = steps.step(case, 'jit', [reference], N)
    compared.append(('1 and the CPU', alone, on_cpu, steps.TOLERANCE_OF_CPU))
  for name, result, expected, tolerance in compared:
    kinds = sorted(result.collectives.items())
    yield {
      'by': name,
      'most': max(steps.differences(result, expected).values()),
      'collectives': ', '.join(f'{n} {kind}' for kind, n in kinds) or 'none',
      'problems': steps.wrong(case, result, expected, tolerance),
    }


def _parse(argv):
  parser = argparse.ArgumentParser(
    prog='python -m bnresearch.selftest',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    '--cpu_devices',
    type=int,
    metavar='N',
    help='on a CPU, as how many devices it shall pass (default: its cores, 2 '
    'at least)',
  )
  parser.add_argument(
    '--dry_run', action='store_true', help='the first option alone'
  )
  args = parser.parse_args(argv)
  if args.cpu_devices is not None and args.cpu_devices < 1:
    parser.error(f'--cpu_devices={args.cpu_devices}: needs 1 or more.')
  return args


if __name__ == '__main__':
  sys.exit(main())
