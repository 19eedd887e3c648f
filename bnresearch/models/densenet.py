"""Densely connected networks. Huang et al. 2016, 1608.06993."""

from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.models._layer_options import Layers
from bnresearch.models._layers import LINEAR, Conv, Logits, NormActivation, pool
from bnresearch.models._network_call import NetworkCall

# {variant: (layers of each dense block, growth)}, all of them DenseNet-BC:
# named by depth for ImageNet, by depth and growth for CIFAR.
VARIANTS = {
  '121': ((6, 12, 24, 16), 32),
  '169': ((6, 12, 32, 32), 32),
  '201': ((6, 12, 48, 32), 32),
  'bc_100_12': ((16, 16, 16), 12),
  'bc_190_40': ((31, 31, 31), 40),
  'bc_250_24': ((41, 41, 41), 24),
}

_BOTTLENECK = 4  # output channels of a 1x1, over the growth


class Model(nn.Module):
  """Stem, dense blocks with transitions between them, average, logits.

  Each layer of a dense block reads all channels before it and appends `growth`
  new ones. A transition halves height and width, and also channels unless
  `compression` says otherwise. Normalizer and activation come before each
  convolution (He et al. 2016, 1603.05027).

  Differs from the authors' code, which also applies dropout to the output of a
  dense layer's 1x1, before its normalizer.

  Attributes:
    num_classes: K, the width of the logits.
    layers: options that all layers share; own: ReLU, Kaiming. Its `width`
      multiplies the growth and the stem, and so all channels.
    variant: one of `VARIANTS`.
    stem: 'paper', 7x7/2 and 3x3/2 pooling, or 'small', 3x3, which only the next
      layers normalize. The variants 'bc_...' always have the small one.
    blocks: layers of each dense block, instead of the variant's.
    growth: channels that each layer of a dense block appends, the paper's k;
      0 for the variant's. The stem has twice as many.
    compression: output channels of a transition over its input channels, the
      paper's theta; 1 keeps them all.
    dropout_rate: dropout on the output of each dense layer and each
      transition's convolution. The paper has 0.2 for data without
      augmentation, otherwise none.
  """

  num_classes: int
  layers: Layers
  variant: str = '121'
  stem: str = 'paper'
  blocks: Sequence[int] = ()
  growth: int = 0
  compression: float = 0.5
  dropout_rate: float = 0.0

  @nn.compact
  def __call__(
    self, x_NHWC: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits (N, K), and taps: each layer's pre-activation."""
    call = NetworkCall(self, x_NHWC, train=train, mask=mask)
    blocks, growth = VARIANTS[self.variant]
    blocks, growth = self.blocks or blocks, self.growth or growth
    small = self.variant.startswith('bc') or self.stem == 'small'

    stem = Conv(
      2 * growth,
      *((3, 1, 'SAME') if small else (7, 2, 3)),
      normalized=not small,
      activated=not small,
      normalized_later=True,
      name='stem',
    )
    x = stem(call.images_NHWC, call)
    if not small:
      x = pool('max', x, 3, 2, 1, call)
    for block, count in enumerate(blocks, start=1):
      for n in range(1, count + 1):
        layer = _Layer(growth, self.dropout_rate, name=f'block_{block}_{n}')
        x = call.block(layer, x)
      if block < len(blocks):
        name = f'transition_{block}'
        transition = _Transition(self.compression, self.dropout_rate, name=name)
        x = call.block(transition, x)
    x_NC = NormActivation(name='head')(x, call).mean((1, 2))
    return Logits(self.num_classes, name='logits')(x_NC, call), call.taps


class _Layer(nn.Module):
  """Appends `growth` channels to its input."""

  growth: int
  dropout_rate: float

  @nn.compact
  def __call__(self, x_NHWC, call):
    x = NormActivation(name='pre')(x_NHWC, call)
    x = Conv(_BOTTLENECK * self.growth, 1, name='conv_1')(x, call)
    last = Conv(self.growth, 3, **LINEAR, name='conv_2')
    x = call.dropout(last(x, call), self.dropout_rate)
    return jnp.concatenate([x_NHWC, x], axis=-1)


class _Transition(nn.Module):
  """Halves height and width, and leaves a part of the channels."""

  compression: float
  dropout_rate: float

  @nn.compact
  def __call__(self, x_NHWC, call):
    x = NormActivation(name='pre')(x_NHWC, call)
    features = max(1, int(x.shape[-1] * self.compression))
    conv = Conv(features, exact=True, **LINEAR, name='conv')
    x = call.dropout(conv(x, call), self.dropout_rate)
    return pool('avg', x, 2, 2, 'VALID', call)
