"""Convolution, on a CPU in forms that were measured faster than XLA's own.

XLA computes a depthwise convolution there 20 to 200 times slower than others
do, its weight gradients and those of 1x1 kernels 2 to 10 times, and groups one
number at a time. Each form here is equal to `lax.conv_general_dilated`.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from bnresearch.ops import reference, windows
from bnresearch.statistics import shards

_NHWC = lax.ConvDimensionNumbers((0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2))

# Of larger depthwise kernels the programs take seconds to compile.
MOST_TAPS = 49
# More groups than that, of few channels each, are left to XLA.
MOST_GROUPS = 8
# Up to here, a transposed product is as fast as one by a transposed copy.
FEW_CHANNELS = 32
# Numbers that the loop of a depthwise weight gradient adds to, for each tap:
# they stay in the core's first cache. And how many products each step adds.
LOOP_SIZE, LOOP_TERMS = 8192, 18


def conv_general_dilated(
  lhs: jax.Array,
  rhs: jax.Array,
  window_strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
  lhs_dilation: Sequence[int] | None = None,
  rhs_dilation: Sequence[int] | None = None,
  dimension_numbers: Any = None,
  feature_group_count: int = 1,
  precision: jax.lax.PrecisionLike = None,
  preferred_element_type: jax.typing.DTypeLike | None = None,
) -> jax.Array:
  """Returns `jax.lax.conv_general_dilated`, see there for the arguments.

  It is for `nn.Conv(..., conv_general_dilated=conv_general_dilated)`. On a CPU,
  of images NHWC and kernels HWIO, and not dilated: 1x1 kernels are a product
  of matrices, depthwise kernels a sum of slices, and a few groups are convolved
  one by one. All else is XLA's.

  The gradients of products and sums can be differentiated in either mode, they
  themselves in reverse mode only; for `jax.jvp` of them see `reference.py`.
  """
  options = {
    'window_strides': window_strides,
    'padding': padding,
    'lhs_dilation': lhs_dilation,
    'rhs_dilation': rhs_dilation,
    'dimension_numbers': dimension_numbers,
    'feature_group_count': feature_group_count,
    'precision': precision,
    'preferred_element_type': preferred_element_type,
  }
  where = _windows(lhs, rhs, **options)
  C, groups = lhs.shape[-1], feature_group_count
  form = _form(where, groups, C)
  if form is None:
    return lax.conv_general_dilated(lhs, rhs, **options)
  lhs, rhs = shards.alike((lhs, rhs))
  return form(lhs, rhs, where, groups, precision)


def _form(where, groups, C):
  """Returns the form that is faster on a CPU; None for XLA's."""
  if where is None:
    return None
  if groups == 1 and where.window == (1, 1):
    return _pointwise_on_cpu
  if 1 < groups == C and math.prod(where.window) <= MOST_TAPS:
    return _depthwise_on_cpu
  return _in_groups_on_cpu if 1 < groups <= MOST_GROUPS else None


def _on_cpu(form):
  """Returns what is compiled as a form for a CPU, and as XLA's elsewhere.

  Which of them is known when a program is lowered for a platform, which need
  not be that of this machine. It is compiled as one also where the network is
  not, as when it is initialized.
  """

  @functools.partial(jax.jit, static_argnums=(2, 3, 4))
  def convolve(x_NHWC, kernel_hwcD, where, groups, precision):
    xla = functools.partial(
      lax.conv_general_dilated,
      window_strides=where.strides,
      padding=where.pads,
      dimension_numbers=_NHWC,
      feature_group_count=groups,
      precision=precision,
    )
    own = lambda x, W: form(x, W, where, groups, precision)
    return lax.platform_dependent(x_NHWC, kernel_hwcD, cpu=own, default=xla)

  return convolve


def _windows(
  lhs,
  rhs,
  *,
  window_strides,
  padding,
  lhs_dilation,
  rhs_dilation,
  dimension_numbers,
  preferred_element_type,
  **_,
) -> windows.Windows | None:
  """Returns the windows of a plain convolution of images."""
  dtype = preferred_element_type or lhs.dtype
  if (
    reference.wanted()
    or lhs.ndim != 4
    or dimension_numbers != _NHWC
    or {*(lhs_dilation or ()), *(rhs_dilation or ())} - {1}
    or not lhs.dtype == rhs.dtype == dtype
    or not jnp.issubdtype(dtype, jnp.floating)
  ):
    return None
  return windows.of(lhs.shape, rhs.shape[:2], window_strides, padding)


# 1x1 kernels: a product of matrices, pixels by channels.


def _product(x_NHWC, kernel_11CD, where, precision):
  [(_, x_NhwC)] = where.slices(x_NHWC)
  x_VC, kernel_CD = _rows(x_NhwC), kernel_11CD[0, 0]
  y_VD = jnp.dot(x_VC, kernel_CD, precision=precision)
  return y_VD.reshape(*x_NhwC.shape[:3], -1)


def _product_and_inputs(x_NHWC, kernel_11CD, where, precision):
  y_NhwD = _product(x_NHWC, kernel_11CD, where, precision)
  return y_NhwD, (x_NHWC, kernel_11CD)


def _product_backward(where, precision, inputs, dy_NhwD):
  x_NHWC, kernel_11CD = inputs
  dy_VD = _rows(dy_NhwD)
  [(_, x_NhwC)] = where.slices(x_NHWC)
  x_VC = _rows(x_NhwC)
  dx_VC = jnp.dot(dy_VD, kernel_11CD[0, 0].T, precision=precision)
  dx_NhwC = dx_VC.reshape(*dy_NhwD.shape[:3], -1)
  dx_NHWC = where.gather(lambda tap, dx: dx, (dx_NhwC, 0))
  d_kernel_CD = _transposed_product(x_VC, dy_VD, precision)
  return dx_NHWC, d_kernel_CD[None, None]


