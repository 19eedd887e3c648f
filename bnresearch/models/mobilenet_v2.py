"""MobileNetV2. Sandler et al. 2018, 1801.04381."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from bnresearch.models._layer_options import Layers
from bnresearch.models._layers import Conv, Logits
from bnresearch.models._network_call import NetworkCall
from bnresearch.models.mobilenet_v1 import units

EXPANSION = 6  # in all stages but the first

# Table 2: expansion, channels, units of each stage, strides of its first unit.
STAGES = (
  (1, 16, 1, 1),
  (EXPANSION, 24, 2, 2),
  (EXPANSION, 32, 3, 2),
  (EXPANSION, 64, 4, 2),
  (EXPANSION, 96, 3, 1),
  (EXPANSION, 160, 3, 2),
  (EXPANSION, 320, 1, 1),
)

VARIANTS = ('paper', 'imgclsmob')
CHOICES = {'padding': ('same', 'symmetric')}

_MULTIPLE = 8  # divides the channels of all layers, at any width


class Model(nn.Module):
  """A convolution, inverted residual units, a 1x1, average, logits.

  A unit widens its input with a 1x1, applies a depthwise 3x3, and narrows it
  with a 1x1 that is normalized but not activated, the linear bottleneck. It
  adds its input to the result if the shapes are equal.

  `layers.width` works as in slim, Keras and torchvision: channels are rounded
  to a multiple of 8, upward if rounding to the nearest would lose more than a
  tenth. The last 1x1 has 1280 channels at any width below 1. Their `min_width`
  is 8.

  Attributes:
    num_classes: K, the width of the logits.
    layers: options that all layers share; own: ReLU6, and slim's truncated
      Gaussian of 0.09 (the paper specifies no initial kernels).
    variant: 'paper', or 'imgclsmob', as in osmr/imgclsmob: the first unit, too,
      begins with a 1x1, which does not widen, and logits have no bias.
    stem: 'paper', or 'small': the first two strides of 2 are 1.
    blocks: units of each stage, instead of those in `STAGES`; fewer numbers
      leave out the last stages.
    expansion: output channels of a unit's first 1x1, over its input channels,
      in all stages but the first, which has none; the paper's 6. With 1 no unit
      begins with a 1x1.
    linear_projection: whether a unit's last 1x1 has no activation. The paper
      argues that one would destroy information (section 3.2, Figure 6).
    padding: padding of windows with a stride of 2: 'same', as in slim and
      Keras, only below and right of maps of even size; or 'symmetric', as in
      torchvision, one pixel on each side.
    dropout_rate: before the logits. As in slim and torchvision; Keras has none,
      and the paper does not mention it.
  """

  num_classes: int
  layers: Layers
  variant: str = 'paper'
  stem: str = 'paper'
  blocks: Sequence[int] = ()
  expansion: int = EXPANSION
  linear_projection: bool = True
  padding: str = 'same'
  dropout_rate: float = 0.2

  @nn.compact
  def __call__(
    self, x_NHWC: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits (N, K), and taps: each layer's pre-activation."""
    init = nn.initializers.truncated_normal(0.09)
    call = NetworkCall(
      self, x_NHWC, train=train, mask=mask, activation='relu6', init=init
    )
    small, paper = self.stem == 'small', self.variant == 'paper'
    padding = 'SAME' if self.padding == 'same' else 1

    features = _rounded(32, self.layers)
    strides = 1 if small else 2
    stem = Conv(features, 3, strides, padding, exact=True, name='stem')
    x = stem(call.images_NHWC, call)
    for name, row, strided in units(STAGES, self.blocks, small=small):
      expansion, features, _, strides = row
      expansion = self.expansion if expansion > 1 else 1
      unit = _Unit(
        _rounded(features, self.layers),
        strides if strided else 1,
        padding,
        expansion,
        has_expand=expansion > 1 or not paper,
        linear=self.linear_projection,
        name=name,
      )
      x = call.block(unit, x)
    features = 1280 if self.layers.width < 1 else _rounded(1280, self.layers)
    x = Conv(features, exact=True, name='head')(x, call)
    logits = Logits(
      self.num_classes, self.dropout_rate, use_bias=paper, name='logits'
    )
    return logits(x.mean((1, 2)), call), call.taps


def _rounded(own, layers):
  """Returns the channels of a layer that was published with `own`."""
  wide = own * layers.width
  features = _MULTIPLE * max(1, int(wide / _MULTIPLE + 0.5))
  if features < 0.9 * wide:
    features += _MULTIPLE
  return max(features, min(layers.min_width, own))


class _Unit(nn.Module):
  """An inverted residual."""

  features: int
  strides: int
  padding: str | int
  expansion: int
  has_expand: bool
  linear: bool

  @nn.compact
  def __call__(self, x_NHWC, call):
    C, x = x_NHWC.shape[-1], x_NHWC
    if self.has_expand:
      x = Conv(self.expansion * C, exact=True, name='expand')(x, call)
    strides, padding = self.strides, self.padding
    depthwise = Conv(1, 3, strides, padding, depthwise=True, name='depthwise')
    x = depthwise(x, call)
    project = Conv(
      self.features, exact=True, activated=not self.linear, name='project'
    )
    x = project(x, call)
    return x + x_NHWC if x.shape == x_NHWC.shape else x
