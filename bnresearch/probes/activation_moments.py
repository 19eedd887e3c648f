"""Mean and standard deviation of the inputs to each nonlinearity."""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView
from bnresearch.statistics import moments

SCALARS = ()


def measure(view: NetworkView) -> dict[str, jax.Array]:
  """Returns {tap/mean: (C,), tap/std: (C,)}, in the tap's units."""
  result = {}
  for name, x_VC in view.taps.items():
    mean_C, var_C = moments.moments(x_VC, axes=(0,))
    result |= {f'{name}/mean': mean_C, f'{name}/std': jnp.sqrt(var_C)}
  return result
