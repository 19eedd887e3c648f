"""Batch renormalization. Ioffe 2017, Algorithm 1, 1702.03275."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.norms import _affine
from bnresearch.norms._running import Running, of_the_batch
from bnresearch.ops import normalize
from bnresearch.statistics import shards
from bnresearch.statistics.groups import grouped


class Norm(nn.Module):
  """Batch normalization, corrected towards what evaluation will compute.

  `y = scale * ((x - mean_B) / sigma_B * r + d) + bias`, with
  `r = clip(sigma_B / sigma, 1 / r_max, r_max)`,
  `d = clip((mean_B - mean) / sigma, -d_max, d_max)`.

  Training: `mean_B` and `sigma_B = sqrt(var_B + epsilon)` are those of the
  batch, or of each group of it, over all axes but the last; `mean` and `sigma
  = sqrt(var + epsilon)` are the running ones before this batch. The gradient
  treats `r` and `d` as constants. Unclipped, `y` is exactly evaluation's. The
  limits are 1 and 0, which is batch normalization, for `renorm_start` updates;
  then they grow linearly to `r_max` at update `r_max_at`, and to `d_max` at
  update `d_max_at`.

  Evaluation: `y = scale * (x - mean) / sigma + bias`.

  `updates`, int32 and beside the running statistics, counts their updates.
  These statistics are those of `batch.py`, so a network trained with batch
  normalization can continue with renormalization; `updates` then starts at 0.

  A constant per channel has no effect for `renorm_start` updates. Later it
  moves `d` until the running mean has followed; but `d` is a constant to the
  gradient, so a bias below would never be trained.

  *Differs from the paper:* the paper averages `sigma_B`, we average the
  variance. It says that the limits are "gradually relaxed"; the line is ours.

  Attributes:
    momentum: weight of the old running statistics, in [0, 1). 0.99 is that
      of `batch.py`; the paper wants "relatively fast" updates.
    epsilon: added to the variance, in squared units of the input. The paper
      names no value; 1e-5 is linen's and PyTorch's.
    running_variance: 'unbiased' averages `m/(m-1) * var`, m values per
      channel, as `batch.py`; 'biased' averages `var`.
    group_size: consecutive examples that share statistics, and so r and d; 0
      for the whole batch. The paper's are 32, the examples of one worker.
    group_variance: how groups make the running variance, 'within' or
      'pooled', see `batch.py`.
    r_max: final limit of r, at least 1. The paper's 3.
    d_max: final limit of |d|, in running deviations. The paper's 5.
    renorm_start: updates with r = 1 and d = 0. The paper's 5000.
    r_max_at: the update that reaches `r_max`. The paper's 40,000.
    d_max_at: the update that reaches `d_max`. The paper's 25,000.
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
  r_max: float = 3.0
  d_max: float = 5.0
  renorm_start: int = 5000
  r_max_at: int = 40_000
  d_max_at: int = 25_000
  frozen_affine: bool = False
  use_scale: bool = True
  use_bias: bool = True
  initial_scale: float = 1.0
  axis_name: str | None = shards.AXIS

  cancels_bias: ClassVar[bool] = True

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns `x` normalized, in its shape (N, ..., C) and dtype.

    Args:
      x: (N, ..., C), floating.
      train: whether to use the batch's statistics, or the running ones.
      mask: (N,) bool, the examples that enter the statistics; None for all.
        A batch without any is no update.

    Raises:
      ValueError: the groups do not fill the batch, or an unbiased running
        variance would come from one value.
    """
    C = x.shape[-1]
    scale_C, bias_C = _affine.parameters(self, (C,))
    initial = {'mean': jnp.zeros(C), 'var': jnp.ones(C)}
    running = Running(self, initial)
    updates = self.variable('batch_stats', 'updates', jnp.zeros, (), jnp.int32)
    groups = grouped(
      x, mask, self.group_size, axis_name=self.axis_name, by_batch=train
    )
    mean_1C, var_1C = running['mean'][None], running['var'][None]
    if not train:
      y = normalize.by_moments(
        groups.x_PMSC, mean_1C, var_1C, scale_C, bias_C, self.epsilon
      )
      return shards.reshaped(y, x.shape, x)

    mean_GC, var_GC = groups.moments()
    inverse_GC = jax.lax.rsqrt(var_GC + self.epsilon)
    inverse_1C = jax.lax.rsqrt(var_1C + self.epsilon)
    r_GC, d_GC = self._corrections(
      inverse_1C / inverse_GC, (mean_GC - mean_1C) * inverse_1C, updates.value
    )
    gain_GC = scale_C[None] * r_GC * inverse_GC
    offset_GC = scale_C[None] * d_GC + bias_C[None]
    mean, gain, offset = (
      groups.rows(value_GC)[:, None, None]
      for value_GC in (mean_GC, gain_GC, offset_GC)
    )
    y = (groups.x_PMSC.astype(mean.dtype) - mean) * gain + offset
    if running.follows:
      mean_C, var_C, enough = of_the_batch(
        groups,
        mean_GC,
        var_GC,
        running_variance=self.running_variance,
        group_variance=self.group_variance,
      )
      running.update({'mean': mean_C, 'var': var_C}, self.momentum, enough)
      updates.value += enough
    return shards.reshaped(y.astype(x.dtype), x.shape, x)

  def _corrections(self, r_GC, d_GC, updates):
    """Returns r and d within the limits of this update."""

    def limit(least, most, at):
      span = max(at - self.renorm_start, 1)
      done = jnp.clip((updates - self.renorm_start) / span, 0, 1)
      return least + (most - least) * done

    r_max = limit(1, self.r_max, self.r_max_at)
    d_max = limit(0, self.d_max, self.d_max_at)
    clipped = jnp.clip(r_GC, 1 / r_max, r_max), jnp.clip(d_GC, -d_max, d_max)
    return jax.lax.stop_gradient(clipped)