_pointwise = jax.custom_vjp(_product, nondiff_argnums=(2, 3))
_pointwise.defvjp(_product_and_inputs, _product_backward)
_pointwise_on_cpu = _on_cpu(
  lambda x, W, where, _, precision: _pointwise(x, W, where, precision)
)


def _rows(x_NHWC):
  return x_NHWC.reshape(-1, x_NHWC.shape[-1])


def _transposed_product(x_VC, dy_VD, precision):
  """Returns `x.T @ dy`, where there are many rows.

  XLA would turn any transposition into a product of the columns, which is half
  as fast as one of rows. A barrier has it copy the narrower matrix.
  """
  C, D = x_VC.shape[1], dy_VD.shape[1]
  dot = functools.partial(jnp.dot, precision=precision)
  if C <= FEW_CHANNELS:
    return dot(x_VC.T, dy_VD)
  if C <= D:
    return dot(lax.optimization_barrier(x_VC.T), dy_VD)
  product_DC = dot(lax.optimization_barrier(dy_VD.T), x_VC)
  return lax.optimization_barrier(product_DC).T


# Depthwise kernels: a sum of slices, each times the kernel's numbers at a tap.


def _sum_of_slices(x_NHWC, kernel_hw1C, where):
  kernel = windows.wide(kernel_hw1C)
  terms = (
    windows.wide(there) * kernel[tap][None, None]
    for tap, there in where.slices(x_NHWC)
  )
  return functools.reduce(lax.add, terms).astype(x_NHWC.dtype)


def _sum_and_inputs(x_NHWC, kernel_hw1C, where):
  return _sum_of_slices(x_NHWC, kernel_hw1C, where), (x_NHWC, kernel_hw1C)


def _sum_backward(where, inputs, dy_NhwC):
  x_NHWC, kernel_hw1C = inputs
  kernel = windows.wide(kernel_hw1C)
  term = lambda tap, dy: windows.wide(dy) * kernel[tap][None, None]
  dx_NHWC = where.gather(term, (dy_NhwC, 0))
  d_kernel = _depthwise_kernel_gradient(x_NHWC, dy_NhwC, where)
  return dx_NHWC.astype(x_NHWC.dtype), d_kernel.astype(kernel_hw1C.dtype)


_depthwise = jax.custom_vjp(_sum_of_slices, nondiff_argnums=(2,))
_depthwise.defvjp(_sum_and_inputs, _sum_backward)
_depthwise_on_cpu = _on_cpu(
  lambda x, W, where, C, _: _depthwise(_repeated(x, W.shape[-1] // C), W, where)
)


def _repeated(x_NHWC, times):
  """Returns the map with each channel several times."""
  if times == 1:
    return x_NHWC
  N, H, W, C = x_NHWC.shape
  shape = N, H, W, C, times
  return jnp.broadcast_to(x_NHWC[..., None], shape).reshape(N, H, W, C * times)


# A few groups of channels: one after another.


def _in_groups(x_NHWC, kernel_hwcD, where, groups, precision):
  each = zip(jnp.split(x_NHWC, groups, 3), jnp.split(kernel_hwcD, groups, 3))
  options = where.strides, where.pads, None, None, _NHWC, 1, precision
  return lax.concatenate(
    [conv_general_dilated(x, W, *options) for x, W in each], 3
  )


_in_groups_on_cpu = _on_cpu(_in_groups)


def _depthwise_kernel_gradient(x_NHWC, dy_NhwC, where):
  """Returns the sum over windows of `dy` times the slice at each tap.

  XLA sums number by number what is not its last axis. So a loop goes over
  blocks of windows, all examples at a time, and adds a few rows of products to
  a few columns, which are summed at the end. Each product takes its own piece
  of the maps: if two share one, XLA makes a function call of each number.
  """
  padded = where.padded(x_NHWC)
  N, h, w, C = dy_NhwC.shape
  s, t = where.strides
  taps = [*where.taps]
  rows = _divisor(h, LOOP_TERMS // len(taps))
  columns = _divisor(w, LOOP_SIZE // (N * C))
  blocks = w // columns

  def add(sums, block):
    top, left = block // blocks * rows, block % blocks * columns

    def at_tap(total, i, j):
      for row in range(rows):
        corner = 0, (top + row) * s + i, left * t + j, 0
        shape = N, 1, (columns - 1) * t + 1, C
        x = lax.dynamic_slice(padded, corner, shape)
        x = lax.slice(x, (0, 0, 0, 0), shape, (1, 1, t, 1))
        corner = 0, top + row, left, 0
        dy = lax.dynamic_slice(dy_NhwC, corner, (N, 1, columns, C))
        total = total + windows.wide(x) * windows.wide(dy)
      return total

    return [at_tap(total, *tap) for total, tap in zip(sums, taps)], None

  zero = jnp.zeros((N, 1, columns, C), windows.wide(dy_NhwC).dtype)
  zero = shards.alike(zero, x_NHWC, dy_NhwC)
  sums, _ = lax.scan(add, [zero] * len(taps), jnp.arange(h // rows * blocks))
  d_kernel = jnp.stack([total.sum((0, 1, 2)) for total in sums])
  return d_kernel.reshape(*where.window, 1, C)


def _divisor(n, most):
  """Returns the largest divisor of `n` that is at most `most`, or 1."""
  return max(d for d in range(1, n + 1) if n % d == 0 and d <= max(most, 1))
