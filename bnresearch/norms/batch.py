"""Batch normalization. Ioffe & Szegedy 2015, Algorithms 1 and 2, 1502.03167."""

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch import moments


class Norm(nn.Module):
  """Normalizes each channel (the last axis) by the statistics of a batch.

  `y = scale * (x - mean) / sqrt(var + epsilon) + bias`

  Training (`train=True`): `mean` and `var` are those of the batch, over all
  axes but the last: examples, and positions if there are any (section 3.2).
  `var` is biased here (Algorithm 1). Where `batch_stats` is mutable, the
  running statistics follow: `running = momentum * running + (1 - momentum) *
  batch`, starting from mean 0 and variance 1.

  Evaluation (`train=False`): `mean` and `var` are the running statistics, so
  that an example's output does not depend on its neighbours. Algorithm 2
  replaces them by population statistics, see `engine/population.py`.

  Parameters and statistics have the names and shapes of `linen.BatchNorm`.

  *Differs from the paper:* it tracks the moving averages only "as the model
  trains" and gives neither `momentum` nor `epsilon`.

  Attributes:
    momentum: weight of the old running statistics, in [0, 1). PyTorch's
      `momentum` is one minus this. 0.99 is linen's default.
    epsilon: added to the variance, in squared units of the input. The paper
      names no value; 1e-5 is linen's and PyTorch's.
    running_variance: 'unbiased' averages `m/(m-1) * var`, m values per
      channel (Algorithm 2; PyTorch), 'biased' averages `var` (flax, Keras).
    use_scale: whether to learn `scale` (gamma), initially 1.
    use_bias: whether to learn `bias` (beta), initially 0.
  """

  momentum: float = 0.99
  epsilon: float = 1e-5
  running_variance: str = 'unbiased'
  use_scale: bool = True
  use_bias: bool = True

  cancels_bias: ClassVar[bool] = True

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Returns `x` normalized, in its shape (..., C) and dtype."""
    C = x.shape[-1]
    mean_C = self.variable('batch_stats', 'mean', jnp.zeros, C)
    var_C = self.variable('batch_stats', 'var', jnp.ones, C)
    if train:
      batch_mean_C, batch_var_C = moments.moments(x, range(x.ndim - 1))
      if self.is_mutable_collection('batch_stats') and not (
        self.is_initializing()
      ):
        new_var_C = batch_var_C
        if self.running_variance == 'unbiased':
          m = math.prod(x.shape[:-1])
          new_var_C = moments.unbiased(batch_var_C, m)
        mean_C.value = moments.running(
          mean_C.value, batch_mean_C, self.momentum
        )
        var_C.value = moments.running(var_C.value, new_var_C, self.momentum)
    else:
      batch_mean_C, batch_var_C = mean_C.value, var_C.value

    gain_C = jax.lax.rsqrt(batch_var_C + self.epsilon)
    if self.use_scale:
      gain_C *= self.param('scale', nn.initializers.ones, C)
    y = _per_channel(jnp.subtract, x, batch_mean_C)
    y = _per_channel(jnp.multiply, y, gain_C)
    if self.use_bias:
      y = _per_channel(jnp.add, y, self.param('bias', nn.initializers.zeros, C))
    return y.astype(x.dtype)


def _per_channel(operation, x, value_C):
  """Applies a binary operation along the last axis, whatever the rank."""
  return operation(x, value_C.reshape((1,) * (x.ndim - 1) + (-1,)))
