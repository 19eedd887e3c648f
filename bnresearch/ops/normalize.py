"""Normalization by a batch's own moments, with the paper's backward pass.

Ioffe & Szegedy 2015, Algorithm 1 and the six equations below it, 1502.03167.
"""

import jax
import jax.numpy as jnp

from bnresearch.moments import Groups

BACKWARDS = ('equations', 'autodiff')


def by_moments(
  x_GMSC: jax.Array,
  mean_GC: jax.Array,
  var_GC: jax.Array,
  scale_C: jax.Array,
  bias_C: jax.Array,
  epsilon: float,
) -> jax.Array:
  """Returns `scale * (x - mean) / sqrt(var + epsilon) + bias`.

  Everything is computed in the moments' dtype; the result has that of `x`.
  """
  gain_GC = scale_C[None] * jax.lax.rsqrt(var_GC + epsilon)
  y = (x_GMSC.astype(mean_GC.dtype) - _spread(mean_GC)) * _spread(gain_GC)
  return (y + bias_C[None, None, None]).astype(x_GMSC.dtype)


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
      the mean and the inverse deviation only. 'autodiff' needs more memory,
      and allows forward-mode differentiation, `jvp` and `hessian`. What
      'one_pass' gets wrong has a gradient of its own: it is always autodiff's.

  Returns:
    y (G, M, S, C) of the dtype of x; mean and biased variance (G, C).
  """
  if backward not in BACKWARDS:
    raise ValueError(
      f'backward = {backward!r}: needs one of {", ".join(BACKWARDS)}.'
    )
  inputs = *groups, scale_C, bias_C, epsilon
  if backward == 'autodiff' or variance != 'two_pass':
    return _forward(*inputs, variance)
  # Under shard_map, where each device holds its own groups, the parameters are
  # made each device's own: their gradients are then added up by JAX.
  inputs = jax.tree.map(jnp.asarray, inputs)
  axes = frozenset().union(*map(_varying, jax.tree.leaves(inputs)))
  return _by_own_moments(*jax.tree.map(lambda v: _vary(v, axes), inputs))


def _forward(x_GMSC, where_GM11, scale_C, bias_C, epsilon, variance='two_pass'):
  mean_GC, var_GC = Groups(x_GMSC, where_GM11).moments(variance)
  y = by_moments(x_GMSC, mean_GC, var_GC, scale_C, bias_C, epsilon)
  return y, mean_GC, var_GC


@jax.custom_vjp
def _by_own_moments(x_GMSC, where_GM11, scale_C, bias_C, epsilon):
  return _forward(x_GMSC, where_GM11, scale_C, bias_C, epsilon)


def _forward_and_residuals(x_GMSC, where, scale_C, bias_C, epsilon):
  y, mean_GC, var_GC = _forward(x_GMSC, where, scale_C, bias_C, epsilon)
  inverse_GC = jax.lax.rsqrt(var_GC + epsilon)
  residuals = x_GMSC, where, scale_C, bias_C, epsilon, mean_GC, inverse_GC
  return (y, mean_GC, var_GC), residuals


def _backward(residuals, cotangents):
  """The six equations.

  The last two are put together, `dx = gain * dy + slope * (x - mean) +
  offset`, so that one pass makes dx out of x, dy and numbers per channel.
  Besides the output, mean and variance may be differentiated too.
  """
  x_GMSC, where, scale_C, bias_C, epsilon, mean_GC, inverse_GC = residuals
  dy_GMSC, d_mean_GC, d_var_GC = cotangents
  m_G1 = jnp.maximum(Groups(x_GMSC, where).count_G, 1)[:, None]
  dy = dy_GMSC.astype(mean_GC.dtype)
  centred = x_GMSC.astype(mean_GC.dtype) - _spread(mean_GC)

  gain_GC = scale_C[None] * inverse_GC
  d_bias_GC = dy.sum((1, 2))
  dy_centred_GC = (dy * centred).sum((1, 2))
  # Of var + epsilon, through y.
  d_sum_GC = -0.5 * gain_GC * jnp.square(inverse_GC) * dy_centred_GC
  d_var_GC += d_sum_GC
  d_mean_GC -= gain_GC * d_bias_GC
  slope_GC = 2 * d_var_GC / m_G1
  offset_GC = d_mean_GC / m_G1
  through_moments = _spread(slope_GC) * centred + _spread(offset_GC)
  if where is not None:
    through_moments = jnp.where(where, through_moments, 0)
  dx = _spread(gain_GC) * dy + through_moments
  return (
    dx.astype(x_GMSC.dtype),
    None,
    (dy_centred_GC * inverse_GC).sum(0).astype(scale_C.dtype),
    d_bias_GC.sum(0).astype(bias_C.dtype),
    d_sum_GC.sum().astype(epsilon.dtype),
  )


_by_own_moments.defvjp(_forward_and_residuals, _backward)


def _spread(value_GC):
  return value_GC[:, None, None]


def _varying(x):
  """Returns the mesh axes of a shard_map along which `x` differs."""
  return jax.typeof(x).manual_axis_type.varying


def _vary(value, axes):
  missing = tuple(axes - _varying(value))
  return jax.lax.pcast(value, missing, to='varying') if missing else value
