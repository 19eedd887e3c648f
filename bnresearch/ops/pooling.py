"""Pooling by slices of the map, with its own backward pass.

On a CPU XLA takes the gradient of a maximum by `select_and_scatter`, 10 to 30
times slower than here. Elsewhere, and where this was not measured faster, it
is flax's.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bnresearch.ops import reference, windows
from bnresearch.ops.windows import Padding, Pair, Windows

# Of larger windows the programs are long, and their speed was not measured.
MOST_TAPS = 81


def max_pool(
  x_NHWC: jax.Array, window: Pair, strides: Pair, padding: Padding
) -> jax.Array:
  """Returns `flax.linen.max_pool`, the maxima of windows.

  The gradient goes to the first maximum of each window, row by row, as there.
  The gradient can be differentiated in either mode, the maxima themselves in
  reverse mode only; for `jax.jvp` of them see `reference.py`.

  Args:
    x_NHWC: the map.
    window: (height, width).
    strides: of both axes.
    padding: 'SAME', 'VALID' or ((before, after), (before, after)). A pixel of
      padding is no maximum.
  """
  where = _where_faster(x_NHWC, window, strides, padding)
  if where is None:
    return nn.max_pool(x_NHWC, window, strides, padding)
  return _compiled_maxima(x_NHWC, where)


def average_pool(
  x_NHWC: jax.Array,
  window: Pair,
  strides: Pair,
  padding: Padding,
  count_padding: bool,
) -> jax.Array:
  """Returns `flax.linen.avg_pool`, the averages of windows.

  Args:
    x_NHWC: the map.
    window: (height, width).
    strides: of both axes.
    padding: see `max_pool`.
    count_padding: whether padding counts as pixels, which are 0.
  """
  where = _where_faster(x_NHWC, window, strides, padding)
  if where is None:
    return nn.avg_pool(x_NHWC, window, strides, padding, count_padding)
  return _compiled_averages(x_NHWC, where, count_padding)


def _where_faster(x_NHWC, window, strides, padding) -> Windows | None:
  """Returns the windows, if slices of them were measured faster."""
  if reference.wanted():
    return None
  if x_NHWC.ndim != 4:
    return None
  if not jnp.issubdtype(x_NHWC.dtype, jnp.floating):
    return None
  where = windows.of(x_NHWC.shape, window, strides, padding)
  # A window that is alone has no neighbours to share its slices with.
  if where is None or where.out == (1, 1) or math.prod(window) > MOST_TAPS:
    return None
  return where


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _maxima(x_NHWC, where):
  slices = (there for _, there in where.slices(x_NHWC, -jnp.inf))
  return functools.reduce(lax.max, slices)


def _maxima_and_places(x_NHWC, where):
  """Returns the maxima, and at which tap each window has its first.

  The places are all that is kept: a byte for each window.
  """
  slices = [there for _, there in where.slices(x_NHWC, -jnp.inf, copy=True)]
  y_NhwC = functools.reduce(lax.max, slices)
  place_NhwC = jnp.zeros(y_NhwC.shape, jnp.int8)
  for place, there in reversed([*enumerate(slices)]):
    place_NhwC = jnp.where(there == y_NhwC, jnp.int8(place), place_NhwC)
  return y_NhwC, place_NhwC


def _to_places(where, place_NhwC, dy_NhwC):
  place_of = {tap: place for place, tap in enumerate(where.taps)}
  term = lambda tap, place, dy: jnp.where(
    place == place_of[tap], windows.wide(dy), 0
  )
  dx_NHWC = where.gather(term, (place_NhwC, -1), (dy_NhwC, 0))
  return (dx_NHWC.astype(dy_NhwC.dtype),)


_maxima.defvjp(_maxima_and_places, _to_places)


def _sums_over_counts(x_NHWC, where, count_padding):
  slices = (windows.wide(there) for _, there in where.slices(x_NHWC))
  sums_NhwC = functools.reduce(lax.add, slices)
  averages_NhwC = sums_NhwC / _counts(where, count_padding)
  return averages_NhwC.astype(x_NHWC.dtype)


def _to_all(where, count_padding, _, dy_NhwC):
  each_NhwC = windows.wide(dy_NhwC) / _counts(where, count_padding)
  dx_NHWC = where.gather(lambda tap, each: each, (each_NhwC, 0))
  return (dx_NHWC.astype(dy_NhwC.dtype),)


_averages = jax.custom_vjp(_sums_over_counts, nondiff_argnums=(1, 2))
_averages.defvjp(
  lambda x, *options: (_sums_over_counts(x, *options), None), _to_all
)


# Compiled as one also where the network is not, as when it is initialized; as
# slices for a CPU, and as flax's elsewhere, see `convolution.py`.


@functools.partial(jax.jit, static_argnums=1)
def _compiled_maxima(x_NHWC, where):
  return lax.platform_dependent(
    x_NHWC,
    cpu=lambda x: _maxima(x, where),
    default=lambda x: nn.max_pool(x, where.window, where.strides, where.pads),
  )


@functools.partial(jax.jit, static_argnums=(1, 2))
def _compiled_averages(x_NHWC, where, count_padding):
  own = where.window, where.strides, where.pads, count_padding
  return lax.platform_dependent(
    x_NHWC,
    cpu=lambda x: _averages(x, where, count_padding),
    default=lambda x: nn.avg_pool(x, *own).astype(x.dtype),
  )


def _counts(where, count_padding):
  """Returns how many pixels windows have, (1, h, w, 1) or (1, 1, 1, 1)."""
  if count_padding:
    return np.full((1, 1, 1, 1), math.prod(where.window), np.float32)
  rows, columns = (
    [
      sum(0 <= a * s - pads[0] + i < n for i in range(k))
      for a in range(windows)
    ]
    for n, k, s, pads, windows in zip(*where, where.out)
  )
  return np.outer(rows, columns).astype(np.float32)[None, :, :, None]
