"""GoogLeNet, or Inception V1. Szegedy et al. 2014, 1409.4842."""

from collections.abc import Collection, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax

from bnresearch.models import _auxiliary, _local_response
from bnresearch.models._initializers import KAIMING
from bnresearch.models._layer_options import OWN, Layers
from bnresearch.models._layers import (
  LAST_POOLINGS,
  Conv,
  Logits,
  before_logits,
  pool,
)
from bnresearch.models._network_call import NetworkCall
from bnresearch.models._rows import Row


class Variant(NamedTuple):
  """How published networks differ.

  Attributes:
    five_by_five: as in `Model`.
    lrn: likewise.
    window_before_5a: of the pooling between 4e and 5a.
    rates: dropout of auxiliary heads, see `_auxiliary.Auxiliary`.
    init: kernel initializer of the convolutions, and of all layers without
      `dense_init`.
    dense_init: kernel initializer of all logits and of hidden layers.
  """

  five_by_five: str
  lrn: bool
  window_before_5a: int
  rates: tuple[float, float] = _auxiliary.PAPER
  init: nn.initializers.Initializer = KAIMING
  dense_init: nn.initializers.Initializer | None = None


VARIANTS = {
  'paper': Variant('5x5', lrn=True, window_before_5a=3),
  'torchvision': Variant('3x3', lrn=False, window_before_5a=2),
  'bn_googlenet': Variant(
    'two_3x3',
    lrn=False,
    window_before_5a=3,
    rates=(0.5, 0.5),
    # PyTorch's kaiming_normal_ by fan_out, which is not truncated.
    init=nn.initializers.variance_scaling(2.0, 'fan_out', 'normal'),
    dense_init=nn.initializers.normal(0.01),
  ),
}

# Table 1: {module: (#1x1, #3x3 reduce, #3x3, #5x5 reduce, #5x5, pool proj)}.
ROWS = {
  '3a': (64, 96, 128, 16, 32, 32),
  '3b': (128, 128, 192, 32, 96, 64),
  '4a': (192, 96, 208, 16, 48, 64),
  '4b': (160, 112, 224, 24, 64, 64),
  '4c': (128, 128, 256, 24, 64, 64),
  '4d': (112, 144, 288, 32, 64, 64),
  '4e': (256, 160, 320, 32, 128, 128),
  '5a': (256, 160, 320, 32, 128, 128),
  '5b': (384, 192, 384, 48, 128, 128),
}
# TF-Slim's names, see `end_points`; it counts the stage's pooling as its first.
END_POINTS = {
  'stem_1': 'Conv2d_1a_7x7',
  'stem_2': 'Conv2d_2b_1x1',
  'stem_3': 'Conv2d_2c_3x3',
  **{f'inception_{n}': f'Mixed_{n[0]}{chr(ord(n[1]) + 1)}' for n in ROWS},
}
POOLINGS = {
  'stem_2': 'MaxPool_2a_3x3',
  'inception_3a': 'MaxPool_3a_3x3',
  'inception_4a': 'MaxPool_4a_3x3',
  'inception_5a': 'MaxPool_5a_2x2',
}
_HEADS_AFTER = ('4a', '4d')

# What follows the 1x1 in a branch named 5x5.
_FIVE_BY_FIVE = {'5x5': ('5x5',), 'two_3x3': ('3x3', '3x3'), '3x3': ('3x3',)}
CHOICES = {'last_pooling': LAST_POOLINGS, 'five_by_five': (OWN, *_FIVE_BY_FIVE)}


