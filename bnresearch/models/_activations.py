"""Nonlinearities by name."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp

PIECES = 2  # linear maps per maxout unit; it outputs their maximum

_NN = ('relu', 'relu6', 'sigmoid', 'tanh', 'elu', 'gelu', 'silu', 'softplus')
NAMES = (*_NN, 'prelu', 'maxout')


def apply(kind: str, x: jax.Array, *, name: str) -> jax.Array:
  """Applies a nonlinearity inside a module's compact call.

  Args:
    kind: one of `NAMES`.
    x: (..., C), or for 'maxout' (..., C * PIECES).
    name: the name of its parameters in the module, if it has any.
  """
  if kind == 'prelu':
    return _PReLU(name=name)(x)
  if kind == 'maxout':  # Goodfellow et al. 2013, 1302.4389
    pieces = x.reshape(*x.shape[:-1], -1, PIECES)
    # Not `pieces.max(-1)`: if XLA recomputes the pieces to different digits,
    # none equals the maximum and the gradient is lost.
    return functools.reduce(jnp.maximum, jnp.moveaxis(pieces, -1, 0))
  return getattr(nn, kind)(x)


def function(kind: str) -> Callable[[jax.Array], jax.Array] | None:
  """Returns a nonlinearity of single numbers, None if `kind` is none.

  None are those with parameters, of several numbers, or unknown.
  """
  return getattr(nn, kind) if kind in _NN else None


class _PReLU(nn.Module):
  """`x` where positive, `slope * x` elsewhere. He et al. 2015, 1502.01852.

  Unlike in flax, each channel has its own slope, initially the paper's 0.25.
  """

  @nn.compact
  def __call__(self, x):
    slope_C = self.param('slope', nn.initializers.constant(0.25), x.shape[-1:])
    slope = slope_C.astype(x.dtype).reshape((1,) * (x.ndim - 1) + (-1,))
    return jnp.where(x > 0, x, slope * x)
