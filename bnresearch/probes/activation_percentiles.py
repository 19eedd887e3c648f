"""Percentiles of the inputs to each nonlinearity. Ioffe & Szegedy 2015, Fig. 1.

The paper plots the {15, 50, 85}th of one unit. This probe takes all units of
all layers, so that one can choose afterwards and see the others.
"""

import jax

from bnresearch.probes import NetworkView, _sorted

SCALARS = ()


def measure(
  view: NetworkView, *, percentiles: tuple[float, ...]
) -> dict[str, jax.Array]:
  """Returns {tap: (percentiles, C)}, in the units of the pre-activation.

  Interpolates linearly between values, as `np.percentile` does.
  """
  levels = [percentile / 100 for percentile in percentiles]
  return {
    name: _sorted.quantiles(sorted_CV, levels)
    for name, sorted_CV in view.sorted.items()
  }
