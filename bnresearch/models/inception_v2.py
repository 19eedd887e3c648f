"""BN-Inception, or Inception V2. Ioffe & Szegedy 2015, Figure 5, 1502.03167."""

import itertools
from collections.abc import Sequence

import flax.linen as nn
import jax

from bnresearch.models import _auxiliary, _local_response
from bnresearch.models._layer_options import OWN, Layers
from bnresearch.models._layers import (
  LAST_POOLINGS,
  LINEAR,
  Conv,
  Logits,
  before_logits,
  pool,
)
from bnresearch.models._network_call import NetworkCall
from bnresearch.models._rows import Row
from bnresearch.models.googlenet import stages

# Figure 5: {module: (#1x1, #3x3 reduce, #3x3, double #3x3 reduce, double #3x3,
# pooling, its projection)}, 0 for what a module lacks. Modules without 1x1 have
# strides of 2, and no projection after their pooling.
ROWS = {
  '3a': (64, 64, 64, 64, 96, 'avg', 32),
  '3b': (64, 64, 96, 64, 96, 'avg', 64),
  '3c': (0, 128, 160, 64, 96, 'max', 0),
  '4a': (224, 64, 96, 96, 128, 'avg', 128),
  '4b': (192, 96, 128, 96, 128, 'avg', 128),
  '4c': (160, 128, 160, 128, 160, 'avg', 128),
  '4d': (96, 128, 192, 160, 192, 'avg', 128),
  '4e': (0, 128, 192, 192, 256, 'max', 0),
  '5a': (352, 192, 320, 160, 224, 'avg', 128),
  '5b': (352, 192, 320, 192, 224, 'max', 128),
}
# Modules whose printed channels do not add up to the printed output.
_DISPUTED = ('4c', '4d')
_REDUCING = ('3c', '4e')

# TF-Slim's names, see `end_points`; what halves the map begins the next stage.
END_POINTS = {
  'stem_1_depthwise': '',
  'stem_1': 'Conv2d_1a_7x7',
  'stem_2': 'Conv2d_2b_1x1',
  'stem_3': 'Conv2d_2c_3x3',
  **{f'inception_{n}': f'Mixed_{n[0]}{chr(ord(n[1]) + 1)}' for n in ROWS},
  'inception_3c': 'Mixed_4a',
  'inception_4e': 'Mixed_5a',
}
POOLINGS = {'stem_2': 'MaxPool_2a_3x3', 'inception_3a': 'MaxPool_3a_3x3'}

CHOICES = {
  'last_pooling': LAST_POOLINGS,
  'stem': ('paper', 'medium', 'small'),
  'pool_projection': (96, 128),
  'reduction': ('strided', 'pooled'),
}

_DEPTH_MULTIPLIER = 8  # of the separable stem


