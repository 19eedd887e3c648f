"""Batch normalization. Ioffe & Szegedy 2015, Algorithms 1 and 2, 1502.03167."""

import math
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
  """Normalizes each channel (the last axis) by the statistics of a batch.

  `y = scale * (x - mean) / sqrt(var + epsilon) + bias`

  Training (`train=True`): `mean` and `var` are those of the batch, over all
  axes but the last: examples, and positions if there are any (section 3.2).
  `var` is biased here (Algorithm 1). Where `batch_stats` is mutable, the
  running statistics follow: `running = momentum * running + (1 - momentum) *
  batch`, starting from mean 0 and variance 1.

  Evaluation (`train=False`): `mean` and `var` are the running statistics, so
  that an example's output does not depend on its neighbors. Algorithm 2
  replaces them by population statistics, see `evaluation/population.py`.

  Parameters and statistics have the names and shapes of `linen.BatchNorm`.

  *Differs from the paper:* the paper tracks the moving averages only "as the
  model trains" and gives neither `momentum` nor `epsilon`.

  Attributes:
    momentum: weight of the old running statistics, in [0, 1). PyTorch's
      `momentum` is one minus this. 0.99 is linen's default.
    epsilon: added to the variance, in squared units of the input. The paper
      names no value; 1e-5 is linen's and PyTorch's.
    running_variance: 'unbiased' averages `m/(m-1) * var`, m values per
      channel (Algorithm 2; PyTorch), 'biased' averages `var` (flax, Keras).
    debias: whether the running average counts only what it has seen: it starts
      at zero and is divided by its weight (Haiku). Adds `weight` to the
      statistics.
    group_size: consecutive examples that share statistics (ghost batches,
      Hoffer et al. 2017, 1705.08741); 0 for the whole batch. It is independent
      of the number of devices.
    group_variance: how groups make the running variance: 'within' averages
      their variances, 'pooled' adds the variance of their means.
    variance: 'two_pass'; or 'one_pass' or 'per_image', ablations, see
      `moments`. 'per_image' is the mean of the images' own variances; the
      running variance follows it, and layers without positions refuse it.
    per_activation: whether each position has statistics and parameters of its
      own, shape (..., C) without the examples, as in a fully connected layer,
      instead of sharing those of its feature map.
    stop_gradient: whether the gradient treats mean and var as constants, the
      failure of section 2 of the paper.
    frozen_statistics: whether training too uses the running statistics, which
      then never change. They cancel no constant: `bias` serves as the layer's.
    frozen_affine: whether scale and bias get no gradient.
    use_scale: whether to learn `scale` (gamma).
    use_bias: whether to learn `bias` (beta), initially 0.
    initial_scale: of gamma. 0 closes the residual branch that the norm ends
      (Goyal et al. 2017, 1706.02677).
    backward: 'equations' or 'autodiff', see `ops/normalize.py`.
    axis_name: the axis along which devices share a batch inside a map
      (`jax.shard_map`, `jax.pmap`, named `jax.vmap`), as linen's; None if each
      device has a whole batch. It has no effect where there is no such axis.
  """

  momentum: float = 0.99
  epsilon: float = 1e-5
  running_variance: str = 'unbiased'
  debias: bool = False
  group_size: int = 0
  group_variance: str = 'within'
  variance: str = 'two_pass'
  per_activation: bool = False
  stop_gradient: bool = False
  frozen_statistics: bool = False
  frozen_affine: bool = False
  use_scale: bool = True
  use_bias: bool = True
  initial_scale: float = 1.0
  backward: str = 'equations'
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
        A group without any leaves the running statistics as they are.

    Raises:
      ValueError: the groups do not fill the batch; an unbiased running
        variance would come from one value; or `variance` is 'per_image', and
        there is one value per image and channel.
    """
    shape = x.shape[1:] if self.per_activation else x.shape[-1:]
    C = math.prod(shape)
    scale_C, bias_C = (
      value.reshape(C) for value in _affine.parameters(self, shape)
    )
    running = Running(
      self,
      {'mean': jnp.zeros(shape), 'var': jnp.ones(shape)},
      debias=self.debias,
    )
    by_running = self.frozen_statistics or not train
    groups = grouped(
      x,
      mask,
      self.group_size,
      axis_name=self.axis_name,
      by_batch=not by_running,
      per_activation=self.per_activation,
    )
    if by_running:
      mean_1C, var_1C = (running[k].reshape(1, C) for k in ('mean', 'var'))
      y = normalize.by_moments(
        groups.x_PMSC, mean_1C, var_1C, scale_C, bias_C, self.epsilon
      )
      return shards.reshaped(y, x.shape, x)

    y, mean_GC, var_GC = self._by_batch(groups, scale_C, bias_C)
    if running.follows:
      mean_C, var_C, enough = of_the_batch(
        groups,
        mean_GC,
        var_GC,
        running_variance=self.running_variance,
        group_variance=self.group_variance,
      )
      new = {'mean': mean_C.reshape(shape), 'var': var_C.reshape(shape)}
      running.update(new, self.momentum, enough)
    return shards.reshaped(y, x.shape, x)

  def _by_batch(self, groups, scale_C, bias_C):
    """Returns the batch normalized, and its groups' moments."""
    if self.stop_gradient:
      mean_GC, var_GC = jax.lax.stop_gradient(groups.moments(self.variance))
      y = normalize.by_moments(
        groups.x_PMSC,
        groups.rows(mean_GC),
        groups.rows(var_GC),
        scale_C,
        bias_C,
        self.epsilon,
      )
      return y, mean_GC, var_GC
    return normalize.by_own_moments(
      groups,
      scale_C,
      bias_C,
      self.epsilon,
      variance=self.variance,
      backward=self.backward,
    )
