"""Inception-ResNet-v2. Szegedy et al. 2016, 1602.07261."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from bnresearch.models._inception import (
  STEM,
  STEM_END_POINTS,
  STEM_POOLINGS,
  AuxiliaryHead,
  counts,
)
from bnresearch.models._layer_options import OWN, Layers
from bnresearch.models._layers import (
  LAST_POOLINGS,
  Activation,
  Conv,
  Logits,
  before_logits,
)
from bnresearch.models._network_call import NetworkCall
from bnresearch.models._rows import Branches, Row, unstrided

# For images of 299 pixels; slim's and Keras's rows. The stem is V3's.
_TO_35X35 = '1x1 96 | 1x1 48, 5x5 64 | 1x1 64, 3x3 96, 3x3 96 | avg 3x3, 1x1 64'
_TO_17X17 = '3x3/2 V 384 | 1x1 256, 3x3 256, 3x3/2 V 384 | max 3x3/2 V'
_TO_8X8 = (
  '1x1 256, 3x3/2 V 384 | 1x1 256, 3x3/2 V 288 | '
  '1x1 256, 3x3 288, 3x3/2 V 320 | max 3x3/2 V'
)
# Kinds of residual units: (their branches, the scale of the branches' sum).
_UNITS = {
  'block35': ('1x1 32 | 1x1 32, 3x3 32 | 1x1 32, 3x3 48, 3x3 64', 0.17),
  'block17': ('1x1 192 | 1x1 128, 1x7 160, 7x1 192', 0.1),
  'block8': ('1x1 192 | 1x1 192, 1x3 224, 3x1 256', 0.2),
}

END_POINTS = STEM_END_POINTS | {'conv_7b': 'Conv2d_7b_1x1'}
POOLINGS = STEM_POOLINGS
CHOICES = {'last_pooling': LAST_POOLINGS}


class Model(nn.Module):
  """Stem, three kinds of residual units, average over positions, logits.

  The units work on maps of 35x35, 17x17 and 8x8 for images of 299 pixels. They
  scale their branches by a number below 1 before adding the shortcut: the paper
  found that this stabilizes the training of wide networks. The last unit
  does not scale its branches, and has no nonlinearity.

  Attributes:
    num_classes: K, the width of the logits.
    layers: options that all layers share; own: ReLU, Kaiming.
    blocks: number of units of each kind, on 35x35, 17x17 and 8x8 pixels.
    stem: 'paper', which divides the size by 8, or 'small', the same
      convolutions without strides and pooling.
    auxiliary_heads: whether there is one, after the last 17x17 unit, as in
      `inception_v3`.
    last_pooling: what comes before the logits: 'average', the mean over all
      positions, which is the network's own; or 'none', a dense layer on all
      positions, whose kernel depends on the size of the images.
    dropout_rate: before the logits.
  """

  num_classes: int
  layers: Layers
  blocks: Sequence[int] = (10, 20, 10)
  stem: str = 'paper'
  auxiliary_heads: bool = False
  last_pooling: str = OWN
  dropout_rate: float = 0.2

  @nn.compact
  def __call__(
    self, x_NHWC: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits (N, K), and taps: each layer's pre-activation."""
    call = NetworkCall(self, x_NHWC, train=train, mask=mask)
    x = call.images_NHWC
    for name, row in rows(self).items():
      if name == 'mixed_7a' and self.auxiliary_heads:
        head = AuxiliaryHead(self.num_classes, name='auxiliary_1')
        if call.ends_with(head, x):
          return call.end()
      kind = name.partition('_')[0]
      if kind in _UNITS:
        last = name == f'block8_{self.blocks[-1]}'
        scale = 1.0 if last else _UNITS[kind][1]
        unit = _Unit(row, scale, activated=not last, name=name)
        x = call.block(unit, x)
      else:
        x = call.block(Row(row, name=name), x)
    x = Conv(1536, name='conv_7b')(x, call)
    logits = Logits(self.num_classes, self.dropout_rate, name='logits')
    return logits(before_logits(x, self.last_pooling), call), call.taps


def rows(model: Model) -> dict[str, str | Branches]:
  """Returns the rows of a network by name, bottom to top.

  Raises:
    ValueError: see `_inception.counts`.
  """
  of_35, of_17, of_8 = counts(model.blocks)
  return {
    'stem': unstrided(STEM) if model.stem == 'small' else STEM,
    'mixed_5b': _TO_35X35,
    **_units('block35', of_35),
    'mixed_6a': _TO_17X17,
    **_units('block17', of_17),
    'mixed_7a': _TO_8X8,
    **_units('block8', of_8),
  }


def _units(kind, count):
  return {f'{kind}_{n}': _UNITS[kind][0] for n in range(1, count + 1)}


class _Unit(nn.Module):
  """Branches, a linear 1x1 convolution, and the shortcut."""

  row: str | Branches
  scale: float
  activated: bool

  @nn.compact
  def __call__(self, x_NHWC, call):
    branches = Row(self.row)
    nn.share_scope(self, branches)
    C = x_NHWC.shape[-1]
    linear = Conv(
      C, exact=True, normalized=False, activated=False, name='linear'
    )
    x = x_NHWC + self.scale * linear(branches(x_NHWC, call), call)
    return Activation(name='sum')(x, call) if self.activated else x
