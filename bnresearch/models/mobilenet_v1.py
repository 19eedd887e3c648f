"""MobileNet. Howard et al. 2017, 1704.04861."""

from collections.abc import Iterator, Sequence

import flax.linen as nn
import jax

from bnresearch.models._layer_options import Layers
from bnresearch.models._layers import Conv, Logits
from bnresearch.models._network_call import NetworkCall

# Table 1: channels, strides of the first unit, units of each stage.
STAGES = (
  (64, 1, 1),
  (128, 2, 2),
  (256, 2, 2),
  (512, 2, 6),
  (1024, 2, 2),
)


class Model(nn.Module):
  """A convolution, units of a depthwise and a 1x1 each, average, logits.

  The depthwise 3x3 mixes positions and the 1x1 mixes channels; each has its own
  normalizer and activation. Together they cost about an eighth of a 3x3 that
  does both.

  Attributes:
    num_classes: K, the width of the logits.
    layers: options that all layers share; own: ReLU, the paper's (slim and
      Keras have ReLU6), and slim's truncated Gaussian of 0.09 (the paper
      specifies no initial kernels). Slim's `min_width` is 8, Keras has none.
    stem: 'paper', or 'small': the first two strides of 2 are 1.
    blocks: units of each stage, instead of those in `STAGES`; fewer numbers
      leave out the last stages.
    dropout_rate: before the logits. As in slim and Keras.
  """

  num_classes: int
  layers: Layers
  stem: str = 'paper'
  blocks: Sequence[int] = ()
  dropout_rate: float = 0.001

  @nn.compact
  def __call__(
    self, x_NHWC: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits (N, K), and taps: each layer's pre-activation."""
    init = nn.initializers.truncated_normal(0.09)
    call = NetworkCall(self, x_NHWC, train=train, mask=mask, init=init)
    small = self.stem == 'small'

    stem = Conv(32, 3, 1 if small else 2, name='stem')
    x = stem(call.images_NHWC, call)
    table = units(STAGES, self.blocks, small=small)
    for name, (features, strides, _), strided in table:
      unit = _Separable(features, strides if strided else 1, name=name)
      x = call.block(unit, x)
    logits = Logits(self.num_classes, self.dropout_rate, name='logits')
    return logits(x.mean((1, 2)), call), call.taps


def units(
  stages: Sequence[tuple], blocks: Sequence[int], *, small: bool = False
) -> Iterator[tuple[str, tuple, bool]]:
  """Yields each unit's name, its row of a table, and whether it has strides.

  The first unit of a stage has the row's strides, except in the second stage of
  a network with a `small` stem.

  Args:
    stages: a table whose third column is the number of units.
    blocks: the number of units of each stage instead; () for the published.
    small: see above.

  Raises:
    ValueError: there are more `blocks` than `stages`.
  """
  if len(blocks) > len(stages):
    raise ValueError(
      f'blocks = {tuple(blocks)}: needs at most {len(stages)} numbers, one for '
      'each stage.'
    )
  counts = blocks or [row[2] for row in stages]
  for stage, (row, count) in enumerate(zip(stages, counts), start=1):
    for block in range(1, count + 1):
      strided = block == 1 and not (small and stage == 2)
      yield f'stage_{stage}_block_{block}', row, strided


class _Separable(nn.Module):
  """A depthwise 3x3 and a 1x1."""

  features: int
  strides: int

  @nn.compact
  def __call__(self, x_NHWC, call):
    depthwise = Conv(1, 3, self.strides, depthwise=True, name='depthwise')
    pointwise = Conv(self.features, name='pointwise')
    return pointwise(depthwise(x_NHWC, call), call)
