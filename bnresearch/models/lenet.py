"""LeNet-5. LeCun et al. 1998, Gradient-based learning, section II-B."""

import flax.linen as nn
import jax

from bnresearch.models._connected import connect
from bnresearch.models._layer_options import Layers
from bnresearch.models._layers import Conv, Logits, pool
from bnresearch.models._network_call import NetworkCall

# Variance 1 / inputs: LeCun et al. 1998, Efficient BackProp, for tanh.
_INIT = nn.initializers.lecun_normal()

CHOICES = {'head': ('dense', 'conv')}


class Model(nn.Module):
  """Two convolutions, each averaged 2x2, two hidden dense layers, logits.

  With 28x28 or 32x32 pixels of one channel and 10 classes, it has 61,706
  parameters without a normalizer. All layers but the logits have normalizers.

  Differs from the paper: each map of the second convolution sees all of the
  first, not some; pooling has no coefficients; tanh is not scaled; logits are
  linear, not distances from bitmaps.

  Attributes:
    num_classes: K, the width of the logits.
    layers: options that all layers share; own: tanh, variance 1 / inputs.
    stem: 'paper', two 5x5, or 'small', two 3x3 that keep the size. The paper's
      images are digits of 28x28 with a border, 32x32 pixels: images below 32
      pixels get the same border of two zeros.
    head: kind of the layer of 120 units: 'dense', or 'conv', the paper's
      convolution over a map of 5x5, which also takes larger images.
    dropout_rate: before the logits. The paper has none.
  """

  num_classes: int
  layers: Layers
  stem: str = 'paper'
  head: str = 'dense'
  dropout_rate: float = 0.0

  @nn.compact
  def __call__(
    self, x_NHWC: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits (N, K), and taps: each layer's pre-activation."""
    call = NetworkCall(
      self, x_NHWC, train=train, mask=mask, activation='tanh', init=_INIT
    )
    x = call.images_NHWC
    if self.stem == 'small':
      window, first, second = 3, 'SAME', 'SAME'
    else:
      bordered = min(x.shape[1:3]) >= 32
      window, first, second = 5, 'VALID' if bordered else 'SAME', 'VALID'
    x = call.block(Conv(6, window, padding=first, name='conv_1'), x)
    x = pool('avg', x, 2, 2, 'VALID', call)
    x = call.block(Conv(16, window, padding=second, name='conv_2'), x)
    x = pool('avg', x, 2, 2, 'VALID', call)
    x = connect(self, 'hidden_1', 120, x, call, head=self.head)
    x = connect(self, 'hidden_2', 84, x, call, head=self.head)
    logits = Logits(self.num_classes, self.dropout_rate, name='logits')
    return logits(x, call), call.taps
