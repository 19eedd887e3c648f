"""Slopes of the nonlinearities that follow taps."""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView


def of_taps(view: NetworkView) -> dict[str, jax.Array]:
  """Returns {tap: (V, C)}, the nonlinearity's derivative at each value.

  Only of taps that a nonlinearity of single numbers follows. At least float32.
  """
  result = {}
  for tap, x_VC in view.taps.items():
    if function := view.order.nonlinearity(tap):
      x_VC = x_VC.astype(jnp.promote_types(x_VC.dtype, jnp.float32))
      result[tap] = jax.jvp(function, (x_VC,), (jnp.ones_like(x_VC),))[1]
  return result
