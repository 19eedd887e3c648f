"""How far a batch's, the running and a larger sample's statistics are apart.

At each step evaluation uses running statistics, training those of a batch, and
both stand for those of the population (Ioffe & Szegedy 2015, 1502.03167,
Algorithm 2; Wu & Johnson 2021, 2105.07576, section 3). The batch is the fixed
training batch. For the population stand the test examples, as many as fill
whole training batches, at least one (fewer repeat): they go through the network
together, normalized by their own statistics, so that the distance of both
includes what training and test examples differ in. Variances are biased.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView
from bnresearch.statistics import gaussians

PAIRS = (
  ('population', 'running'),
  ('population', 'batch'),
  ('running', 'batch'),
)
SCALARS = tuple(f'{other}_to_{one}/symmetric_kl' for one, other in PAIRS)


def measure(view: NetworkView) -> dict[str, jax.Array]:
  """Returns distances for each normalizer with running statistics, or {}.

  {layer/running_to_population/shift, .../spread, .../symmetric_kl}, likewise
  batch_to_population and batch_to_running. Over channels, shift is the root
  mean square of the difference of means, in deviations of the latter of the
  two; spread that of the log ratio of deviations; symmetric_kl the mean of both
  Kullback-Leibler divergences' sum, of Gaussians, in nats. All variances have
  the normalizer's epsilon added. The scalars are means over normalizers.
  """
  running = gaussians.of_layers(view.collections)
  if not running:
    return {}
  found = {
    'running': running,
    'batch': _of(view, view.train.images_NHWC),
    'population': _of(view, _whole_batches(view)),
  }
  result = {}
  for reference, other in PAIRS:
    for layer in running:
      pair = (
        gaussians.Gaussian(x.mean, x.var + view.epsilon)
        for x in (found[reference][layer], found[other][layer])
      )
      start = f'{layer}/{other}_to_{reference}'
      result |= {f'{start}/{k}': x for k, x in _distances(*pair).items()}
  for name in SCALARS:
    result[name] = jnp.stack([result[f'{k}/{name}'] for k in running]).mean()
  return result


def _of(view, images_NHWC):
  return gaussians.of_layers(
    view.functions.of_batch(view.params, view.collections, images_NHWC)
  )


def _whole_batches(view):
  """Returns test images, a multiple of the batch: groups divide that."""
  images_NHWC = view.test.images_NHWC
  N, n = len(images_NHWC), len(view.train.images_NHWC)
  wanted = max(N // n, 1) * n
  return images_NHWC if wanted == N else images_NHWC[jnp.arange(wanted) % N]


def _distances(reference, other):
  moved = jnp.square(other.mean - reference.mean) / reference.var
  ratio = jnp.log(other.var / reference.var) / 2
  return {
    'shift': jnp.sqrt(moved.mean()),
    'spread': jnp.sqrt(jnp.square(ratio).mean()),
    'symmetric_kl': gaussians.symmetric_kl(reference, other).mean(),
  }
