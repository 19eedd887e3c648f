"""What Inception V3 and later share. Szegedy et al. 2015, 1512.00567.

They have three kinds of modules, on maps of 35x35, 17x17 and 8x8 for images of
299 pixels, and an auxiliary head after the last module of the second kind.
"""

import string
from collections.abc import Mapping, Sequence

import flax.linen as nn
import jax

from bnresearch.models._layers import Conv, Logits, before_logits, pool
from bnresearch.models._network_call import NetworkCall
from bnresearch.models._rows import Branches, Row

# The stem of V3 and Inception-ResNet-v2 in slim, Keras and PyTorch.
STEM = (
  '3x3/2 V 32, 3x3 V 32, 3x3 64, max 3x3/2 V, 1x1 80, 3x3 V 192, max 3x3/2 V'
)
# TF-Slim's names of it, see `end_points`.
STEM_END_POINTS = {
  'stem/conv_1': 'Conv2d_1a_3x3',
  'stem/conv_2': 'Conv2d_2a_3x3',
  'stem/conv_3': 'Conv2d_2b_3x3',
  'stem/conv_5': 'Conv2d_3b_1x1',
  'stem/conv_6': 'Conv2d_4a_3x3',
  'stem': 'MaxPool_5a_3x3',
}
STEM_POOLINGS = {'stem/conv_5': 'MaxPool_3a_3x3'}
# Initializers of the auxiliary head, as in slim and PyTorch.
_CONV = nn.initializers.truncated_normal(0.01)
_LOGITS = nn.initializers.truncated_normal(0.001)


def counts(blocks: Sequence[int]) -> tuple[int, int, int]:
  """Returns `blocks`, the number of modules of each kind.

  Raises:
    ValueError: `blocks` is not three numbers.
  """
  if len(blocks) != 3:
    raise ValueError(
      f'blocks = {tuple(blocks)}: needs three numbers, of what there is on '
      'maps of 35x35, of 17x17, and of 8x8.'
    )
  first, second, third = blocks
  return first, second, third


def modules(group: int, table: Sequence[str], count: int) -> dict[str, str]:
  """Returns {'mixed_5b': row, 'mixed_5c': row, ...} for group 5.

  Modules past the end of the table repeat its last row.

  Raises:
    ValueError: `count` exceeds the letters for names.
  """
  letters = string.ascii_lowercase[1:]
  if count > len(letters):
    raise ValueError(
      f'blocks: {count} modules of one kind are more than the letters of their '
      f'names. Take {len(letters)} or fewer.'
    )
  return {
    f'mixed_{group}{letter}': table[min(n, len(table) - 1)]
    for n, letter in enumerate(letters[:count])
  }


def apply(
  model: nn.Module, table: Mapping[str, str | Branches], call: NetworkCall
) -> tuple[jax.Array, dict[str, jax.Array]]:
  """Returns logits (N, K) of a table of rows, and the taps.

  An auxiliary head adds a tap.

  Args:
    model: the network whose `__call__` this is part of; its fields set the
      auxiliary head and the dropout before the logits.
    table: its rows by name, bottom to top.
    call: the call of the network.
  """
  x = call.images_NHWC
  for name, row in table.items():
    if name == 'mixed_7a' and model.auxiliary_heads:
      head = AuxiliaryHead(model.num_classes, name='auxiliary_1')
      if call.ends_with(head, x):
        return call.end()
    x = call.block(Row(row, name=name), x)
  logits = Logits(model.num_classes, model.dropout_rate, name='logits')
  return logits(before_logits(x, model.last_pooling), call), call.taps


class AuxiliaryHead(nn.Module):
  """Pooling, two convolutions and logits.

  Published for 17x17 maps, which become 5x5 and then 1x1. On smaller maps the
  windows shrink to the map, so the second kernel's shape depends on the image
  size; on larger maps the result is averaged over positions.

  Attributes:
    num_classes: K.
  """

  num_classes: int

  @nn.compact
  def __call__(self, x_NHWC: jax.Array, call: NetworkCall) -> jax.Array:
    """Returns logits (N, K) of a map."""
    x = pool('avg', x_NHWC, _at_most_5x5(x_NHWC), 3, 'VALID', call)
    x = Conv(128, name='conv_1')(x, call)
    x = Conv(
      768, _at_most_5x5(x), padding='VALID', kernel_init=_CONV, name='conv_2'
    )(x, call)
    logits = Logits(self.num_classes, kernel_init=_LOGITS, name='logits')
    # The loss takes (N, K), even if the network's own logits keep positions.
    return logits(x.mean((1, 2)), call).reshape(-1, self.num_classes)


def _at_most_5x5(x_NHWC):
  _, H, W, _ = x_NHWC.shape
  return min(5, H), min(5, W)
