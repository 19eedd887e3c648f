"""The auxiliary head of Inception V3. Szegedy et al. 2015, 1512.00567."""

import flax.linen as nn
import jax

from bnresearch.models._call import Call
from bnresearch.models._layers import Conv, Logits, pool

# Slim's and PyTorch's.
_CONV = nn.initializers.truncated_normal(0.01)
_LOGITS = nn.initializers.truncated_normal(0.001)


class AuxiliaryHead(nn.Module):
  """Pooling, two convolutions, logits, which are left to the call.

  Published for 17x17 maps, of which it makes 5x5 and 1x1. On smaller maps its
  windows are as large as these, so that the second kernel depends on the size
  of the images; on larger ones its result is averaged over positions.

  Attributes:
    num_classes: K.
  """

  num_classes: int

  @nn.compact
  def __call__(self, x_NHWC: jax.Array, call: Call) -> None:
    """Leaves logits (N, K) of a map among the taps."""
    x = pool('avg', x_NHWC, _at_most_5x5(x_NHWC), 3, 'VALID', call)
    x = Conv(128, name='conv_1')(x, call)
    x = Conv(768, _at_most_5x5(x), padding='VALID', init=_CONV, name='conv_2')(
      x, call
    )
    logits = Logits(self.num_classes, init=_LOGITS, name='logits')
    # A loss is of (N, K), also where the network's own logits keep positions.
    logits_NK = logits(x.mean((1, 2)), call).reshape(-1, self.num_classes)
    call.add_auxiliary(logits_NK)


def _at_most_5x5(x_NHWC):
  _, H, W, _ = x_NHWC.shape
  return min(5, H), min(5, W)
