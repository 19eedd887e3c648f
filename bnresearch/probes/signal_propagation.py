"""Signal propagation: how large activations are from layer to layer.

The plots of Brock et al. 2021, 2101.08692, section 3: the average channel
squared mean, which grows where activations have a common direction (mean
shift), and the average channel variance, which vanishes or explodes. Both are
of taps, the inputs to nonlinearities: in a residual network those between
blocks are of the sum, those within a block of its branch. The branch's own end
has no tap.

The paper plots networks at the start, normalized by the batch. At step 0,
running statistics have seen no batch and normalize nothing: use
`probes.statistics = 'batch'`.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView
from bnresearch.statistics import moments

SCALARS = ('growth', 'mean_share')


def measure(view: NetworkView) -> dict[str, jax.Array]:
  """Returns two numbers for each tap, in the square of the tap's units.

  {tap/squared_mean: mean over channels of the squared mean over examples and
  positions; tap/variance: mean over channels of the variance over these}.
  'growth' is the variance of the highest tap over that of the lowest;
  'mean_share' is squared mean / (squared mean + variance), the mean over taps.
  """
  result, shares, variances = {}, [], []
  for tap, x_VC in view.taps.items():
    mean_C, var_C = moments.moments(x_VC, axes=(0,))
    squared, variance = jnp.square(mean_C).mean(), var_C.mean()
    result |= {f'{tap}/squared_mean': squared, f'{tap}/variance': variance}
    variances.append(variance)
    shares.append(squared / (squared + variance))
  if result:
    result['growth'] = variances[-1] / variances[0]
    result['mean_share'] = jnp.stack(shares).mean()
  return result
