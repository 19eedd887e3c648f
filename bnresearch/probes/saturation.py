"""Saturation: where the nonlinearity is flat, and how steep it is on average.

Ioffe & Szegedy 2015, section 2: "the saturation problem and the resulting
vanishing gradients". At |x| = 4 the sigmoid's slope is 0.018, 7% of its
maximum. The mean slope is what a layer multiplies gradients with.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView, _slopes

SCALARS = ('fraction', 'slope')


def measure(
  view: NetworkView, *, saturation_threshold: float
) -> dict[str, jax.Array]:
  """Returns {tap: fraction of values with |x| > saturation_threshold}.

  And {tap/slope: mean derivative of the nonlinearity at its inputs}, where it
  is a function of single numbers. The scalars are means over layers.
  """
  fractions = {
    name: (jnp.abs(x_VC) > saturation_threshold).mean()
    for name, x_VC in view.taps.items()
  }
  slopes = {name: x_VC.mean() for name, x_VC in _slopes.of_taps(view).items()}
  result = fractions | {f'{name}/slope': x for name, x in slopes.items()}
  for name, of_layers in zip(SCALARS, (fractions, slopes)):
    if of_layers:
      result[name] = jnp.stack([*of_layers.values()]).mean()
  return result
