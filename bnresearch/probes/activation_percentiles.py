"""Percentiles of the inputs to each nonlinearity. Ioffe & Szegedy 2015, Fig. 1.

The paper plots the {15, 50, 85}th of one unit; here are all units' of all
layers, so that the one can be chosen afterwards, and the others seen.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import Batch, View


def measure(
  view: View, batch: Batch, *, percentiles: tuple[float, ...]
) -> dict[str, jax.Array]:
  """Returns {tap: (percentiles, C)}, in the units of the pre-activation."""
  q = jnp.asarray(percentiles)
  taps = view.taps(batch.images_NHWC)
  return {name: jnp.percentile(x, q, axis=0) for name, x in taps.items()}
