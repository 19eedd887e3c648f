"""Standardized kernels. Qiao et al. 2019, 1903.10520; Brock et al. 2021.

A property of a layer, not of a normalizer: what is normalized is the kernel
that the layer multiplies by, at every use, and the gradient goes through it.
"""

import math

import jax
import jax.numpy as jnp

from bnresearch.statistics import moments


def standard(kernel: jax.Array, epsilon: float = 1e-5) -> jax.Array:
  """Returns `(W - mean) / sqrt(var + epsilon)`, of each output channel.

  Qiao et al. 2019, equations 5 to 7: mean and biased variance over all axes
  but the last. Epsilon is inside the root, as in the paper; the authors'
  PyTorch code adds 1e-5 to the root of an unbiased variance.

  Args:
    kernel: (..., C), C output channels.
    epsilon: added to the variance, in squared units of the kernel.

  Returns:
    The shape and dtype of `kernel`; at least float32 is used inside.
  """
  W_IC, mean_C, var_C = _of_each_channel(kernel)
  W_IC = (W_IC - mean_C[None]) * jax.lax.rsqrt(var_C + epsilon)[None]
  return W_IC.reshape(kernel.shape).astype(kernel.dtype)


def scaled(
  kernel: jax.Array, gain_C: jax.Array, epsilon: float = 1e-4
) -> jax.Array:
  """Returns `gain * (W - mean) / sqrt(max(var * I, epsilon))`.

  Brock, De & Smith 2021, equation 3, 2101.08692 (NF-ResNets), with the learned
  gain of each output channel: mean and biased variance are over all axes but
  the last, I is how many weights these are, the fan-in. So the layer keeps the
  variance of an input of mean 0 and independent units. Epsilon bounds the
  variance from below as in the authors' code.

  Args:
    kernel: (..., C), C output channels.
    gain_C: of each output channel, initially 1.
    epsilon: the least `var * I`, in squared units of the kernel.

  Returns:
    The shape and dtype of `kernel`; at least float32 is used inside.
  """
  W_IC, mean_C, var_C = _of_each_channel(kernel)
  gain_C = gain_C * jax.lax.rsqrt(jnp.maximum(var_C * len(W_IC), epsilon))
  W_IC = (W_IC - mean_C[None]) * gain_C[None]
  return W_IC.reshape(kernel.shape).astype(kernel.dtype)


def _of_each_channel(kernel):
  """Returns the kernel as a matrix, (fan-in, C), and its columns' moments."""
  W_IC = kernel.reshape(math.prod(kernel.shape[:-1]), kernel.shape[-1])
  mean_C, var_C = moments.moments(W_IC, (0,))
  return W_IC.astype(var_C.dtype), mean_C, var_C
