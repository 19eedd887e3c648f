"""Network in Network. Lin et al. 2013, 1312.4400."""

import flax.linen as nn
import jax

from bnresearch.models._layer_options import Layers
from bnresearch.models._layers import Logits
from bnresearch.models._network_call import NetworkCall
from bnresearch.models._rows import Row

# {stem: (blocks, numbers of the blocks that follow a dropout)}, as in Caffe's
# model zoo: 'paper' for ImageNet, with maps of 54, 27, 13 and 6 at 224 pixels;
# 'small', the paper's, for CIFAR. The logits are the last block's last 1x1.
_BLOCKS = {
  'paper': (
    (
      '11x11/4 V 96, 1x1 96, 1x1 96, max 3x3/2',
      '5x5 256, 1x1 256, 1x1 256, max 3x3/2 V',
      '3x3 384, 1x1 384, 1x1 384, max 3x3/2 V',
      '3x3 1024, 1x1 1024',
    ),
    (4,),
  ),
  'small': (
    (
      '5x5 192, 1x1 160, 1x1 96, max 3x3/2',
      '5x5 192, 1x1 192, 1x1 192, avg 3x3/2',
      '3x3 192, 1x1 192',
    ),
    (2, 3),
  ),
}


class Model(nn.Module):
  """Blocks of a convolution and two 1x1, pooled; logits at each position.

  The 1x1 convolutions are a small network at each position, which makes the
  block an "mlpconv". The logits are averaged over all positions.

  Differs from Caffe: the logits have no ReLU before the average.

  Attributes:
    num_classes: K, the width of the logits.
    layers: options that all layers share; own: ReLU, Kaiming. The paper
      specifies no initial kernels.
    stem: 'paper', four blocks for ImageNet, the first with strides of 4, or
      'small', the paper's three blocks for CIFAR.
    dropout_rate: dropout on pooled maps: before the last block for ImageNet,
      before each block but the first for CIFAR.
  """

  num_classes: int
  layers: Layers
  stem: str = 'paper'
  dropout_rate: float = 0.5

  @nn.compact
  def __call__(
    self, x_NHWC: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits (N, K), and taps: each layer's pre-activation."""
    call = NetworkCall(self, x_NHWC, train=train, mask=mask)
    blocks, dropped = _BLOCKS[self.stem]
    x = call.images_NHWC
    for n, row in enumerate(blocks, start=1):
      if n in dropped:
        x = call.dropout(x, self.dropout_rate)
      x = call.block(Row(row, name=f'block_{n}'), x)
    return Logits(self.num_classes, name='logits')(x, call), call.taps
