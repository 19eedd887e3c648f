"""EvoNorm-B0, normalization and activation in one. Liu et al. 2020, 2004.02967.

A search over graphs of simple functions found it; it depends on the batch, as
its letter says, and needs no activation after it.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.norms import _affine
from bnresearch.norms._running import Running, of_the_batch
from bnresearch.statistics import moments, shards
from bnresearch.statistics.groups import MEANS, grouped


class Norm(nn.Module):
  """Divides by the larger of two deviations; one depends on the input itself.

  `y = scale * x / max(sqrt(var + epsilon), v * x + sqrt(var_I + epsilon))
  + bias`

  `var` is the batch's, of each channel over examples and positions. `var_I` is
  each example's own, over positions, and 0 without any. Both are biased. No
  mean is subtracted. Where `v * x` is large, y saturates at `scale / v + bias`.

  Training: `var` is that of the batch. Evaluation: it is the running one, from
  1; `var_I` is the example's own in both. The batch's mean is not used; it
  only goes to the collection `MEANS` of `groups.py`, if that is mutable.

  Attributes:
    momentum: weight of the old running variance, in [0, 1). 0.99 is that of
      `batch.py`.
    epsilon: added to both variances, in squared units of the input. The
      paper's 1e-5.
    running_variance: 'unbiased' averages `m/(m-1) * var` of m values, as
      `batch.py`; 'biased' averages `var`.
    group_size: consecutive examples that share `var`; 0 for the whole batch.
    group_variance: how groups make the running variance, 'within' or
      'pooled', see `batch.py`.
    frozen_affine: whether scale and bias get no gradient; `v` does.
    use_scale: whether to learn `scale` (gamma).
    use_bias: whether to learn `bias` (beta), initially 0.
    initial_scale: of gamma. `v`, the paper's v_1, is initially 1, as theirs.
    activates: if False, `y = scale * x + bias`: the authors' form where a
      network is linear, as at the end of a residual branch.
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
  activates: bool = True
  axis_name: str | None = shards.AXIS

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns `x` normalized and activated, in its shape (N, ..., C) and dtype.

    Args:
      x: (N, ..., C), floating.
      train: whether to use the batch's variance, or the running one.
      mask: (N,) bool, the examples that enter the batch's variance; None for
        all. A batch without any leaves the running one as it is.

    Raises:
      ValueError: the groups do not fill the batch, or an unbiased running
        variance would come from one value.
    """
    C = x.shape[-1]
    scale_C, bias_C = _affine.parameters(self, (C,))
    x = moments.finite(x, mask)
    if not self.activates:
      middle = (1,) * (x.ndim - 1)
      y = x * scale_C.reshape(*middle, C) + bias_C.reshape(*middle, C)
      return y.astype(x.dtype)
    v_C = self.param('v', nn.initializers.ones, (C,))
    running = Running(self, {'var': jnp.ones(C)})
    groups = grouped(
      x, mask, self.group_size, axis_name=self.axis_name, by_batch=train
    )
    if train:
      mean_GC, var_GC = groups.moments()
    else:
      var_GC = running['var'][None]
    _, own_PMC = moments.moments(groups.x_PMSC, (2,))
    x_PMSC = groups.x_PMSC.astype(own_PMC.dtype)
    y = x_PMSC / jnp.maximum(
      jnp.sqrt(groups.rows(var_GC) + self.epsilon)[:, None, None],
      v_C[None, None, None] * x_PMSC
      + jnp.sqrt(own_PMC + self.epsilon)[:, :, None],
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
      running.update({'var': var_C}, self.momentum, enough)
      self.sow(MEANS, 'mean', mean_C, reduce_fn=lambda _, new: new)
    return shards.reshaped(y.astype(x.dtype), x.shape, x)
