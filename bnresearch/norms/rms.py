"""Root mean square normalization. Zhang & Sennrich 2019, eq. 4, 1910.07467."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.norms import _affine
from bnresearch.ops import normalize
from bnresearch.statistics import moments, shards


class Norm(nn.Module):
  """Divides each example by its root mean square.

  `y = scale * x / sqrt(mean(x**2) + epsilon)`

  The mean is over an example's positions and channels, the axes of `layer.py`.
  This is the ablation of that norm without the mean; nothing else differs. Each
  channel has its own scale; there is no bias. Training and evaluation are the
  same.

  *Differs from the paper:* the paper adds no epsilon to the mean square. Where
  there are positions, our scale is one per feature map, the paper's one per
  neuron.

  Attributes:
    epsilon: added to the mean square, in squared units of the input. 1e-6 is
      linen's.
    frozen_affine: whether scale gets no gradient.
    use_scale: whether to learn `scale`, the paper's gain.
    initial_scale: of `scale`. The paper's is 1.
  """

  epsilon: float = 1e-6
  frozen_affine: bool = False
  use_scale: bool = True
  initial_scale: float = 1.0

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns `x` (N, ..., C) normalized, in its shape and dtype."""
    del train
    x = moments.finite(x, mask)
    N, *positions, C = x.shape
    scale_C, zero_C = _affine.parameters(self, (C,))
    x_NMSC = shards.reshaped(x, (N, 1, math.prod(positions), C))
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    mean_square_N1 = jnp.square(x_NMSC.astype(dtype)).mean((1, 2, 3))[:, None]
    y = normalize.by_moments(
      x_NMSC,
      jnp.zeros_like(mean_square_N1),
      mean_square_N1,
      scale_C,
      zero_C,
      self.epsilon,
    )
    return shards.reshaped(y, x.shape, x)
