"""Normalization by a batch's own moments, with the paper's backward pass.

Ioffe & Szegedy 2015, Algorithm 1 and the six equations below it, 1502.03167.
"""

import functools

import jax
import jax.numpy as jnp

from bnresearch import shards
from bnresearch.groups import Groups

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
  y = (x_PMSC.astype(mean_PC.dtype) - _spread(mean_PC)) * _spread(gain_PC)
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
      Both can be differentiated in forward mode too, and again. What 'one_pass'
      gets wrong has a gradient of its own: it is always autodiff's.

  Returns:
    y (P, M, S, C) of the dtype of x; mean and biased variance (G, C), which
    inside a map are taken for constants.
  """
  if backward not in BACKWARDS:
    raise ValueError(
      f'backward = {backward!r}: needs one of {", ".join(BACKWARDS)}.'
    )
  if backward == 'autodiff' or variance != 'two_pass':
    return _forward(groups, scale_C, bias_C, epsilon, variance)
  # Inside a map the parameters are made each device's own: their gradients are
  # then added up by whoever shares them.
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


@functools.partial(jax.custom_jvp, nondiff_argnums=(5, 6, 7))
def _by_own_moments(x_PMSC, where_PM11, scale_C, bias_C, epsilon, *spread):
  groups = Groups(x_PMSC, where_PM11, *spread)
  return _forward(groups, scale_C, bias_C, epsilon)


@_by_own_moments.defjvp
def _derivative(parts, devices, axis_name, primals, tangents):
  """The equations in forward mode, whose transpose are the paper's six.

  The mean's derivative takes none from the variance, as deviations from it add
  up to 0. So what is linear in dx is `gain * dx + slope * (x - mean) + offset`,
  with numbers per channel, and its transpose is one pass over x and dy as well.
  Of the forward pass it keeps x and such numbers: all else is made again.
  """
  spread = parts, devices, axis_name
  x_PMSC, where, scale_C, _, epsilon = primals
  y, mean_GC, var_GC = _by_own_moments(*primals, *spread)
  inverse_GC = jax.lax.rsqrt(var_GC + epsilon)
  gain_GC = scale_C[None] * inverse_GC
  groups = Groups(x_PMSC, where, *spread)

  @functools.partial(jax.checkpoint, prevent_cse=False)
  def linear(x_PMSC, dx_PMSC, d_scale_C, d_bias_C, d_epsilon):
    dx = dx_PMSC.astype(mean_GC.dtype)
    centred = x_PMSC.astype(mean_GC.dtype) - _spread(groups.rows(mean_GC))
    counted = dx if where is None else jnp.where(where, dx, 0)
    # Divided by m after the collective, so that groups need not count alike.
    m_G1 = jnp.maximum(groups.count_G, 1)[:, None]
    of_parts = counted.sum((1, 2)), (counted * centred).sum((1, 2))
    sums = groups.totals(*of_parts, whole=False)
    d_moments = sums[0] / m_G1, 2 * sums[1] / m_G1
    # Inside a map, the gradient of both is added up by one collective.
    d_mean_GC, d_var_GC = groups.packed(
      lambda both_GE: shards.alike(both_GE, dx), *d_moments
    )
    d_gain_GC = d_scale_C[None] * inverse_GC
    d_gain_GC -= 0.5 * gain_GC * jnp.square(inverse_GC) * (d_var_GC + d_epsilon)
    offset_GC = d_bias_C[None] - gain_GC * d_mean_GC
    slope, offset = groups.packed(groups.each_row, d_gain_GC, offset_GC)
    dy = _spread(groups.rows(gain_GC)) * dx + (
      _spread(slope) * centred + _spread(offset)
    )
    return dy.astype(x_PMSC.dtype), *d_moments

  dx_PMSC, _, *others = tangents
  return (y, mean_GC, var_GC), linear(x_PMSC, dx_PMSC, *others)


def _spread(value_PC):
  return value_PC[:, None, None]
