"""Scale and bias of normalizers: gamma and beta of Ioffe & Szegedy 2015.

A channel whose gamma is near 0 is switched off; sparse ones tell which channels
can go (Liu et al. 2017, 1708.06519).
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView, _trees
from bnresearch.statistics import moments

SCALARS = ('scale/mean', 'scale/near_zero', 'bias/mean', 'bias/std')


def measure(view: NetworkView, *, near_zero: float) -> dict[str, jax.Array]:
  """Returns four numbers of each scale and bias that lie beside no kernel.

  {normalizer/scale/mean; .../std; .../smallest, with its sign; .../near_zero,
  the fraction with |scale| < near_zero}, likewise normalizer/bias. Both are
  without units. The scalars are means over normalizers. A network without such
  parameters has no results.
  """
  parameters = _trees.by_path(view.params)
  result: dict[str, jax.Array] = {}
  for path in view.order.parameters:
    layer, _, kind = path.rpartition('/')
    if kind in ('scale', 'bias') and f'{layer}/kernel' not in parameters:
      found = _numbers(parameters[path].ravel(), near_zero)
      result |= {f'{path}/{name}': x for name, x in found.items()}
  for name in SCALARS:
    of_layers = [x for key, x in result.items() if key.endswith(f'/{name}')]
    if of_layers:
      result[name] = jnp.stack(of_layers).mean()
  return result


def _numbers(x, near_zero):
  mean, var = moments.moments(x, axes=(0,))
  return {
    'mean': mean,
    'std': jnp.sqrt(var),
    'smallest': x.min(),
    'near_zero': (jnp.abs(x) < near_zero).mean(),
  }
