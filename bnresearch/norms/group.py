"""Group normalization. Wu & He 2018, equation 7 and Figure 3, 1803.08494."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.norms import _affine
from bnresearch.ops import normalize
from bnresearch.statistics import moments, shards


class Norm(nn.Module):
  """Normalizes groups of an example's channels by their own statistics.

  `y = scale * (x - mean) / sqrt(var + epsilon) + bias`

  `mean` and `var` (biased) are those of an example's group of channels, over
  its positions and its C/G consecutive channels. Each channel has its own
  scale and bias. Training and evaluation are the same.

  One group is layer normalization, groups of one channel are instance
  normalization. Without positions a group has C/G values: two are normalized
  to about -1 and 1, a single one to 0, which leaves nothing of the input.

  *Differs from the paper:* there are `gcd(C, channel_groups)` groups, the most
  that divide both, so that every width works. The paper's widths are multiples
  of its 32 groups.

  Attributes:
    channel_groups: how many groups, where it divides the channels. 32 is the
      paper's and linen's.
    epsilon: added to the variance, in squared units of the input. 1e-5 is that
      of the paper's Figure 3; linen's is 1e-6.
    frozen_affine: whether scale and bias get no gradient.
    use_scale: whether to learn `scale` (gamma).
    use_bias: whether to learn `bias` (beta), initially 0.
    initial_scale: of gamma. The paper's is 1, and 0 where it ends a residual
      branch (its section 4.1).
  """

  channel_groups: int = 32
  epsilon: float = 1e-5
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
    S, G = math.prod(positions), math.gcd(C, self.channel_groups)
    scale_C, bias_C = _affine.parameters(self, (C,))
    x_NSGD = shards.reshaped(x, (N, S, G, C // G))
    mean_NG, var_NG = moments.moments(x_NSGD, (1, 3))
    mean_NC, var_NC = (
      jnp.repeat(value, C // G, axis=1) for value in (mean_NG, var_NG)
    )
    y = normalize.by_moments(
      shards.reshaped(x, (N, 1, S, C)),
      mean_NC,
      var_NC,
      scale_C,
      bias_C,
      self.epsilon,
    )
    return shards.reshaped(y, x.shape, x)
