"""Batch normalization folded into the layer before it.

Ioffe & Szegedy 2015, Algorithm 2, lines 9 to 11, 1502.03167. Once its
statistics are fixed, a normalizer scales and shifts each channel. The
convolution or dense layer before it can do that too.

>>> import flax.linen as nn
>>> import jax, numpy
>>> from bnresearch.statistics.folding import fold
>>> x_NHWC = jax.random.normal(jax.random.key(0), (4, 5, 5, 3))
>>> conv, norm = nn.Conv(8, (3, 3)), nn.BatchNorm(use_running_average=True)
>>> y_NHWC, of_conv = conv.init_with_output(jax.random.key(1), x_NHWC)
>>> y_NHWC, of_norm = norm.init_with_output(jax.random.key(2), y_NHWC)
>>> folded = fold(
...   of_conv['params'], of_norm['params'], of_norm['batch_stats'], epsilon=1e-5
... )
>>> alone_NHWC = conv.apply({'params': folded}, x_NHWC)  # no norm after it
>>> numpy.testing.assert_allclose(alone_NHWC, y_NHWC, rtol=1e-5, atol=1e-6)
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import core

Array = jax.Array | np.ndarray


def fold(
  layer: Mapping[str, Array],
  norm: Mapping[str, Array],
  statistics: Mapping[str, Array],
  *,
  epsilon: float,
) -> dict[str, Array]:
  """Returns the parameters of one layer that does what layer and norm do.

  `kernel * gain` and `(bias - mean) * gain + beta`, of each output channel,
  with `gain = gamma / sqrt(var + epsilon)`.

  The norm must follow the layer directly, with no nonlinearity between them.
  The result is computed in float64 and rounded once. Inside a transformation,
  such as `jax.jit` or `jax.vmap`, it is computed in float32, or in float64
  where JAX has that enabled.

  Rounding errors stay of one size. A product with the kernel whose mean is
  thousands of its deviations loses those digits with and without the norm. If
  the layer's bias alone is that large, folding removes it and is more accurate.

  Args:
    layer: 'kernel' (..., C) and perhaps 'bias' (C,), of linen's Dense, Conv
      (grouped and depthwise too) or ConvTranspose. The output channels are the
      last axis. With `transpose_kernel` they are the last but one: swap the two
      before and after. If both have one size, the mistake cannot be seen here.
    norm: 'scale' (C,) and 'bias' (C,). Without them, gamma is 1 and beta 0.
    statistics: 'mean' (C,) and 'var' (C,), in squared units. Others, such as a
      counter, are ignored.
    epsilon: what the norm adds to the variance. Linen's default is 1e-5.

  Returns:
    {'kernel', 'bias'} in the dtype of the kernel. A layer that had no bias
    needs `use_bias=True` now.

  Raises:
    ValueError: a name is missing or unknown, a shape does not fit, the kernel
      is not floating, or a known variance is negative.
  """
  _check_names(layer, norm, statistics)
  kernel = layer['kernel']
  arrays = {
    "layer['bias']": layer.get('bias'),
    "norm['scale']": norm.get('scale'),
    "norm['bias']": norm.get('bias'),
    "statistics['mean']": statistics['mean'],
    "statistics['var']": statistics['var'],
  }
  arrays = {name: x for name, x in arrays.items() if x is not None}
  _check_shapes(kernel, arrays)
  known = [kernel, *arrays.values(), epsilon]
  if any(isinstance(x, core.Tracer) for x in known):
    dtype = jnp.promote_types(jnp.result_type(*known), jnp.float32)
    made = _compute(jnp, dtype, kernel, arrays, epsilon)
  else:
    _check_values(statistics['var'], epsilon)
    made = _compute(np, np.float64, kernel, arrays, epsilon)
  kept = np.asarray if isinstance(kernel, np.ndarray) else jnp.asarray
  return {name: kept(x.astype(kernel.dtype)) for name, x in made.items()}


def _compute(xp, dtype, kernel, arrays, epsilon):
  """Returns kernel and bias in a dtype, by NumPy or by JAX's."""
  of = lambda name, default: xp.asarray(arrays.get(name, default), dtype)
  gain_C = of("norm['scale']", 1) / xp.sqrt(
    of("statistics['var']", 0) + epsilon
  )
  bias_C = of("layer['bias']", 0) - of("statistics['mean']", 0)
  bias_C = bias_C * gain_C + of("norm['bias']", 0)
  gain = gain_C.reshape((1,) * (kernel.ndim - 1) + gain_C.shape)
  return {'kernel': xp.asarray(kernel, dtype) * gain, 'bias': bias_C}


def _check_names(layer, norm, statistics):
  """Refuses trees that are not those of one layer and one norm."""
  for argument, given, needed, allowed, hint in (
    ('layer', layer, {'kernel'}, {'kernel', 'bias'}, "params['Conv_0']"),
    ('norm', norm, set(), {'scale', 'bias'}, "params['BatchNorm_0']"),
    ('statistics', statistics, {'mean', 'var'}, None, "batch_stats['norm']"),
  ):
    names = set(given)
    if needed <= names and (allowed is None or names <= allowed):
      continue
    perhaps = sorted((allowed or needed) - needed)
    what = ' and '.join(sorted(needed) or perhaps)
    if needed and perhaps:
      what += f', and perhaps {" and ".join(perhaps)}'
    raise ValueError(
      f'{argument} has {", ".join(sorted(names)) or "nothing"}: needs {what}, '
      f'the arrays of one module. Take them out of their tree, such as {hint}.'
    )


def _check_shapes(kernel, arrays: dict[str, Any]):
  """Refuses what has not one number for each output channel."""
  if kernel.ndim < 2 or not jnp.issubdtype(kernel.dtype, jnp.floating):
    raise ValueError(
      f"layer['kernel'] is {kernel.dtype} of the shape {kernel.shape}: needs "
      'floating numbers (..., C), inputs and output channels. Take that of an '
      'nn.Conv or nn.Dense; of quantized kernels, fold before quantizing.'
    )
  C = kernel.shape[-1]
  for name, x in arrays.items():
    if x.shape == (C,):
      continue
    fix = 'Is it that of the norm that follows this layer?'
    if x.ndim > 1:
      fix = (
        'Statistics of each activation or time step fit no kernel that all '
        'share: keep the norm. For a stack of networks, jax.vmap this function.'
      )
    elif x.shape == (kernel.shape[-2],) and kernel.ndim > 2:
      fix = (
        'Is the norm before the layer? Fold only one that follows it. Or is it '
        'an nn.ConvTranspose with transpose_kernel? Swap the last two axes of '
        'the kernel before and after.'
      )
    raise ValueError(
      f'{name} has the shape {x.shape}: needs ({C},), the output channels of a '
      f'kernel {kernel.shape}. {fix}'
    )


def _check_values(var_C, epsilon):
  """Refuses variances that have no root."""
  least = np.asarray(var_C, np.float64).min(initial=np.inf)
  if not (least >= 0 and epsilon >= 0 and least + epsilon > 0):
    raise ValueError(
      f"statistics['var'] is at least {least:g}, epsilon = {epsilon}: needs "
      'neither negative, and a positive sum. Is it the variance, not its '
      'logarithm or its inverse root?'
    )
