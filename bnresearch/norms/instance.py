"""Instance normalization. Ulyanov et al. 2016, 1607.08022."""

import math
from typing import ClassVar

import flax.linen as nn
import jax

from bnresearch.norms import _affine
from bnresearch.ops import normalize
from bnresearch.statistics import moments, shards


class Norm(nn.Module):
  """Normalizes each channel of each example by its own statistics.

  `y = scale * (x - mean) / sqrt(var + epsilon) + bias`

  `mean` and `var` (biased) are those of an example's feature map, over its
  positions. Each channel has its own scale and bias. Training and evaluation
  are the same.

  *Differs from the paper:* its formula has no scale and no bias; to leave them
  out, set `use_scale` and `use_bias` to False.

  Attributes:
    epsilon: added to the variance, in squared units of the input. The paper
      names no value; 1e-6 is linen's, PyTorch's is 1e-5.
    frozen_affine: whether scale and bias get no gradient.
    use_scale: whether to learn `scale` (gamma).
    use_bias: whether to learn `bias` (beta), initially 0.
    initial_scale: of gamma. 1 is linen's and PyTorch's.
  """

  epsilon: float = 1e-6
  frozen_affine: bool = False
  use_scale: bool = True
  use_bias: bool = True
  initial_scale: float = 1.0

  cancels_bias: ClassVar[bool] = True
  needs_positions: ClassVar[bool] = True

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns `x` (N, ..., C) normalized, in its shape and dtype.

    Raises:
      ValueError: `x` has fewer than two positions.
    """
    del train
    x = moments.finite(x, mask)
    N, *positions, C = x.shape
    S = math.prod(positions)
    if S < 2:
      raise ValueError(
        "norm.name = 'instance' normalizes over the positions of an example; "
        f'an input of shape {x.shape} (examples, positions, channels) has '
        f'{S}, and needs at least 2. Normalize a larger feature map, or use '
        "another norm.name, such as 'layer' or 'group'."
      )
    scale_C, bias_C = _affine.parameters(self, (C,))
    x_NMSC = shards.reshaped(x, (N, 1, S, C))  # groups of M = 1 example
    mean_NC, var_NC = moments.moments(x_NMSC, (1, 2))
    y = normalize.by_moments(
      x_NMSC, mean_NC, var_NC, scale_C, bias_C, self.epsilon
    )
    return shards.reshaped(y, x.shape, x)
