"""Switchable normalization. Luo et al. 2018, 1806.10779."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.norms import _affine
from bnresearch.norms._running import Running, of_the_batch
from bnresearch.statistics import moments, shards
from bnresearch.statistics.groups import grouped


class Norm(nn.Module):
  """Normalizes by a learned mixture of instance, layer and batch statistics.

  `y = scale * (x - mean) / sqrt(var + epsilon) + bias`, with
  `mean = sum_k softmax(mean_weights)_k * mean_k`,
  `var = sum_k softmax(var_weights)_k * var_k`.

  k runs over, in this order: the instance, each example's channel over its
  positions; the layer, each example over positions and channels; the batch,
  each channel over examples and positions. All variances that normalize are
  biased, as in the paper's equations. The channels share `mean_weights` and
  `var_weights`, (3,) and initially ones.

  Training: the batch's statistics are its own. Evaluation: they are the
  running ones, from mean 0 and variance 1; instance and layer are the
  example's own in both.

  Without positions, or with one only, an instance is a single value: its mean
  is that value and its variance 0, which would only shrink the input towards
  0. There the softmax is over layer and batch alone, as in the authors'
  SwitchNorm1d, and the first weights have no effect.

  *Differs from the paper:* for evaluation the paper averages over batches after
  training, see `evaluation/population.py`; here the running average is the
  default. `use_scale` and the following fields are ours.

  *Differs from the authors' code*, which departs from the paper: over S
  positions, its instance variance is S/(S-1) times ours, and it makes those of
  layer and batch from that; without positions, these are unbiased. So its
  output differs, more so for smaller feature maps. Its running variance
  averages the variance that normalizes and starts from 0; ours starts from 1.

  Attributes:
    momentum: weight of the old running statistics, in [0, 1). 0.99 is that
      of `batch.py`; the authors' code has 0.997 or 0.9.
    epsilon: added to the mixed variance, in squared units of the input. 1e-5
      is that of the authors' code.
    running_variance: 'unbiased' averages `m/(m-1) * var` of m values, as
      `batch.py`; 'biased' averages `var`, as the authors do with theirs.
    group_size: consecutive examples that share the batch's statistics; 0 for
      the whole batch. The paper's are the examples of one device.
    group_variance: how groups make the running variance, 'within' or
      'pooled', see `batch.py`.
    frozen_affine: whether scale and bias get no gradient.
    use_scale: whether to learn `scale` (gamma).
    use_bias: whether to learn `bias` (beta), initially 0.
    initial_scale: of gamma.
    axis_name: the axis along which devices share a batch inside a map
      (`jax.shard_map`, `jax.pmap`, named `jax.vmap`), as linen's; None if each
      device has a whole batch. It has no effect where there is no such axis.
  """

  momentum: float = 0.99
  epsilon: float = 1e-5
  running_variance: str = 'unbiased'
  group_size: int = 0
  group_variance: str = 'within'
  frozen_affine: bool = False
  use_scale: bool = True
  use_bias: bool = True
  initial_scale: float = 1.0
  axis_name: str | None = shards.AXIS

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns `x` normalized, in its shape (N, ..., C) and dtype.

    Args:
      x: (N, ..., C), floating.
      train: whether to use the batch's statistics, or the running ones.
      mask: (N,) bool, the examples that enter the batch's statistics; None for
        all. A batch without any leaves the running statistics as they are.

    Raises:
      ValueError: the groups do not fill the batch, or an unbiased running
        variance would come from one value.
    """
    C = x.shape[-1]
    scale_C, bias_C = _affine.parameters(self, (C,))
    ones = nn.initializers.ones
    mean_weights = self.param('mean_weights', ones, (3,))
    var_weights = self.param('var_weights', ones, (3,))
    initial = {'mean': jnp.zeros(C), 'var': jnp.ones(C)}
    running = Running(self, initial)
    groups = grouped(
      x, mask, self.group_size, axis_name=self.axis_name, by_batch=train
    )
    batch = mean_GC, var_GC = (
      groups.moments()
      if train
      else (running['mean'][None], running['var'][None])
    )
    instance = moments.moments(groups.x_PMSC, (2,))
    layer = moments.moments(groups.x_PMSC, (2, 3))
    mean, var = (
      _mixture(*k, positions=groups.x_PMSC.shape[2])
      for k in zip(
        (mean_weights, var_weights), instance, layer, map(groups.rows, batch)
      )
    )
    y = (groups.x_PMSC.astype(mean.dtype) - mean) * jax.lax.rsqrt(
      var + self.epsilon
    )
    y = y * scale_C[None, None, None] + bias_C[None, None, None]
    if train and running.follows:
      mean_C, var_C, enough = of_the_batch(
        groups,
        mean_GC,
        var_GC,
        running_variance=self.running_variance,
        group_variance=self.group_variance,
      )
      running.update({'mean': mean_C, 'var': var_C}, self.momentum, enough)
    return shards.reshaped(y.astype(x.dtype), x.shape, x)


def _mixture(weights, instance_PMC, layer_PM, batch_PC, *, positions):
  """Returns statistics weighted by a softmax, which fit (P, M, S, C)."""
  statistics = (
    instance_PMC[:, :, None],
    layer_PM[:, :, None, None],
    batch_PC[:, None, None],
  )
  first = 0 if positions > 1 else 1
  softmax = jax.nn.softmax(weights[first:])
  return sum(w * s for w, s in zip(softmax, statistics[first:]))
