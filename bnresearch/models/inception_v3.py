"""Inception V3. Szegedy et al. 2015, 1512.00567."""

from collections.abc import Sequence

import flax.linen as nn
import jax

from bnresearch.models._inception import (
  STEM,
  STEM_END_POINTS,
  STEM_POOLINGS,
  apply,
  counts,
  modules,
)
from bnresearch.models._layer_options import OWN, Layers
from bnresearch.models._layers import LAST_POOLINGS
from bnresearch.models._network_call import NetworkCall
from bnresearch.models._rows import Branches, Step, parse, unstrided

# For images of 299 pixels; slim's, Keras's and PyTorch's rows.
_ON_35X35 = tuple(
  '1x1 64 | 1x1 48, 5x5 64 | 1x1 64, 3x3 96, 3x3 96 | '
  f'avg 3x3, 1x1 {projection}'
  for projection in (32, 64, 64)
)
_TO_17X17 = '3x3/2 V 384 | 1x1 64, 3x3 96, 3x3/2 V 96 | max 3x3/2 V'
_ON_17X17 = tuple(
  f'1x1 192 | 1x1 {k}, 1x7 {k}, 7x1 192 | '
  f'1x1 {k}, 7x1 {k}, 1x7 {k}, 7x1 {k}, 1x7 192 | avg 3x3, 1x1 192'
  for k in (128, 160, 160, 192)
)
_TO_8X8 = (
  '1x1 192, 3x3/2 V 320 | 1x1 192, 1x7 192, 7x1 192, 3x3/2 V 192 | max 3x3/2 V'
)
_ON_8X8 = (
  '1x1 320 | 1x1 384, (1x3 384 | 3x1 384) | '
  '1x1 448, 3x3 384, (1x3 384 | 3x1 384) | avg 3x3, 1x1 192',
)

_KERNELS = nn.initializers.truncated_normal(0.1)

END_POINTS, POOLINGS = STEM_END_POINTS, STEM_POOLINGS
CHOICES = {'last_pooling': LAST_POOLINGS}


class Model(nn.Module):
  """Stem, three kinds of modules, average over positions, logits.

  The modules work on maps of 35x35, 17x17 and 8x8 for images of 299 pixels;
  modules of stride 2 lie between. All have slim's names, such as 'mixed_5b'.

  Attributes:
    num_classes: K, the width of the logits.
    layers: options that all layers share; own: ReLU, and a truncated normal
      with deviation 0.1, as in early slim and PyTorch.
    blocks: number of modules of each kind; additional ones repeat the last.
    asymmetric: whether convolutions are factorized into 1xn and nx1. If not, a
      consecutive pair becomes one nxn of the last one's width, and a parallel
      pair one 3x3 of their total width.
    stem: 'paper', which divides the size by 8, or 'small', the same
      convolutions without strides and pooling.
    auxiliary_heads: whether there is one, after the last 17x17 module.
    last_pooling: what comes before the logits: 'average', the mean over all
      positions, which is the network's own; or 'none', a dense layer on all
      positions, whose kernel depends on the size of the images.
    dropout_rate: before the logits. The default is slim's; PyTorch has 0.5.
  """

  num_classes: int
  layers: Layers
  blocks: Sequence[int] = (3, 4, 2)
  asymmetric: bool = True
  stem: str = 'paper'
  auxiliary_heads: bool = False
  last_pooling: str = OWN
  dropout_rate: float = 0.2

  @nn.compact
  def __call__(
    self, x_NHWC: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits (N, K), and taps: each layer's pre-activation."""
    call = NetworkCall(self, x_NHWC, train=train, mask=mask, init=_KERNELS)
    return apply(self, rows(self), call)


def rows(model: Model) -> dict[str, Branches]:
  """Returns the rows of a network by name, bottom to top.

  Raises:
    ValueError: see `_inception.counts` and `modules`.
  """
  of_35, of_17, of_8 = counts(model.blocks)
  table = {
    'stem': unstrided(STEM) if model.stem == 'small' else STEM,
    **modules(5, _ON_35X35, of_35),
    'mixed_6a': _TO_17X17,
    **modules(6, _ON_17X17, of_17),
    'mixed_7a': _TO_8X8,
    **modules(7, _ON_8X8, of_8),
  }
  change = parse if model.asymmetric else _symmetric
  return {name: change(row) for name, row in table.items()}


def _symmetric(row):
  """Returns a row with each pair of 1xn and nx1 made one nxn, see `Model`."""

  def square(step, features):
    return step._replace(window=(max(step.window),) * 2, features=features)

  def change(branch):
    steps = []
    for step in branch:
      last = steps[-1] if steps else None
      if not isinstance(step, Step):  # the parallel pair
        ((one,), (other,)) = step
        steps.append(square(one, one.features + other.features))
      elif isinstance(last, Step) and _turned(last, step):
        steps[-1] = square(step, step.features)
      else:
        steps.append(step)
    return tuple(steps)

  return tuple(map(change, parse(row)))


def _turned(one, other):
  """Returns whether two windows are 1xn and nx1."""
  return one.window == other.window[::-1] != other.window
