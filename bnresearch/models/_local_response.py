"""Local response normalization. Krizhevsky et al. 2012, section 3.3."""

import jax
import jax.numpy as jnp


def normalize(
  x: jax.Array,
  *,
  size: int = 5,
  k: float = 2.0,
  alpha: float = 1e-4,
  beta: float = 0.75,
) -> jax.Array:
  """Returns `x / (k + alpha * sum(x**2)) ** beta`, in the shape of `x`.

  The sum is over `size` neighboring channels (the last axis), fewer at the
  ends. PyTorch and Caffe divide their alpha by `size`; TensorFlow and the paper
  do not.

  Args:
    x: (..., C), floating.
    size: channels of the neighborhood, odd. The paper's n = 5.
    k: the paper's 2.
    alpha: the paper's 1e-4.
    beta: the paper's 0.75.
  """
  window = (1,) * (x.ndim - 1) + (size,)
  strides = (1,) * x.ndim
  squares = jnp.square(x.astype(jnp.promote_types(x.dtype, jnp.float32)))
  sums = jax.lax.reduce_window(
    squares, 0.0, jax.lax.add, window, strides, 'SAME'
  )
  return (x * (k + alpha * sums) ** -beta).astype(x.dtype)
