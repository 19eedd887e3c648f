"""No normalization: the identity, the baseline of every comparison."""

from typing import ClassVar

import flax.linen as nn
import jax


class Norm(nn.Module):
  """Returns its input. It has no parameters, no statistics, no options."""

  cancels_bias: ClassVar[bool] = False
  activates: ClassVar[bool] = False
  needs_positions: ClassVar[bool] = False

  def __call__(
    self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns `x`."""
    del train, mask
    return x
