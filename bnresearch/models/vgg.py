"""VGG. Simonyan & Zisserman 2014, 1409.1556."""

import flax.linen as nn
import jax

from bnresearch.models import _local_response
from bnresearch.models._connected import connect
from bnresearch.models._layer_options import OWN, Layers
from bnresearch.models._layers import LAST_POOLINGS, Logits, before_logits, pool
from bnresearch.models._network_call import NetworkCall
from bnresearch.models._rows import Row

# Table 1: the windows of each block's convolutions; '331' is 3x3, 3x3, 1x1.
# The columns are A, A-LRN, B, D, C and E. '8_5x5' is not in the table: section
# 4.1 compares it with B, which has two 3x3 in place of each 5x5.
_A = ('3', '3', '33', '33', '33')
VARIANTS = {
  '11': _A,
  '11_lrn': _A,
  '13': ('33', '33', '33', '33', '33'),
  '16': ('33', '33', '333', '333', '333'),
  '16c': ('33', '33', '331', '331', '331'),
  '19': ('33', '33', '3333', '3333', '3333'),
  '8_5x5': ('5', '5', '5', '5', '5'),
  '8': ('3', '3', '3', '3', '3'),
}
FEATURES = (64, 128, 256, 512, 512)
HIDDEN = (4096, 4096)

CHOICES = {'head': ('dense', 'conv'), 'last_pooling': LAST_POOLINGS}


class Model(nn.Module):
  """Five blocks of convolutions, each pooled, two hidden layers, logits.

  The convolutions have normalizers; the two hidden layers of 4096 units have
  none, as in the published networks with BN.

  Attributes:
    num_classes: K, the width of the logits.
    layers: options that all layers share; own: ReLU, Kaiming. The paper started
      its deeper networks from trained layers of the shallowest; it found later
      that Xavier's initial kernels make that unnecessary.
    variant: one of `VARIANTS`, by the number of layers with kernels: the
      paper's A, A-LRN, B, D, C (with 1x1) and E; its shallow net of section
      4.1, one 5x5 for each two 3x3 of B; and '8', not published, one 3x3 each.
    stem: 'paper', or 'small', usual for CIFAR: no hidden layers, and the last
      map's logits averaged. It stops pooling at a single pixel: 32 pixels are
      pooled five times, 28 four times and 8 three times.
    head: kind of the hidden layers: 'dense', or 'conv', fully convolutional,
      which also takes larger images. No effect without hidden layers.
    last_pooling: what follows the last map: 'none', a dense layer on all its
      positions, the first hidden one or, with the stem 'small', the logits;
      'average', the mean over positions and then the logits, without hidden
      layers, which have 86% of the parameters of '16' (Lin et al. 2013,
      1312.4400, section 3.2); 'own', as the stem says.
    dropout_rate: dropout on the outputs of both hidden layers; without these,
      on the input of the logits.
  """

  num_classes: int
  layers: Layers
  variant: str = '16'
  stem: str = 'paper'
  head: str = 'dense'
  last_pooling: str = OWN
  dropout_rate: float = 0.5

  @nn.compact
  def __call__(
    self, x_NHWC: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits (N, K), and taps: each layer's pre-activation."""
    call = NetworkCall(self, x_NHWC, train=train, mask=mask)
    small, x = self.stem == 'small', call.images_NHWC
    blocks = zip(FEATURES, VARIANTS[self.variant], strict=True)
    for n, (features, windows) in enumerate(blocks, start=1):
      row = ', '.join(f'{w}x{w} {features}' for w in windows)
      x = call.block(Row(row, name=f'block_{n}'), x)
      if n == 1 and self.variant.endswith('lrn'):
        x = _local_response.normalize(x)
      if not small or min(x.shape[1:3]) > 1:
        x = pool('max', x, 2, 2, 'VALID', call)
    own = self.last_pooling == OWN
    hidden = () if small or self.last_pooling == 'average' else HIDDEN
    if not own and not hidden:
      x = before_logits(x, self.last_pooling)
    for n, features in enumerate(hidden, start=1):
      options = {'head': self.head, 'normalized': False}
      x = connect(self, f'hidden_{n}', features, x, call, **options)
      x = call.dropout(x, self.dropout_rate)
    rate = 0.0 if hidden else self.dropout_rate
    return Logits(self.num_classes, rate, name='logits')(x, call), call.taps