class Model(nn.Module):
  """Stem, ten modules of up to four branches, average, logits.

  Figure 5 contradicts itself. It prints 128 channels for the pooled branch of
  4c and 4d, which makes 608 in total, but 576 for their output; see
  `pool_projection`. It prints the output of 3c and 4e at the size before their
  stride. The text's 13.6 million parameters do not match the figure, which has
  11.3 million.

  Attributes:
    num_classes: K, the width of the logits.
    layers: options that all layers share; own: ReLU, and Kaiming, as the paper
      does not specify initial kernels.
    blocks: number of modules in stages 3, 4 and 5; the first ones are kept,
      plus 3c and 4e, which end the first two stages.
    stem: 'paper', 7x7/2 and two poolings; 'medium', 3x3 and one, for images of
      16 to 96 pixels; or 'small', 3x3 and none, for 8 to 64.
    pool_projection: channels of the pooled branch of 4c and 4d: 128, as
      printed, or 96, as in slim, which gives the printed output.
    separable_stem: whether the first convolution is separable, as printed: each
      input channel makes 8 maps, which a 1x1 mixes; fewer in a narrow network,
      where three channels would make more maps than the 1x1. If False, it is
      plain.
    normalized_stem: whether the first convolution has a normalizer. The paper
      has one before every nonlinearity; slim has a bias here instead.
    reduction: how 3c and 4e halve the map: 'strided', as in the paper, by the
      last step of each branch; 'pooled', by a 3x3/2 max pooling after the
      module, all of whose steps have strides of 1. The paper's appendix says
      that there is no such pooling between modules.
    lrn: whether local response normalization follows the first pooling and
      precedes the second, as in GoogLeNet. The paper removes it.
    auxiliary_heads: whether 3c and 4e have auxiliary heads, on the halved map,
      see `_auxiliary.py`. The paper mentions none.
    last_pooling: what comes before the logits: 'average', the mean over all
      positions, which is the network's own; or 'none', a dense layer on all
      positions, whose kernel depends on the size of the images.
    dropout_rate: before the logits. The paper removes it. Auxiliary heads have
      GoogLeNet's 70%, or none if this is 0.
  """

  num_classes: int
  layers: Layers
  blocks: Sequence[int] = (2, 4, 2)
  stem: str = 'paper'
  pool_projection: int = 128
  separable_stem: bool = True
  normalized_stem: bool = True
  reduction: str = 'strided'
  lrn: bool = False
  auxiliary_heads: bool = False
  last_pooling: str = OWN
  dropout_rate: float = 0.0

  @nn.compact
  def __call__(
    self, x_NHWC: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits (N, K), and taps: each layer's pre-activation."""
    call = NetworkCall(self, x_NHWC, train=train, mask=mask)
    pooled = lambda x: pool('max', x, 3, 2, 'SAME', call)
    normalized = lambda x: _local_response.normalize(x) if self.lrn else x

    x = self._first(call.images_NHWC, call)
    x = x if self.stem == 'small' else pooled(x)
    x = Conv(64, 1, name='stem_2')(normalized(x), call)
    x = normalized(Conv(192, 3, name='stem_3')(x, call))
    x = pooled(x) if self.stem == 'paper' else x

    for module in itertools.chain(*stages(ROWS, self.blocks, _REDUCING)):
      row = Row(self._row(module), name=f'inception_{module}')
      x = call.block(row, x)
      if module not in _REDUCING:
        continue
      if self.reduction == 'pooled':
        x = pooled(x)
      if self.auxiliary_heads:
        name = f'auxiliary_{_REDUCING.index(module) + 1}'
        rates = _auxiliary.PAPER if self.dropout_rate else _auxiliary.NONE
        head = _auxiliary.Auxiliary(self.num_classes, rates, name=name)
        if call.ends_with(head, x):
          return call.end()

    logits = Logits(self.num_classes, self.dropout_rate, name='logits')
    return logits(before_logits(x, self.last_pooling), call), call.taps

  def _first(self, x_NHWC, call):
    """Applies the first convolution, separable or plain."""
    window, strides = (7, 2) if self.stem == 'paper' else (3, 1)
    if self.separable_stem:
      most = call.features(64) // 3  # slim's rule
      maps = max(1, min(most, _DEPTH_MULTIPLIER))
      depthwise = Conv(
        maps, window, strides, depthwise=True, **LINEAR, name='stem_1_depthwise'
      )
      x_NHWC = depthwise(x_NHWC, call)
      window = strides = 1
    stem_1 = Conv(
      64, window, strides, normalized=self.normalized_stem, name='stem_1'
    )
    return stem_1(x_NHWC, call)

  def _row(self, module):
    """Returns the row of a module, as `Row` takes it."""
    one, reduce, three, double_reduce, double, kind, projection = ROWS[module]
    strided = module in _REDUCING and self.reduction == 'strided'
    last = '3x3/2' if strided else '3x3'
    branches = [
      f'1x1 {reduce}, {last} {three}',
      f'1x1 {double_reduce}, 3x3 {double}, {last} {double}',
      f'{kind} {last}',
    ]
    if one:
      branches.insert(0, f'1x1 {one}')
    if projection:
      own = self.pool_projection if module in _DISPUTED else projection
      branches[-1] += f', 1x1 {own}'
    return ' | '.join(branches)
