"""Saturation: the fraction of inputs where the nonlinearity is flat.

Ioffe & Szegedy 2015, section 2: "the saturation problem and the resulting
vanishing gradients". At |x| = 4 the sigmoid's slope is 0.018, 7% of its
maximum.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView

SCALARS = ()


def measure(
  view: NetworkView, *, saturation_threshold: float
) -> dict[str, jax.Array]:
  """Returns {tap: fraction of values with |x| > saturation_threshold}."""
  return {
    name: (jnp.abs(x_VC) > saturation_threshold).mean()
    for name, x_VC in view.taps.items()
  }