class Model(nn.Module):
  """Stem, nine modules of four branches, average over positions, logits.

  Max pooling pads maps of even size, as from images of 224 pixels, at the end
  only, like PyTorch's `ceil_mode`; maps of odd size, on both sides.

  Attributes:
    num_classes: K, the width of the logits.
    layers: options that all layers share; own: ReLU, and Kaiming, as the paper
      does not specify initial kernels.
    variant: one of `VARIANTS`: 'paper'; 'torchvision', which has 3x3 instead of
      5x5, no local response normalization, and 2x2 pooling before 5a, all as in
      slim; or 'bn_googlenet', a PyTorch network for photographs of flowers,
      with two 3x3 instead of 5x5, no local response normalization, Kaiming's
      kernels by fan-out, dense layers of deviation 0.01, and heads that drop
      half of the hidden layer's inputs and half of its outputs. Its
      convolutions keep the biases that BN cancels (`layers.keep_bias`).
    blocks: number of modules in stages 3, 4 and 5; the first ones are kept.
    stem: 'paper', 7x7/2 and two poolings, or 'small', 3x3 and none, for images
      of 8 to 64 pixels.
    five_by_five: the branches with windows of 5x5: '5x5', the paper's;
      'two_3x3', with the same receptive field; '3x3'; 'own' for the variant's.
    lrn: whether local response normalization follows the first pooling and
      precedes the second, in addition to other normalizers. None for the
      variant's. Its constants are those of Krizhevsky et al. 2012; the paper
      states none.
    auxiliary_heads: whether 4a and 4d have auxiliary heads, which the paper
      trains with, see `_auxiliary.py`.
    last_pooling: what comes before the logits: 'average', the mean over all
      positions, which is the network's own; or 'none', a dense layer on all
      positions, whose kernel depends on the size of the images.
    dropout_rate: before the logits; the paper's 40%. Auxiliary heads have 70%,
      or the variant's, or none if this is 0.
  """

  num_classes: int
  layers: Layers
  variant: str = 'paper'
  blocks: Sequence[int] = (2, 5, 2)
  stem: str = 'paper'
  five_by_five: str = OWN
  lrn: bool | None = None
  auxiliary_heads: bool = False
  last_pooling: str = OWN
  dropout_rate: float = 0.4

  @nn.compact
  def __call__(
    self, x_NHWC: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits (N, K), and taps: each layer's pre-activation."""
    variant = VARIANTS.get(self.variant, VARIANTS['paper'])  # or it is refused
    init, dense, small = variant.init, variant.dense_init, self.stem == 'small'
    call = NetworkCall(self, x_NHWC, train=train, mask=mask, init=init)
    windows = _FIVE_BY_FIVE[
      variant.five_by_five if self.five_by_five == OWN else self.five_by_five
    ]
    lrn = variant.lrn if self.lrn is None else self.lrn
    normalized = lambda x: _local_response.normalize(x) if lrn else x
    pooled = lambda x, window: pool('max', x, window, 2, 'SAME', call)

    if small:
      x = Conv(64, 3, name='stem_1')(call.images_NHWC, call)
    else:
      x = Conv(64, 7, 2, 3, name='stem_1')(call.images_NHWC, call)
      x = pooled(x, 3)
    x = Conv(64, 1, name='stem_2')(normalized(x), call)
    x = normalized(Conv(192, 3, name='stem_3')(x, call))
    x = x if small else pooled(x, 3)

    for stage, modules in enumerate(stages(ROWS, self.blocks)):
      if stage > 0:
        x = pooled(x, 3 if stage == 1 else variant.window_before_5a)
      for module in modules:
        row = Row(_row(module, windows), name=f'inception_{module}')
        x = call.block(row, x)
        if self.auxiliary_heads and module in _HEADS_AFTER:
          name = f'auxiliary_{_HEADS_AFTER.index(module) + 1}'
          rates = variant.rates if self.dropout_rate else _auxiliary.NONE
          head = _auxiliary.Auxiliary(self.num_classes, rates, dense, name=name)
          if call.ends_with(head, x):
            return call.end()

    logits = Logits(
      self.num_classes, self.dropout_rate, kernel_init=dense, name='logits'
    )
    return logits(before_logits(x, self.last_pooling), call), call.taps


def stages(
  table: Collection[str], blocks: Sequence[int], always: Collection[str] = ()
) -> list[list[str]]:
  """Returns the modules of stages 3, 4 and 5, such as '3a'.

  Args:
    table: names of the published network's modules.
    blocks: how many each stage keeps; the first ones.
    always: modules kept in addition.

  Raises:
    ValueError: `blocks` is not three numbers, or exceeds what was published.
  """
  by_stage = [[module for module in table if module[0] == n] for n in '345']
  optional = [[m for m in modules if m not in always] for modules in by_stage]
  most = [len(modules) for modules in optional]
  if len(blocks) != 3 or any(n > m for n, m in zip(blocks, most, strict=True)):
    raise ValueError(
      f'blocks = {tuple(blocks)}: needs three numbers of modules, at most '
      f'{tuple(most)}.'
    )
  kept = {*always}
  for count, modules in zip(blocks, optional, strict=True):
    kept.update(modules[:count])
  return [[m for m in modules if m in kept] for modules in by_stage]


def _row(module, windows):
  """Returns the row of a module, as `Row` takes it."""
  one, reduce_3, three, reduce_5, five, projection = ROWS[module]
  last = ', '.join(f'{window} {five}' for window in windows)
  return (
    f'1x1 {one} | 1x1 {reduce_3}, 3x3 {three} | 1x1 {reduce_5}, {last} | '
    f'max 3x3, 1x1 {projection}'
  )
