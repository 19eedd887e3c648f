"""Inception V4. Szegedy et al. 2016, 1602.07261."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from bnresearch.models._inception import apply, counts, modules
from bnresearch.models._layer_options import OWN, Layers
from bnresearch.models._layers import LAST_POOLINGS
from bnresearch.models._network_call import NetworkCall
from bnresearch.models._rows import Branches, unstrided

# For images of 299 pixels; slim's rows.
_STEM = {
  'stem': '3x3/2 V 32, 3x3 V 32, 3x3 64',
  'mixed_3a': 'max 3x3/2 V | 3x3/2 V 96',
  'mixed_4a': '1x1 64, 3x3 V 96 | 1x1 64, 1x7 64, 7x1 64, 3x3 V 96',
  'mixed_5a': '3x3/2 V 192 | max 3x3/2 V',
}
_ON_35X35 = '1x1 96 | 1x1 64, 3x3 96 | 1x1 64, 3x3 96, 3x3 96 | avg 3x3, 1x1 96'
_TO_17X17 = '3x3/2 V 384 | 1x1 192, 3x3 224, 3x3/2 V 256 | max 3x3/2 V'
_ON_17X17 = (
  '1x1 384 | 1x1 192, 1x7 224, 7x1 256 | '
  '1x1 192, 7x1 192, 1x7 224, 7x1 224, 1x7 256 | avg 3x3, 1x1 128'
)
_TO_8X8 = (
  '1x1 192, 3x3/2 V 192 | 1x1 256, 1x7 256, 7x1 320, 3x3/2 V 320 | max 3x3/2 V'
)
_ON_8X8 = (
  '1x1 256 | 1x1 384, (1x3 256 | 3x1 256) | '
  '1x1 384, 3x1 448, 1x3 512, (1x3 256 | 3x1 256) | avg 3x3, 1x1 256'
)

END_POINTS = {
  'stem/conv_1': 'Conv2d_1a_3x3',
  'stem/conv_2': 'Conv2d_2a_3x3',
  'stem': 'Conv2d_2b_3x3',
}
CHOICES = {'last_pooling': LAST_POOLINGS}


class Model(nn.Module):
  """Stem, three kinds of modules, average over positions, logits.

  Like `inception_v3`, with other modules; there are no residual units.

  Attributes:
    num_classes: K, the width of the logits.
    layers: options that all layers share; own: ReLU, Kaiming.
    blocks: number of modules of each kind, on 35x35, 17x17 and 8x8 pixels.
    stem: 'paper', which divides the size by 8, or 'small', the same
      convolutions without strides and pooling.
    auxiliary_heads: whether there is one, after the last 17x17 module, as in
      `inception_v3`.
    last_pooling: what comes before the logits: 'average', the mean over all
      positions, which is the network's own; or 'none', a dense layer on all
      positions, whose kernel depends on the size of the images.
    dropout_rate: before the logits.
  """

  num_classes: int
  layers: Layers
  blocks: Sequence[int] = (4, 7, 3)
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
    return apply(self, rows(self), call)


def rows(model: Model) -> dict[str, str | Branches]:
  """Returns the rows of a network by name, bottom to top.

  Raises:
    ValueError: see `_inception.counts` and `modules`.
  """
  of_35, of_17, of_8 = counts(model.blocks)
  small = model.stem == 'small'
  return {
    **{name: unstrided(row) if small else row for name, row in _STEM.items()},
    **modules(5, [_ON_35X35], of_35),
    'mixed_6a': _TO_17X17,
    **modules(6, [_ON_17X17], of_17),
    'mixed_7a': _TO_8X8,
    **modules(7, [_ON_8X8], of_8),
  }
