"""Residual networks. He et al. 2015, 1512.03385; He et al. 2016, 1603.05027."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.models._layer_options import Layers
from bnresearch.models._layers import (
  Activation,
  Conv,
  Logits,
  NormActivation,
  pool,
)
from bnresearch.models._network_call import NetworkCall

# {variant: (units of each stage, whether a unit is a bottleneck)}. Those for
# CIFAR have three stages, from 16 channels, and the small stem (section 4.2).
VARIANTS = {
  '18': ((2, 2, 2, 2), False),
  '34': ((3, 4, 6, 3), False),
  '50': ((3, 4, 6, 3), True),
  '101': ((3, 4, 23, 3), True),
  '152': ((3, 8, 36, 3), True),
  'cifar_20': ((3, 3, 3), False),
  'cifar_32': ((5, 5, 5), False),
  'cifar_44': ((7, 7, 7), False),
  'cifar_56': ((9, 9, 9), False),
  'cifar_110': ((18, 18, 18), False),
}
CHOICES = {
  'version': ('v1', 'v1.5', 'v2'),
  'strides_at': ('first', 'last'),
  'padding': ('same', 'symmetric'),
}

_EXPANSION = 4  # a bottleneck's output over its middle
# Goyal et al. 2017, 1706.02677, section 5.1; the paper says nothing of it.
_LOGITS = nn.initializers.normal(0.01)


class Model(nn.Module):
  """Stem, stages of residual units, average over positions, logits.

  Each stage but the first begins with a stride of 2 and doubles the channels.
  A shortcut is the identity, or where the shape changes a 1x1 convolution; for
  CIFAR every other pixel and channels of zeros, without parameters.

  Attributes:
    num_classes: K, the width of the logits.
    layers: what all layers have in common; own: ReLU, Kaiming.
    variant: one of `VARIANTS`.
    version: 'v1', the paper's and Keras's, whose bottlenecks have their stride
      on the first 1x1; 'v1.5', PyTorch's, on the 3x3; 'v2', of
      pre-activation, normalizer and activation before each convolution.
    strides_at: the 'first' unit of a stage, the papers', or the 'last' one of
      the stage before, slim's, and for v2 also Keras's.
    padding: of the stem's pooling: 'symmetric', a pixel on each side, PyTorch's
      and Keras's; or 'same', slim's, below and to the right only of maps of
      even size. Slim's convolutions pad symmetrically too.
    stem: 'paper', 7x7/2 and 3x3/2 pooling, or 'small', 3x3. That of the
      variants 'cifar_...' is always small.
    blocks: units of each stage, instead of the variant's.
    zero_init: whether the normalizer that ends a unit's branch begins with
      scale 0, so that units begin as their shortcuts (Goyal et al. 2017,
      1706.02677). Without effect in v2, where none ends it.
    dropout_rate: before the logits. The paper has none.
  """

  num_classes: int
  layers: Layers
  variant: str = '50'
  version: str = 'v1.5'
  strides_at: str = 'first'
  padding: str = 'symmetric'
  stem: str = 'paper'
  blocks: Sequence[int] = ()
  zero_init: bool = False
  dropout_rate: float = 0.0

  @nn.compact
  def __call__(
    self, x_NHWC: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits (N, K), and taps: each layer's pre-activation."""
    call = NetworkCall(self, x_NHWC, train=train, mask=mask)
    blocks, bottleneck = VARIANTS[self.variant]
    cifar = self.variant.startswith('cifar')
    v2 = self.version == 'v2'
    unit = functools.partial(
      _Unit,
      bottleneck=bottleneck,
      version=self.version,
      zero_init=self.zero_init,
      padded=cifar,
    )

    features = 16 if cifar else 64
    small = cifar or self.stem == 'small'
    stem = Conv(
      features,
      *((3, 1, 'SAME') if small else (7, 2, 3)),
      normalized=not v2,
      activated=not v2,
      # Zeros around what v2 pools are not shifted by a bias.
      normalized_later=small,
      name='stem',
    )
    x = call.block(stem, call.images_NHWC)
    if not small:
      padding = 'SAME' if self.padding == 'same' else 1
      if v2 and padding == 1:
        # Around what is not activated yet, Keras's v2 has zeros.
        x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
        padding = 'VALID'
      x = pool('max', x, 3, 2, padding, call)
    blocks = self.blocks or blocks
    for stage, count in enumerate(blocks):
      for block in range(count):
        first = self.strides_at == 'first' and stage > 0 and block == 0
        last = self.strides_at == 'last' and block == count - 1
        strides = 2 if first or (last and stage < len(blocks) - 1) else 1
        name = f'stage_{stage + 1}_block_{block + 1}'
        x = call.block(unit(features * 2**stage, strides, name=name), x)
    if v2:
      x = NormActivation(name='head')(x, call)
    logits = Logits(
      self.num_classes, self.dropout_rate, kernel_init=_LOGITS, name='logits'
    )
    return logits(x.mean((1, 2)), call), call.taps


class _Unit(nn.Module):
  """A residual unit: a branch of two or three convolutions, and a shortcut."""

  features: int
  strides: int
  bottleneck: bool
  version: str
  zero_init: bool
  padded: bool

  @nn.compact
  def __call__(self, x_NHWC, call):
    v2, strides = self.version == 'v2', self.strides
    features = self.features * (_EXPANSION if self.bottleneck else 1)
    # What is added: not activated before, and in v2 normalized only after.
    end = functools.partial(
      Conv, features, normalized=not v2, activated=False, normalized_later=True
    )
    x = NormActivation(name='pre')(x_NHWC, call) if v2 else x_NHWC

    shortcut, C = x_NHWC, call.features(features)
    if self.padded:
      more = C - shortcut.shape[-1]
      shortcut = shortcut[:, ::strides, ::strides]
      shortcut = jnp.pad(shortcut, ((0, 0), (0, 0), (0, 0), (0, more)))
    elif shortcut.shape[-1] != C:
      shortcut = end(1, strides, name='shortcut')(x, call)
    elif strides > 1:
      shortcut = pool('max', shortcut, 1, strides, 'VALID', call)

    if self.bottleneck:
      on_1x1, on_3x3 = (strides, 1) if self.version == 'v1' else (1, strides)
      x = Conv(self.features, 1, on_1x1, name='conv_1')(x, call)
      x = Conv(self.features, 3, on_3x3, 1, name='conv_2')(x, call)
      window, padding = 1, 'SAME'
    else:
      x = Conv(self.features, 3, strides, 1, name='conv_1')(x, call)
      window, padding = 3, 1
    scale = 0.0 if self.zero_init else None
    last = end(window, 1, padding, initial_scale=scale, name='conv_last')
    x = last(x, call) + shortcut
    return x if v2 else Activation(name='sum')(x, call)
