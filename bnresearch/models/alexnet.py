"""AlexNet. Krizhevsky et al. 2012, NIPS; Krizhevsky 2014, 1404.5997."""

from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax

from bnresearch.models import _local_response
from bnresearch.models._connected import connect
from bnresearch.models._layer_options import Layers
from bnresearch.models._layers import Conv, Logits, pool
from bnresearch.models._network_call import NetworkCall

WINDOWS = (11, 5, 3, 3, 3)  # of the convolutions
BLOCKS = (1, 1, 3)  # convolutions before each pooling
HIDDEN = (4096, 4096)


class Variant(NamedTuple):
  """How published versions of AlexNet differ.

  Attributes:
    features: channels of the five convolutions.
    groups: channel groups of each convolution.
    padding: padding of the first convolution.
    lrn: whether local response normalization follows the first two.
    head: kind of the hidden layers, see `Model`.
    drops_inputs: whether dropout applies to the hidden layers' inputs rather
      than their outputs.
    init: kernel initializer of the convolutions, and of all layers without
      `dense_init`.
    dense_init: kernel initializer of the hidden layers and the logits.
  """

  features: tuple[int, ...]
  groups: tuple[int, ...] = (1, 1, 1, 1, 1)
  padding: str | int = 2
  lrn: bool = False
  head: str = 'dense'
  drops_inputs: bool = False
  init: nn.initializers.Initializer = nn.initializers.he_normal()
  dense_init: nn.initializers.Initializer | None = None


_2012 = Variant(
  (96, 256, 384, 384, 256), lrn=True, init=nn.initializers.normal(0.01)
)
VARIANTS = {
  'one_weird_trick': Variant((64, 192, 384, 256, 256), drops_inputs=True),
  '2012': _2012,
  '2012_groups': _2012._replace(groups=(1, 2, 1, 2, 2)),
  'slim_v2': Variant(
    (64, 192, 384, 384, 256),
    padding='VALID',
    head='conv',
    init=nn.initializers.glorot_uniform(),
    dense_init=nn.initializers.truncated_normal(0.005),
  ),
}

CHOICES = {'head': ('dense', 'conv')}


class Model(nn.Module):
  """Five convolutions, overlapping pooling, two hidden layers, logits.

  The convolutions have normalizers; the two hidden layers of 4096 units have
  none, as in the published VGG with BN.

  Differs from the papers: all biases begin at 0, where 2012 begins some at 1
  and slim some at 0.1. The first convolution of 2012 pads by two pixels, so
  that images of 224 pixels make a map of 55, as printed.

  Attributes:
    num_classes: K, the width of the logits.
    layers: options that all layers share; own: ReLU, and the variant's
      kernels: Gaussian, deviation 0.01, for 2012; Xavier, and deviation 0.005
      in dense layers, for slim; else Kaiming.
    variant: one of `VARIANTS`: 'one_weird_trick', as in torchvision; '2012';
      '2012_groups', with channels in two groups, one for each of its GPUs;
      'slim_v2', as in TF-Slim.
    blocks: number of convolutions before each of the three poolings; the last
      ones before the third may be left out. (1, 1, 1) pools after each, as
      LeNet does.
    stem: 'paper', 11x11/4, or 'small', 3x3, with pooling that takes 8 pixels
      down to 1. The latter is not published.
    head: kind of the hidden layers: 'dense', or 'conv', fully convolutional,
      which also takes larger images. None for the variant's: slim's is 'conv'.
    lrn: local response normalization, after the activation of the first two
      convolutions. None for the variant's: those of 2012 have it.
    dropout_rate: dropout on the inputs of both hidden layers for
      'one_weird_trick', on their outputs for the other variants.
  """

  num_classes: int
  layers: Layers
  variant: str = 'one_weird_trick'
  blocks: Sequence[int] = BLOCKS
  stem: str = 'paper'
  head: str | None = None
  lrn: bool | None = None
  dropout_rate: float = 0.5

  @nn.compact
  def __call__(
    self, x_NHWC: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits (N, K), and taps: each layer's pre-activation."""
    call = NetworkCall(self, x_NHWC, train=train, mask=mask)
    own = VARIANTS[self.variant]
    lrn = own.lrn if self.lrn is None else self.lrn
    small, x = self.stem == 'small', call.images_NHWC
    table = [*zip(own.features, WINDOWS, own.groups, strict=True)]
    last = _count(self.blocks)
    for n, (features, window, groups) in enumerate(table[:last], start=1):
      strides, padding = 1, 'SAME'
      if n == 1 and small:
        window = 3
      elif n == 1:
        strides, padding = 4, own.padding
      name, shape = f'conv_{n}', (window, strides, padding, groups)
      _check_groups(x, groups, name)
      x = call.block(Conv(features, *shape, kernel_init=own.init, name=name), x)
      if lrn and n in (1, 2):
        x = _local_response.normalize(x)
      if n in (1, 2, last):
        x = pool('max', x, 3, 2, 1 if small else 'VALID', call)

    init = own.dense_init or own.init
    options = {'normalized': False, 'kernel_init': init}
    head = self.head or own.head
    for n, features in enumerate(HIDDEN, start=1):
      if own.drops_inputs:
        x = call.dropout(x, self.dropout_rate)
      x = connect(self, f'hidden_{n}', features, x, call, head=head, **options)
      if not own.drops_inputs:
        x = call.dropout(x, self.dropout_rate)
    logits = Logits(self.num_classes, kernel_init=init, name='logits')
    return logits(x, call), call.taps


def _count(blocks):
  """Returns the number of convolutions."""
  if tuple(blocks) not in ((1, 1, 1), (1, 1, 2), BLOCKS):
    raise ValueError(
      f'blocks = {tuple(blocks)}: needs (1, 1, n), n convolutions of 1 to '
      f'{BLOCKS[-1]} before the third pooling.'
    )
  return sum(blocks)


def _check_groups(x_NHWC, groups, name):
  C = x_NHWC.shape[-1]
  if C % groups:
    raise ValueError(
      f'{name} has {groups} groups and meets {C} channels: take another width, '
      "or variant = '2012', without groups."
    )
