"""GoogLeNet's auxiliary head. Szegedy et al. 2014, 1409.4842, section 5."""

import flax.linen as nn
import jax

from bnresearch.models._layers import Conv, Dense, Logits, pool
from bnresearch.models._network_call import NetworkCall

PAPER, NONE = (0.0, 0.7), (0.0, 0.0)  # dropout rates


class Auxiliary(nn.Module):
  """Logits from an intermediate map: average pooling, 1x1, a hidden layer.

  The pooling is 5x5/3, or over the whole map if that is smaller. The hidden
  layer has no normalizer, as in all published networks with BN.

  Attributes:
    num_classes: K.
    rates: dropout on the input of the hidden layer, and on its output. The
      paper has 70% of the latter.
    dense_init: kernel initializer of the hidden layer and the logits; None for
      the architecture's.
  """

  num_classes: int
  rates: tuple[float, float] = PAPER
  dense_init: nn.initializers.Initializer | None = None

  @nn.compact
  def __call__(self, x_NHWC: jax.Array, call: NetworkCall) -> jax.Array:
    """Returns logits (N, K)."""
    N, H, W, _ = x_NHWC.shape
    window, strides = (min(5, H), min(5, W)), 3 if min(H, W) > 1 else 1
    x = pool('avg', x_NHWC, window, strides, 'VALID', call)
    x = Conv(128, 1, name='conv')(x, call)
    before, after = self.rates
    init = self.dense_init
    hidden = Dense(1024, normalized=False, kernel_init=init, name='hidden')
    x = hidden(call.dropout(x, before) if before else x, call)
    logits = Logits(self.num_classes, after, kernel_init=init, name='logits')
    # The loss takes (N, K), even if the network's own logits keep positions.
    return logits(x, call).reshape(N, self.num_classes)
