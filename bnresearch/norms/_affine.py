"""Scale and bias, the parameters that most normalizers end with."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp


def parameters(
  module: nn.Module, shape: Sequence[int]
) -> tuple[jax.Array, jax.Array]:
  """Returns the parameters `scale` and `bias` of a normalizer, or 1 and 0.

  Args:
    module: the normalizer, in its compact `__call__`. Its fields `use_scale`,
      `use_bias` (False if it has none), `initial_scale` and `frozen_affine`
      say what the parameters are.
    shape: of both.
  """
  shape = tuple(shape)
  scale, bias = jnp.ones(shape), jnp.zeros(shape)
  if module.use_scale:
    initial = nn.initializers.constant(module.initial_scale)
    scale = module.param('scale', initial, shape)
  if getattr(module, 'use_bias', False):
    bias = module.param('bias', nn.initializers.zeros, shape)
  if module.frozen_affine:
    return jax.lax.stop_gradient((scale, bias))
  return scale, bias
