"""Networks: one architecture per file, each a `class Model(nn.Module)`.

`Model(num_classes, layers, ...)(x, *, train, mask=None)` takes float images in
NHWC and returns `(logits_NK, taps)`. `mask` (N,) says which examples enter the
batch statistics, and goes to every normalizer. `taps` maps a layer's path to
its pre-activation: the array that enters the nonlinearity, or the normalizer
that contains it. Probes need no hooks, and the compiler removes the taps that
nobody reads. The taps include the logits of auxiliary heads, bottom to top,
under names that begin with `AUXILIARY`. `end_points` gives the outputs of the
modules instead, by TF-Slim's names; what a file calls differently is in its
`END_POINTS`, {path: name}, and `POOLINGS`, of what lies below a path.

`layers`, a `Layers`, holds what all layers of a network share: normalizer,
activation, initializer and so on. The other fields are the architecture's own.
All fields have the names of `config.model` and default to the published
values. A file's `VARIANTS` lists the values of its field `variant`; `CHOICES`
lists those of other fields that allow only some values.

A network without convolutions sets `convolves = False`, because it shares the
cores of a CPU differently.

`python -m bnresearch.models` prints all networks, or the layers of one.
"""

import dataclasses

import flax.linen as nn

from bnresearch import lazy
from bnresearch.models._cost import measure
from bnresearch.models._end_points import end_points
from bnresearch.models._layer_options import Layers
from bnresearch.models._network_call import AUXILIARY
from bnresearch.models._normalizers import normalizers
from bnresearch.models._order import Order, change, offset, order, replace
from bnresearch.models._size import TooSmall, shapes, smallest_size

__all__ = [
  'AUXILIARY',
  'Layers',
  'Order',
  'TooSmall',
  'change',
  'convolves',
  'end_points',
  'measure',
  'normalizers',
  'offset',
  'order',
  'replace',
  'shapes',
  'smallest_size',
  'up_to_head',
]
__getattr__ = lazy.files(__name__, __path__)


def convolves(model: nn.Module | type[nn.Module]) -> bool:
  """Returns whether a network has convolutions."""
  return getattr(model, 'convolves', True)


def up_to_head(model: nn.Module, head: int) -> nn.Module:
  """Returns a network cut above one of its heads, without the other heads.

  It takes the variables of `model` and ignores those above the cut. Its logits
  (N, K) are the head's.

  Args:
    model: a network with auxiliary heads.
    head: from 1, bottom to top; 0 for the network's own logits.

  Raises:
    ValueError: once it is applied, if there is no such head.
  """
  if not head:
    return model.clone(auxiliary_heads=False)
  return model.clone(layers=dataclasses.replace(model.layers, up_to_head=head))
