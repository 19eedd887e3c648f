"""Numbers as formats of few bits have them, in the dtype of their array."""

import jax
import jax.numpy as jnp

# Bits of exponent and fraction.
FLOATS = {'float16': (5, 10), 'bfloat16': (8, 7)}


def floating(x: jax.Array, dtype: str) -> jax.Array:
  """Returns `x` rounded to a floating format; what is too large is infinite.

  XLA may remove `astype` to a format and back, so it is not used.

  Args:
    x: float32, any shape.
    dtype: one of `FLOATS`.
  """
  if dtype not in FLOATS:
    raise ValueError(f'dtype = {dtype!r}: needs one of {", ".join(FLOATS)}.')
  exponent, fraction = FLOATS[dtype]
  return jax.lax.reduce_precision(x, exponent, fraction)


def fixed_point(
  x: jax.Array, integer_bits: int, fraction_bits: int
) -> jax.Array:
  """Returns `x` rounded to an unsigned fixed-point format, and clipped to it.

  The numbers are the multiples of `2**-fraction_bits` from 0 up to less than
  `2**integer_bits`. Activations of ReLU6 need 3 integer bits.

  Args:
    x: floating, any shape.
    integer_bits: 0 or more.
    fraction_bits: likewise.
  """
  step = 2.0**-fraction_bits
  return jnp.clip(jnp.round(x / step), 0, 2.0**integer_bits / step - 1) * step


def up_to_largest(x: jax.Array, bits: int) -> jax.Array:
  """Returns `x` rounded to `2**bits` even levels, from 0 to its largest value.

  Args:
    x: floating, any shape; what is negative becomes 0.
    bits: 1 or more.
  """
  step = jnp.maximum(x.max(), 0) / (2**bits - 1)
  step = jnp.where(step > 0, step, 1)
  return jnp.round(jnp.maximum(x, 0) / step) * step
