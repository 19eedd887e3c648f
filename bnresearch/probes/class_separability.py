"""How well the classes can be told apart by each layer.

The accuracy of the nearest class mean (Mensink et al. 2013, "Distance-based
image classification"; as a sign of neural collapse Papyan et al. 2020,
2008.08186, NC4), and how variable the classes are, the trace of the covariance
within classes over that between them. The latter is NC1 with traces in place of
Papyan's Tr(W B^+)/K, for which there are too few examples. A layer's features
are its taps, the mean over positions of feature maps.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView
from bnresearch.statistics import moments

SCALARS = ('accuracy', 'variability')


def measure(view: NetworkView) -> dict[str, jax.Array]:
  """Returns {tap/accuracy, tap/variability}; scalars are the highest tap's.

  Of each class, class means are of its first, third, ... test example, and
  accuracy, a fraction, is that of the others, by the Euclidean distance; NaN if
  there are none. Variability is of all examples, each class weighted by its
  examples.
  """
  K = view.logits_NK.shape[-1]
  one_hot_NK = jax.nn.one_hot(view.test.labels_N, K)
  before_NK = jnp.cumsum(one_hot_NK, axis=0) - 1
  fits_N = (one_hot_NK * before_NK).sum(1) % 2 == 0
  result, last = {}, {}
  for tap, x in view.maps.items():
    x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
    x_NC = x.reshape(len(x), -1, x.shape[-1]).mean(1)
    # Centred, so that no digits are lost where means are far from 0.
    x_NC -= moments.moments(x_NC, axes=(0,))[0][None]
    mean_KC, count_K = _means(x_NC, one_hot_NK * fits_N[:, None])
    right_N = _nearest(x_NC, mean_KC, count_K) == view.test.labels_N
    last = {
      'accuracy': (right_N & ~fits_N).sum() / (~fits_N).sum(),
      'variability': _variability(x_NC, one_hot_NK),
    }
    result |= {f'{tap}/{name}': value for name, value in last.items()}
  return result | last


def _nearest(x_NC, mean_KC, count_K):
  products_NK = jnp.matmul(x_NC, mean_KC.T, precision='highest')
  distance_NK = jnp.square(mean_KC).sum(1)[None] - 2 * products_NK
  return jnp.where(count_K[None] > 0, distance_NK, jnp.inf).argmin(1)


def _variability(x_NC, one_hot_NK):
  mean_KC, count_K = _means(x_NC, one_hot_NK)
  own_NC = jnp.matmul(one_hot_NK, mean_KC, precision='highest')
  within = jnp.square(x_NC - own_NC).sum()
  return within / (count_K * jnp.square(mean_KC).sum(1)).sum()


def _means(x_NC, weight_NK):
  """Returns each class's mean, 0 if nothing has weight, and its weight."""
  count_K = weight_NK.sum(0)
  sum_KC = jnp.matmul(weight_NK.T, x_NC, precision='highest')
  return sum_KC / jnp.maximum(count_K, 1)[:, None], count_K
