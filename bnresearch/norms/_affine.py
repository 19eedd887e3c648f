"""Scale and bias, the parameters that most normalizers end with."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp


def parameters(
  module: nn.Module,
  shape: Sequence[int],
  *,
  use_scale: bool,
  use_bias: bool,
  initial_scale: float = 1.0,
  frozen: bool = False,
) -> tuple[jax.Array, jax.Array]:
  """Returns the parameters `scale` and `bias` of a module, or 1 and 0.

  Args:
    module: inside whose compact `__call__` this is.
    shape: of both.
    use_scale: whether `scale` is a parameter.
    use_bias: whether `bias` is one.
    initial_scale: the value of every `scale` before training.
    frozen: whether they get no gradient.
  """
  scale, bias = jnp.ones(shape), jnp.zeros(shape)
  if use_scale:
    ones = nn.initializers.constant(initial_scale)
    scale = module.param('scale', ones, tuple(shape))
  if use_bias:
    bias = module.param('bias', nn.initializers.zeros, tuple(shape))
  return jax.lax.stop_gradient((scale, bias)) if frozen else (scale, bias)
