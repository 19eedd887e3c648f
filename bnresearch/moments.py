"""Moments of a batch and their running estimates, in float32.

Two decisions hold throughout. The variance is two-pass, the mean of
`(x - mean)**2`: the one-pass `E[x^2] - E[x]^2` loses every digit once
`|mean| >> std`. And `momentum` is the weight of the *old* value, as in flax
and Keras; PyTorch's `momentum` is one minus it.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def moments(x: jax.Array, axes: Sequence[int]) -> tuple[jax.Array, jax.Array]:
  """Returns the mean and the biased variance of `x` over `axes`.

  Args:
    x: any shape and floating dtype; at least float32 is used inside.
    axes: the axes that are averaged over; they are dropped from the result.

  Returns:
    `mean` and `var = mean((x - mean)**2)`, float32 (float64 if `x` is).
  """
  axes = tuple(axes)
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  mean = x.mean(axes, keepdims=True)
  var = jnp.square(x - mean).mean(axes)
  return mean.reshape(var.shape), var


def unbiased(var: jax.Array, count: int) -> jax.Array:
  """Returns `var * m / (m - 1)`, Bessel's correction for `m = count` values.

  Raises:
    ValueError: one value has no unbiased variance.
  """
  if count < 2:
    raise ValueError(
      f'count = {count}: an unbiased variance needs at least 2 values per '
      "channel. Use a larger batch, or norm.running_variance = 'biased'."
    )
  return var * (count / (count - 1))


def running(old: jax.Array, new: jax.Array, momentum: float) -> jax.Array:
  """Returns `momentum * old + (1 - momentum) * new`.

  PyTorch writes the same average with `torch_momentum = 1 - momentum`.
  """
  return momentum * old + (1 - momentum) * new
