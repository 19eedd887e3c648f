"""Networks: one architecture per file, each a `class Model(nn.Module)`.

`Model(num_classes, layers, ...)(x, *, train, mask=None)` takes images NHWC,
float, and returns `(logits_NK, taps)`. `mask` (N,) says which examples enter
the statistics of the batch, and goes to every normalizer. `taps` holds every
pre-activation by the layer's path, the array that enters the nonlinearity (or
the normalizer that contains it): probes need no hooks, and what nobody reads
the compiler removes. Among the taps are the logits of auxiliary heads, from
the bottom to the top, under names that begin with `AUXILIARY`.

`layers`, a `Layers`, is what all layers of a network have in common: their
normalizer, activation, initializer and so on. The other fields are the
architecture's own. All bear the names of `config.model`, and have by default
what was published. `VARIANTS` of a file are what its field `variant` may be,
`CHOICES` what others may be that are words.

A network without convolutions says so, `convolves = False`, because on a CPU it
shares the cores in another way.

`python -m bnresearch.models` prints the networks, and the layers of one.
"""

import flax.linen as nn

from bnresearch import lazy
from bnresearch.models._cost import measure
from bnresearch.models._layer_options import Layers
from bnresearch.models._network_call import AUXILIARY
from bnresearch.models._normalizers import normalizers
from bnresearch.models._size import TooSmall, shapes, smallest_size

__all__ = [
  'AUXILIARY',
  'Layers',
  'TooSmall',
  'convolves',
  'measure',
  'normalizers',
  'shapes',
  'smallest_size',
]
__getattr__ = lazy.files(__name__, __path__)


def convolves(model: nn.Module | type[nn.Module]) -> bool:
  """Returns whether a network has convolutions."""
  return getattr(model, 'convolves', True)
