"""EvoNorm-S0, normalization and activation in one. Liu et al. 2020, 2004.02967.

A search over graphs of simple functions found it; it depends on single examples
only, as its letter says, and needs no activation after it.
"""

import math

import flax.linen as nn
import jax

from bnresearch.norms import _affine
from bnresearch.statistics import moments, shards


class Norm(nn.Module):
  """Swish, divided by the deviation of a group of channels.

  `y = scale * x * sigmoid(v * x) / sqrt(var + epsilon) + bias`

  `var` is each example's own, biased, over positions and the consecutive
  channels of a group; there are `gcd(C, channel_groups)` groups. No mean is
  subtracted. Training and evaluation are the same, and no statistics are kept.

  Without positions, and with as many groups as channels, a group is a single
  value and `var` is 0: choose fewer `channel_groups` there.

  Attributes:
    channel_groups: at most this many groups. The paper's 32.
    epsilon: added to the variance, in squared units of the input. The paper's
      1e-5.
    frozen_affine: whether scale and bias get no gradient; `v` does.
    use_scale: whether to learn `scale` (gamma).
    use_bias: whether to learn `bias` (beta), initially 0.
    initial_scale: of gamma. `v`, the paper's v_1, is initially 1, as theirs.
    activates: if False, `y = scale * x + bias`: the authors' form where a
      network is linear, as at the end of a residual branch.
  """

  channel_groups: int = 32
  epsilon: float = 1e-5
  frozen_affine: bool = False
  use_scale: bool = True
  use_bias: bool = True
  initial_scale: float = 1.0
  activates: bool = True

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns `x` normalized and activated, in its shape (N, ..., C) and dtype.

    Args:
      x: (N, ..., C), floating.
      train: without effect.
      mask: (N,) bool, the examples that count; values of others that are not
        finite become 0. Examples do not share statistics.
    """
    del train
    x = moments.finite(x, mask)
    N, *positions, C = x.shape
    S, G = math.prod(positions), math.gcd(C, self.channel_groups)
    scale_C, bias_C = _affine.parameters(self, (C,))
    if not self.activates:
      middle = (1,) * (x.ndim - 1)
      y = x * scale_C.reshape(*middle, C) + bias_C.reshape(*middle, C)
      return y.astype(x.dtype)
    v_C = self.param('v', nn.initializers.ones, (C,))
    x_NSGD = shards.reshaped(x, (N, S, G, C // G))
    _, var_NG = moments.moments(x_NSGD, (1, 3))
    x_NSGD = x_NSGD.astype(var_NG.dtype)
    inverse_NG = jax.lax.rsqrt(var_NG + self.epsilon)
    scale, bias, v = (
      p.reshape(1, 1, G, C // G) for p in (scale_C, bias_C, v_C)
    )
    y = x_NSGD * jax.nn.sigmoid(v * x_NSGD) * inverse_NG[:, None, :, None]
    return shards.reshaped((y * scale + bias).astype(x.dtype), x.shape, x)
