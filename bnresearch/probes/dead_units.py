"""Dead units, and sparsity: where the nonlinearity lets nothing through.

A value is active if the nonlinearity's slope there exceeds `active_slope`, in
size: of ReLU, if it is positive; of the sigmoid, for a slope of 0.01, if it is
within 4.6 of 0. Only active values pass a gradient on. Glorot et al. 2011,
"Deep sparse rectifier neural networks"; on dying units Lu et al. 2019,
1903.06733.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView, _slopes

SCALARS = ('dead', 'rare', 'sparsity')
RARE = 0.01


def measure(view: NetworkView, *, active_slope: float) -> dict[str, jax.Array]:
  """Returns fractions for each tap before a function of single numbers, or {}.

  {tap/dead: of units that are active for no test example; tap/rare: of units
  with under 1% of their values active, the dead ones included; tap/sparsity: of
  values that are not active}. Of channels of feature maps, all positions are
  values. The scalars are means over layers.
  """
  result, of_layers = {}, []
  for tap, slope_VC in _slopes.of_taps(view).items():
    active_VC = jnp.abs(slope_VC) > active_slope
    share_C = active_VC.mean(0)
    of_layer = {
      'dead': (share_C == 0).mean(),
      'rare': (share_C < RARE).mean(),
      'sparsity': (~active_VC).mean(),
    }
    of_layers.append(of_layer)
    result |= {f'{tap}/{name}': x for name, x in of_layer.items()}
  for name in SCALARS if of_layers else ():
    result[name] = jnp.stack([x[name] for x in of_layers]).mean()
  return result
