"""What benchmarks share: measuring contestants in turns, and arguments."""

import argparse
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from bnresearch import paths
from bnresearch.reports import claims
from bnresearch.runs import provenance

Call = Callable[[], object]
TURN_S = 0.05


def fastest(
  calls: Mapping[str, Call], rounds: int, random: np.random.RandomState
) -> dict[str, float]:
  """Returns the seconds per call of each contestant, in its fastest round.

  Other work on the machine can only add to a time. The order changes each
  round, because the contestant after PyTorch meets its threads still spinning.

  Args:
    calls: calls by name; each returns when its work is done.
    rounds: number of rounds; each gives every contestant a turn of about 50 ms.
    random: draws the orders.
  """
  repeats = {name: _repeats(call) for name, call in calls.items()}
  seconds = {name: [] for name in calls}
  turns = (name for _ in range(rounds) for name in random.permutation([*calls]))
  for name in turns:
    calls[name]()
    began = time.perf_counter()
    for _ in range(repeats[name]):
      calls[name]()
    seconds[name].append((time.perf_counter() - began) / repeats[name])
  return {name: min(s) for name, s in seconds.items()}


def _repeats(call):
  """Returns how many calls fill a turn, after one to warm up and one timed."""
  call()
  began = time.perf_counter()
  call()
  return max(1, round(TURN_S / (time.perf_counter() - began)))


def parse(
  name: str,
  text: str,
  rounds: int,
  argv: Sequence[str] | None,
  **own: dict[str, Any],
) -> argparse.Namespace:
  """Returns the arguments of a benchmark; a dry run gets one round.

  Args:
    name: the benchmark's file name.
    text: its docstring.
    rounds: the default of --rounds.
    argv: arguments after the command; None for the process's.
    **own: its own options, each with the keywords of `add_argument`.
  """
  parser = argparse.ArgumentParser(
    prog=f'python -m benchmarks.{name}',
    description=text,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  for option, keywords in own.items():
    parser.add_argument(f'--{option}', **keywords)
  parser.add_argument('--rounds', type=int, default=rounds)
  parser.add_argument('--output', type=paths.output, help='a JSON file')
  parser.add_argument(
    '--dry_run', action='store_true', help='smallest sizes, one round'
  )
  args = parser.parse_args(argv)
  for option, value in vars(args).items():
    if type(value) is int and value < 1:
      parser.error(f'--{option}={value}: needs 1 or more.')
  if args.dry_run:
    args.rounds = 1
  return args


def finish(
  name: str,
  args: argparse.Namespace,
  judged: Sequence[claims.Claim],
  *,
  steps: int = 0,
  **numbers: Any,
) -> int:
  """Prints the verdicts of a benchmark and writes its JSON; returns 0.

  Args:
    name: the benchmark's file name.
    args: with --output, the file, or None.
    judged: its claims.
    steps: of the runs that it makes, if it makes any.
    **numbers: `data`, what was computed on, and what was measured. They win
      over what is known of this process.
  """
  if judged:
    print(claims.text(judged))
  if args.output:
    notes = {
      'benchmark': name,
      'steps': steps,
      'platform': jax.default_backend(),
    }
    claims.write(
      args.output, judged, **(notes | provenance.collect() | numbers)
    )
  return 0
