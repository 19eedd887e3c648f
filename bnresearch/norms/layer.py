"""Layer normalization. Ba, Kiros & Hinton 2016, equation 3, 1607.06450."""

import math

import flax.linen as nn
import jax

from bnresearch.norms import _affine
from bnresearch.ops import normalize
from bnresearch.statistics import moments, shards


class Norm(nn.Module):
  """Normalizes each example by its own statistics.

  `y = scale * (x - mean) / sqrt(var + epsilon) + bias`

  `mean` and `var` (biased) are those of an example, over its positions and
  channels. Each channel has its own scale and bias. Training and evaluation are
  the same.

  *Differs from the paper:* where there are positions, a feature map has one
  scale and one bias, as in `group.py`; the paper has a pair for each neuron.

  Attributes:
    epsilon: added to the variance, in squared units of the input. The paper
      has none; 1e-6 is linen's, PyTorch's is 1e-5.
    frozen_affine: whether scale and bias get no gradient.
    use_scale: whether to learn `scale`, the paper's gain.
    use_bias: whether to learn `bias`, initially 0.
    initial_scale: of `scale`. The paper's is 1 (its section 6).
  """

  epsilon: float = 1e-6
  frozen_affine: bool = False
  use_scale: bool = True
  use_bias: bool = True
  initial_scale: float = 1.0

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns `x` (N, ..., C) normalized, in its shape and dtype."""
    del train
    x = moments.finite(x, mask)
    N, *positions, C = x.shape
    scale_C, bias_C = _affine.parameters(self, (C,))
    mean_N, var_N = moments.moments(x, range(1, x.ndim))
    y = normalize.by_moments(
      shards.reshaped(x, (N, 1, math.prod(positions), C)),
      mean_N[:, None],
      var_N[:, None],
      scale_C,
      bias_C,
      self.epsilon,
    )
    return shards.reshaped(y, x.shape, x)
