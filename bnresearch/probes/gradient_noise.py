"""How much the gradient varies from example to example. 1812.06162.

McCandlish et al. 2018, equation 2.9 and appendix A.1. The batch is cut into k
equal parts of M examples. `S = M / (k - 1) * sum_j ||G_j - G||^2`, with G the
mean of the parts' gradients G_j, estimates the trace of the covariance of one
example's gradient, and `||G||^2 - S / (k M)` the square of the true gradient:
the paper's two estimators, for batches of M and of k M. Both are unbiased,
where an example has a gradient of its own: without BN, or under statistics
that stand still.

Under the statistics of the batch, each part normalizes itself, and an example
has no gradient of its own. S is then M times the variance of a gradient of M
examples, in which the noise of their statistics is a part. It depends on M.
"""

import functools

import jax
import jax.numpy as jnp

from bnresearch.probes import Batch, NetworkView, _trees
from bnresearch.statistics import shards

SCALARS = ('scale', 'variance', 'signal')
WALKS = True


def measure(view: NetworkView, *, noise_parts: int) -> dict[str, jax.Array]:
  """Returns variances and noise scales.

  'variance', S, and 'signal', the square of the true gradient, in nats^2 per
  unit^2; 'scale', S / signal, in examples: the batch where noise and signal are
  equal. path/variance and path/scale are those of one parameter. A signal may
  be negative, and so the scale, where noise hides it: the paper averages
  variances and signals over many steps, and then divides. It takes the time of
  one gradient.

  Args:
    view: of the network.
    noise_parts: k. It is fewer where a part would have less than four examples:
      BN makes -1 and 1 of any two, and their gradient vanishes. Examples that
      are left over do not count.
  """
  N = view.batch.labels_N.shape[0]
  k = min(noise_parts, max(2, N // 4), N)
  parts = _cut(view.batch, k)
  return _numbers(
    [view.gradient_at(view.params, part) for part in parts], N // k
  )


@functools.partial(jax.jit, static_argnums=1)
def _cut(batch, k):
  M = batch.labels_N.shape[0] // k
  return [
    shards.split(Batch(*(x[j * M : (j + 1) * M] for x in batch)))
    for j in range(k)
  ]


@functools.partial(jax.jit, static_argnums=1)
def _numbers(gradients, M):
  k = len(gradients)
  stacked = _trees.by_path(jax.tree.map(lambda *g: jnp.stack(g), *gradients))
  variance = {path: M * g.var(0, ddof=1).sum() for path, g in stacked.items()}
  signal = {
    path: jnp.square(g.mean(0)).sum() - variance[path] / (k * M)
    for path, g in stacked.items()
  }
  whole = {
    'variance': _trees.together(variance, [*variance]),
    'signal': _trees.together(signal, [*signal]),
  }
  result = whole | {'scale': whole['variance'] / whole['signal']}
  for path in stacked:
    result[f'{path}/variance'] = variance[path]
    result[f'{path}/scale'] = variance[path] / signal[path]
  return result
