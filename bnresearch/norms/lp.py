"""Normalization by lp deviations. Santurkar et al. 2018, 3.3, 1805.11604."""

from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.norms import _affine
from bnresearch.norms._running import Running
from bnresearch.ops import normalize
from bnresearch.statistics import shards
from bnresearch.statistics.groups import grouped

ORDERS = ('l1', 'l2', 'linf')


class Norm(nn.Module):
  """Batch normalization whose deviation is of another order.

  `y = scale * (x - mean) / sqrt(deviation**2 + epsilon) + bias`

  `deviation` is the mean ('l1'), the root of the mean square ('l2', which is
  batch normalization) or the maximum ('linf') of `|x - mean|` over all axes but
  the last. For Gaussian `x`, l1 is 0.8 standard deviations and linf grows with
  the batch; no factor makes them equal: `scale` learns it.

  Training: mean and deviation are those of the batch. Evaluation: they are
  the running ones, from mean 0 and deviation 1. The running deviation averages
  the deviation itself, not its square, without Bessel's correction, so 'l2'
  differs from batch normalization in evaluation.

  *Differs from the paper:* it says that activations are divided by the
  average of their lp norm, taken before the mean is subtracted. We read this as
  the norm of the deviations from the mean, so that p = 2 is batch normalization
  and a constant cancels. The paper has no epsilon.

  Attributes:
    order: 'l1', 'l2' or 'linf'.
    momentum: weight of the old running statistics, in [0, 1). 0.99 is linen's
      default for batch normalization.
    epsilon: added to the squared deviation, in squared units of the input, as
      in `batch.py`.
    group_size: consecutive examples that share statistics; 0 for the batch.
    frozen_affine: whether scale and bias get no gradient.
    use_scale: whether to learn `scale` (gamma).
    use_bias: whether to learn `bias` (beta), initially 0.
    initial_scale: of gamma.
    axis_name: the axis along which devices share a batch inside a map
      (`jax.shard_map`, `jax.pmap`, named `jax.vmap`), as linen's; None if each
      device has a whole batch. It has no effect where there is no such axis.
  """

  order: str = 'l1'
  momentum: float = 0.99
  epsilon: float = 1e-5
  group_size: int = 0
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
        A batch without any leaves the running statistics as they are.

    Raises:
      ValueError: the groups do not fill the batch, or there is no such order.
    """
    C = x.shape[-1]
    scale_C, bias_C = _affine.parameters(self, (C,))
    initial = {'mean': jnp.zeros(C), 'deviation': jnp.ones(C)}
    running = Running(self, initial)
    groups = grouped(
      x, mask, self.group_size, axis_name=self.axis_name, by_batch=train
    )
    if train:
      mean_GC, square_GC = _mean_and_square(groups, self.order)
    else:
      mean_GC = running['mean'][None]
      square_GC = jnp.square(running['deviation'])[None]
    y = normalize.by_moments(
      groups.x_PMSC,
      groups.rows(mean_GC),
      groups.rows(square_GC),
      scale_C,
      bias_C,
      self.epsilon,
    )
    if train and running.follows:
      # Not differentiated: the root has no derivative at a constant's 0.
      deviation_GC = jnp.sqrt(jax.lax.stop_gradient(square_GC))
      mean_C, deviation_C, enough = groups.combine(
        mean_GC, deviation_GC, pooled=False, unbiased=False
      )
      new = {'mean': mean_C, 'deviation': deviation_C}
      running.update(new, self.momentum, enough)
    return shards.reshaped(y, x.shape, x)


def _mean_and_square(groups, order):
  """Returns each group's mean and squared deviation, (G, C); 0, 1 if empty."""
  if order not in ORDERS:
    raise ValueError(f'norm.order = {order!r}: needs one of l1, l2, linf.')
  mean_GC, var_GC = groups.moments()
  if order == 'l2':
    return mean_GC, var_GC
  distance_PMSC = jnp.abs(
    groups.x_PMSC.astype(mean_GC.dtype) - groups.rows(mean_GC)[:, None, None]
  )
  if groups.where_PM11 is not None:
    distance_PMSC = jnp.where(groups.where_PM11, distance_PMSC, 0)
  count_G1 = groups.count_G[:, None]
  if order == 'l1':
    (distance_GC,) = groups.totals(distance_PMSC.sum((1, 2)))
    deviation_GC = distance_GC / jnp.maximum(count_G1, 1)
  else:
    deviation_GC = groups.most(_largest(distance_PMSC))
  return mean_GC, jnp.where(count_G1 > 0, jnp.square(deviation_GC), 1)


def _largest(distance_PMSC):
  """Returns each channel's largest value (P, C); 0 if there is none.

  The gradient of `max` looks for values that equal the largest. If XLA computes
  them a second time, to other digits, it finds none or others. So we keep the
  place of the largest.
  """
  P, M, S, C = distance_PMSC.shape
  if not M * S:
    return jnp.zeros((P, C), distance_PMSC.dtype)
  place_PC = shards.reshaped(distance_PMSC, (P, M * S, C)).argmax(1)
  places = jnp.arange(M * S).reshape(1, M, S, 1)
  is_largest = places == place_PC[:, None, None]
  return jnp.where(is_largest, distance_PMSC, 0).sum((1, 2))
