"""Normalization by a batch's own moments, with the paper's backward pass.

Ioffe & Szegedy 2015, Algorithm 1 and the six equations below it, 1502.03167.
"""

import functools

import jax
import jax.numpy as jnp

from bnresearch.ops import reference
from bnresearch.statistics import shards
from bnresearch.statistics.groups import Groups

BACKWARDS = ('equations', 'autodiff')


def by_moments(
  x_PMSC: jax.Array,
  mean_PC: jax.Array,
  var_PC: jax.Array,
  scale_C: jax.Array,
  bias_C: jax.Array,
  epsilon: float,
) -> jax.Array:
  """Returns `scale * (x - mean) / sqrt(var + epsilon) + bias`.

  Everything is computed in the moments' dtype; the result has that of `x`.
  """
  gain_PC = scale_C[None] * jax.lax.rsqrt(var_PC + epsilon)
  y = (x_PMSC.astype(mean_PC.dtype) - _as_P11C(mean_PC)) * _as_P11C(gain_PC)
  return (y + bias_C[None, None, None]).astype(x_PMSC.dtype)


def by_own_moments(
  groups: Groups,
  scale_C: jax.Array,
  bias_C: jax.Array,
  epsilon: float,
  *,
  variance: str = 'two_pass',
  backward: str = 'equations',
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Normalizes each group by its own moments, and differentiates through them.

  Args:
    groups: the batch; examples that do not count are normalized too.
    scale_C: gamma.
    bias_C: beta.
    epsilon: added to the variance.
    variance: how it is computed, see `moments`.
    backward: 'equations', the paper's six: of the forward pass they need `x`,
      the mean and the inverse deviation only. 'autodiff' needs more memory.
      Gradients by both can be differentiated again, in either mode. Plain
      `jvp` needs 'autodiff', or `reference.forms()`. The variances 'one_pass'
      and 'per_image' have gradients of their own: always autodiff's.

  Returns:
    y (P, M, S, C) of the dtype of x; mean and biased variance (G, C), which
    inside a map are taken for constants.
  """
  if backward not in BACKWARDS:
    raise ValueError(
      f'backward = {backward!r}: needs one of {", ".join(BACKWARDS)}.'
    )
  if backward == 'autodiff' or variance != 'two_pass' or reference.wanted():
    return _forward(groups, scale_C, bias_C, epsilon, variance)
  # Inside a map each device gets parameters of its own, and whoever shares them
  # adds up their gradients.
  inputs = groups.x_PMSC, groups.where_PM11, scale_C, bias_C, epsilon
  inputs = shards.alike(jax.tree.map(jnp.asarray, inputs))
  y, *moments = _by_own_moments(*inputs, *groups[2:])
  if shards.mapped(groups.axis_name):
    moments = jax.lax.stop_gradient(moments)
  return y, *moments


def _forward(groups, scale_C, bias_C, epsilon, variance='two_pass'):
  mean_GC, var_GC = groups.moments(variance)
  y = by_moments(
    groups.x_PMSC,
    groups.rows(mean_GC),
    groups.rows(var_GC),
    scale_C,
    bias_C,
    epsilon,
  )
  return y, mean_GC, var_GC


@functools.partial(jax.custom_vjp, nondiff_argnums=(5, 6, 7))
def _by_own_moments(x_PMSC, where_PM11, scale_C, bias_C, epsilon, *layout):
  groups = Groups(x_PMSC, where_PM11, *layout)
  return _forward(groups, scale_C, bias_C, epsilon)


def _forward_and_residuals(x_PMSC, where, scale_C, bias_C, epsilon, *layout):
  groups = Groups(x_PMSC, where, *layout)
  y, mean_GC, var_GC = _forward(groups, scale_C, bias_C, epsilon)
  inverse_GC = jax.lax.rsqrt(var_GC + epsilon)
  residuals = x_PMSC, where, scale_C, bias_C, epsilon, mean_GC, inverse_GC
  return (y, mean_GC, var_GC), residuals


def _backward(parts_per_group, devices, axis_name, residuals, cotangents):
  """The six equations.

  The last two are put together, `dx = gain * dy + slope * (x - mean) +
  offset`, so that one pass makes dx out of x, dy and numbers per channel.
  Besides the output, mean and variance may be differentiated too, outside a
  map.
  """
  x_PMSC, where, scale_C, bias_C, epsilon, mean_GC, inverse_GC = residuals
  dy_PMSC, d_mean_GC, d_var_GC = cotangents
  groups = Groups(x_PMSC, where, parts_per_group, devices, axis_name)
  m_G1 = jnp.maximum(groups.count_G, 1)[:, None]
  dy = dy_PMSC.astype(mean_GC.dtype)
  centred = x_PMSC.astype(mean_GC.dtype) - _as_P11C(groups.rows(mean_GC))

  gain_GC = scale_C[None] * inverse_GC
  of_parts = dy.sum((1, 2)), (dy * centred).sum((1, 2))
  d_bias_GC, dy_centred_GC = groups.totals(*of_parts)
  # Of var + epsilon, through y.
  d_sum_GC = -0.5 * gain_GC * jnp.square(inverse_GC) * dy_centred_GC
  slope_GC = 2 * (d_var_GC + d_sum_GC) / m_G1
  offset_GC = (d_mean_GC - gain_GC * d_bias_GC) / m_G1
  slope, offset, gain, inverse_PC = map(
    groups.rows, (slope_GC, offset_GC, gain_GC, inverse_GC)
  )
  through_moments = _as_P11C(slope) * centred + _as_P11C(offset)
  if where is not None:
    through_moments = jnp.where(where, through_moments, 0)
  dx = _as_P11C(gain) * dy + through_moments
  # Inside a map, a device's part of these sums; else the sums.
  if shards.mapped(axis_name):
    d_bias_GC, dy_centred_GC = of_parts
    inverse_GC = inverse_PC
    d_sum_GC = -0.5 * gain * jnp.square(inverse_PC) * dy_centred_GC
  return (
    dx.astype(x_PMSC.dtype),
    None,
    (dy_centred_GC * inverse_GC).sum(0).astype(scale_C.dtype),
    d_bias_GC.sum(0).astype(bias_C.dtype),
    d_sum_GC.sum().astype(epsilon.dtype),
  )


_by_own_moments.defvjp(_forward_and_residuals, _backward)


def _as_P11C(value_PC):
  return value_PC[:, None, None]
