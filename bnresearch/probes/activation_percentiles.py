"""Percentiles of the inputs to each nonlinearity. Ioffe & Szegedy 2015, Fig. 1.

The paper plots the {15, 50, 85}th of one unit. This probe takes all units of
all layers, so that one can choose afterwards and see the others.
"""

import math

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView

SCALARS = ()


def measure(
  view: NetworkView, *, percentiles: tuple[float, ...]
) -> dict[str, jax.Array]:
  """Returns {tap: (percentiles, C)}, in the units of the pre-activation.

  Interpolates linearly between values, as `np.percentile` does.
  """
  result = {}
  for name, x_VC in view.taps.items():
    sorted_CV = _sort(x_VC.T.astype(jnp.float32))
    rows = []
    for percentile in percentiles:
      position = percentile / 100 * (x_VC.shape[0] - 1)
      low, high = math.floor(position), math.ceil(position)
      low_C, high_C = sorted_CV[:, low], sorted_CV[:, high]
      rows.append(low_C + (position - low) * (high_C - low_C))
    result[name] = jnp.stack(rows)
  return result


def _sort(x):
  """Sorts float32 along the last axis, by its bits read as integers.

  With the lower bits of negative numbers flipped, the order is the same, and
  XLA sorts integers seven times faster than floats on a CPU.
  """

  def flip(i):
    return i ^ ((i >> 31) & 0x7FFFFFFF)

  bits = jax.lax.bitcast_convert_type(x, jnp.int32)
  return jax.lax.bitcast_convert_type(flip(jnp.sort(flip(bits))), jnp.float32)
