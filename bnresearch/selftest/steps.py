"""Steps of a case on some devices, and what differs between two of them."""

import collections
import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from bnresearch.selftest.cases import Case, program
from bnresearch.training import parallel

TOLERANCE = 2e-5  # of the largest value in a tree
# For a CPU beside another platform, whose functions round in their own way
# too. In these cases, inputs with an error of float32's rounding move no result
# by more than 3e-6; inputs rounded as for TF32 move those of batch norm by 3e-4
# to 2e-2, those rounded as bfloat16 four times as much.
TOLERANCE_OF_CPU = 1e-4
_COLLECTIVE = re.compile(
  r' (all-reduce|all-gather|reduce-scatter|collective-permute|all-to-all)'
  r'(?:-start)?\('
)


class Result(NamedTuple):
  """What a step gave: arrays, and {collective: count}."""

  arrays: dict[str, Any]
  collectives: dict[str, int]


def step(
  case: Case, backend: str, devices: Sequence[jax.Device], N: int
) -> Result:
  """Makes one step of `case` on N examples, split over the devices."""
  make_step, *arguments = program(case, backend, N)
  *network, batch, key = arguments
  with jax.set_mesh(parallel.mesh_of(devices)):
    placed = *parallel.shared(network), parallel.split(batch), key
    compiled = make_step.lower(*placed).compile()
    arrays = jax.tree.map(np.asarray, compiled(*placed))
  found = collections.Counter(_COLLECTIVE.findall(compiled.as_text()))
  return Result(arrays, dict(found))


def difference(actual: Any, expected: Any) -> float:
  """Returns the largest difference, over the largest value of the tree."""
  pairs = [*zip(jax.tree.leaves(actual), jax.tree.leaves(expected))]
  most = max((np.abs(e).max(initial=0) for _, e in pairs), default=0)
  apart = [np.abs(a - e.astype(np.float64)).max(initial=0) for a, e in pairs]
  return max(apart, default=0) / most if most else max(apart, default=0)


def differences(result: Result, expected: Result) -> dict[str, float]:
  """Returns how far each kind of array is from what is expected."""
  return {
    name: difference(result.arrays[name], expected.arrays[name])
    for name in expected.arrays
  }


def wrong(
  case: Case, result: Result, expected: Result, tolerance: float = TOLERANCE
) -> list[str]:
  """Returns what differs between two steps, or is communicated too often."""
  found = [
    f'{name} differ by {value:.1e}'
    for name, value in differences(result, expected).items()
    if not value <= tolerance
  ]
  norms = len(expected.arrays['statistics'].get('batch_stats', {}))
  # One per layer and direction, and two for all gradients: XLA may split them.
  most = 2 * norms + 2
  count = sum(result.collectives.values())
  if case.norm == 'batch' and not case.masked and count > most:
    found.append(f'{count} collectives, more than {most}')
  return found
