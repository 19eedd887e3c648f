"""How far the distribution of a layer's inputs has moved since the last record.

Internal covariate shift as Ioffe & Szegedy 2015, 1502.03167, section 2, define
it: "the change in the distribution of network activations due to the change in
network parameters during training". Distances are of each unit's values over
the test examples. The Wasserstein distance of order 1 in one dimension is the
mean of |F'^-1(p) - F^-1(p)| over p (Vallender 1974), here over `LEVELS`. The
symmetric divergence is that of two Gaussians (Jeffreys 1946), with the units'
means and variances. How far it moves depends on how many steps lie between. A
record holds 24 numbers a unit.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView, _sorted
from bnresearch.statistics import gaussians, moments

SCALARS = ('wasserstein', 'relative', 'symmetric_kl')
LEVELS = tuple((2 * k + 1) / 40 for k in range(20))


def measure(view: NetworkView, *, previous: dict) -> dict[str, jax.Array]:
  """Returns the distances from the record before; NaN in a run's first.

  Of each unit, (C,): tap/units/wasserstein, in the tap's units, and
  tap/units/symmetric_kl, in nats, which is NaN for a unit that was, or is,
  constant. Their means over units: tap/wasserstein, tap/symmetric_kl, and
  tap/relative, that of the Wasserstein distance over the unit's deviation
  before; the last two without constant units. The scalars are means over
  layers. And what the next record needs: tap/quantiles (20, C), at `LEVELS`;
  tap/mean and tap/std (C,), 0 for a constant unit.
  """
  result, of_layers = {}, []
  for tap, sorted_CV in view.sorted.items():
    mean_C, var_C = moments.moments(view.taps[tap], axes=(0,))
    now = {
      'quantiles': _sorted.quantiles(sorted_CV, LEVELS),
      'mean': mean_C,
      'std': jnp.where(_sorted.vary(sorted_CV), jnp.sqrt(var_C), 0),
    }
    before = {name: previous[f'{tap}/{name}'] for name in now}
    of_units = _distances(before, now)
    relative_C = of_units['wasserstein'] / before['std']
    of_layer = {
      'wasserstein': of_units['wasserstein'].mean(),
      'relative': _mean_of_finite(relative_C),
      'symmetric_kl': _mean_of_finite(of_units['symmetric_kl']),
    }
    of_layers.append(of_layer)
    result |= {f'{tap}/{name}': x for name, x in (now | of_layer).items()}
    result |= {f'{tap}/units/{name}': x for name, x in of_units.items()}
  for name in SCALARS if of_layers else ():
    of_name = [of_layer[name] for of_layer in of_layers]
    result[name] = jnp.stack(of_name).mean()
  return result


def _distances(before, now):
  moved_QC = jnp.abs(now['quantiles'] - before['quantiles'])
  one, other = (
    gaussians.Gaussian(x['mean'], jnp.square(x['std'])) for x in (before, now)
  )
  symmetric_C = gaussians.symmetric_kl(one, other)
  both = (before['std'] > 0) & (now['std'] > 0)
  return {
    'wasserstein': moved_QC.mean(0),
    'symmetric_kl': jnp.where(both, symmetric_C, jnp.nan),
  }


def _mean_of_finite(x_C):
  finite = jnp.isfinite(x_C)
  return jnp.where(finite, x_C, 0).sum() / finite.sum()
