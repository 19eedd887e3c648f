"""Scale and bias alone. Ioffe & Szegedy 2015, Algorithm 1, 1502.03167."""

import flax.linen as nn
import jax

from bnresearch.norms import _affine
from bnresearch.statistics import moments, shards


class Norm(nn.Module):
  """Applies the last line of Algorithm 1 to an input that is not normalized.

  `y = scale * x + bias`

  It has no statistics. A network with it has the parameters of one with another
  normalizer, and shows what they do without normalization. Each channel has its
  own scale and bias. Training and evaluation are the same.

  Attributes:
    frozen_affine: whether scale and bias get no gradient.
    use_scale: whether to learn `scale` (gamma).
    use_bias: whether to learn `bias` (beta), initially 0.
    initial_scale: of gamma. 1 makes it the identity before training.
  """

  frozen_affine: bool = False
  use_scale: bool = True
  use_bias: bool = True
  initial_scale: float = 1.0

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns `x` (N, ..., C) scaled and shifted, in its shape and dtype."""
    del train
    x = moments.finite(x, mask)
    C = x.shape[-1]
    scale_C, bias_C = _affine.parameters(self, (C,))
    # The parameters are float32, so lower precisions compute in float32 too.
    y = shards.reshaped(x, (x.size // C, C)) * scale_C[None] + bias_C[None]
    return shards.reshaped(y, x.shape, x).astype(x.dtype)
