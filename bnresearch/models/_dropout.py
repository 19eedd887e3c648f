"""Dropout that treats an example alike on any number of devices."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.statistics import shards


class Dropout(nn.Module):
  """Zeroes each value with probability `rate`, and scales up the others.

  Acts only in training, and only with an rng 'dropout'.
  """

  rate: float

  @nn.compact
  def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
    """Returns `x` after dropout, in the same shape and dtype."""
    if not train or not self.rate or not self.has_rng('dropout'):
      return x
    key, keep = self.make_rng('dropout'), 1 - self.rate
    draw = functools.partial(jax.random.bernoulli, key, keep)
    return jnp.where(shards.drawn(draw, x.shape), x / keep, 0).astype(x.dtype)
