"""AlexNet. Krizhevsky et al. 2012, NIPS; Krizhevsky 2014, 1404.5997."""

from typing import NamedTuple

import flax.linen as nn
import jax

from bnresearch.models import _local_response
from bnresearch.models._connected import connect
from bnresearch.models._layer_options import Layers
from bnresearch.models._layers import Conv, Logits, pool
from bnresearch.models._network_call import NetworkCall

WINDOWS = (11, 5, 3, 3, 3)  # of the convolutions, pooled after 1, 2 and 5
HIDDEN = (4096, 4096)


class Variant(NamedTuple):
  """What the publications of AlexNet differ in.

  Attributes:
    features: of the five convolutions.
    groups: of channels, in each convolution.
    padding: of the first convolution.
    lrn: whether responses are normalized after the first two.
    head: of the hidden layers, see `Model`.
    drops_inputs: whether dropout is of what the hidden layers take in, or of
      what they give.
    init: of the convolutions, and of all without `dense_init`.
    dense_init: of the hidden layers and the logits.
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

  Normalizers stand in the convolutions; the two hidden layers, of 4096 units,
  have none, as in the published VGG with BN.

  Differs from the papers: all biases begin at 0, where 2012 has some of 1 and
  slim of 0.1. The first convolution of 2012 has two pixels of padding, so that
  images of 224 pixels make a map of 55, as printed.

  Attributes:
    num_classes: K, the width of the logits.
    layers: what all layers have in common; own: ReLU, and kernels of the
      variant: Gaussian, deviation 0.01, for 2012; Xavier, and deviation 0.005
      where dense, for slim; else Kaiming.
    variant: one of `VARIANTS`: 'one_weird_trick', that of torchvision; '2012';
      '2012_groups', whose channels are in two groups, one for each GPU then;
      'slim_v2', that of TF-Slim.
    stem: 'paper', 11x11/4, or 'small', 3x3, with pooling that halves 8 pixels
      to 1. For the latter nothing is published.
    head: of the hidden layers: 'dense', or 'conv', fully convolutional, the
      same for larger images too. None for the variant's: slim's is 'conv'.
    lrn: local response normalization, after the activation of the first two
      convolutions. None for the variant's: those of 2012 have it.
    dropout_rate: of what both hidden layers take in for 'one_weird_trick', of
      what they give for the others.
  """

  num_classes: int
  layers: Layers
  variant: str = 'one_weird_trick'
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
    table = zip(own.features, WINDOWS, own.groups, strict=True)
    for n, (features, window, groups) in enumerate(table, start=1):
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
      if n in (1, 2, 5):
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


def _check_groups(x_NHWC, groups, name):
  C = x_NHWC.shape[-1]
  if C % groups:
    raise ValueError(
      f'{name} has {groups} groups and meets {C} channels: take another width, '
      "or variant = '2012', without groups."
    )
