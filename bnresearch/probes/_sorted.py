"""Sorted values of channels, and their quantiles."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np


def of_channels(x_VC: jax.Array) -> jax.Array:
  """Returns (C, V), each channel's values in ascending order.

  They are float32, or float64 if `x_VC` is.

  With the lower bits of negative numbers flipped, float32 numbers have the
  order of their bits read as integers, and XLA sorts integers seven times
  faster than floats on a CPU.
  """
  x_CV = x_VC.T.astype(jnp.promote_types(x_VC.dtype, jnp.float32))
  if x_CV.dtype != jnp.float32:
    return jnp.sort(x_CV)
  bits = jax.lax.bitcast_convert_type(x_CV, jnp.int32)
  return jax.lax.bitcast_convert_type(
    _flipped(jnp.sort(_flipped(bits))), jnp.float32
  )


def quantiles(sorted_CV: jax.Array, levels: Sequence[float]) -> jax.Array:
  """Returns (levels, C), interpolated linearly as by `np.quantile`.

  Args:
    sorted_CV: see `of_channels`.
    levels: from 0 to 1.
  """
  position_Q = np.asarray(levels) * (sorted_CV.shape[1] - 1)
  low_CQ = sorted_CV[:, np.floor(position_Q).astype(int)]
  high_CQ = sorted_CV[:, np.ceil(position_Q).astype(int)]
  share_Q = jnp.asarray(position_Q % 1, sorted_CV.dtype)
  return (low_CQ + share_Q[None] * (high_CQ - low_CQ)).T


def vary(sorted_CV: jax.Array) -> jax.Array:
  """Returns (C,), whether a channel has more than one value."""
  return sorted_CV[:, -1] > sorted_CV[:, 0]


def _flipped(i):
  return i ^ ((i >> 31) & 0x7FFFFFFF)
