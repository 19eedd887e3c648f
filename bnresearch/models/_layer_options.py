"""What all layers of a network have in common, whatever the architecture.

A network is `Model(num_classes, layers, ...)`: `Layers` is the same for all
networks; the rest is the architecture's own.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import flax.linen as nn

from bnresearch.models import (
  _activations,
  _initializers,
  _remat,
  _standardized,
)

OWN = 'own'  # what the architecture has in its publication


@dataclasses.dataclass(frozen=True)
class Layers:
  """What all layers of a network have in common.

  Attributes:
    norm: from a layer's path, such as 'mixed_5b/branch_1/conv_1', to its
      normalizer: a class of `bnresearch.norms` or a partial of one. So
      `lambda path: functools.partial(batch.Norm, momentum=0.9)`.
    activation: a name in `_activations.py`, or 'own', the architecture's.
    norm_position: 'before' the activation, the paper's, or 'after' it.
    keep_bias: whether a layer keeps its bias where a normalizer cancels it.
      The paper leaves it out (section 3.2).
    weight_standardization: 'none', or how kernels are standardized, 'standard'
      or 'scaled', see `_standardized.py`. Not those of the logits.
    initializer: of the kernels, a name in `_initializers.py`, or 'own'.
    init_std: of the initializers 'normal' and 'truncated_normal'.
    init_gain: multiplies the initial kernels of convolutions.
    width: multiplies the channels of every layer but the logits (Howard et al.
      2017, 1704.04861; slim's `depth_multiplier`).
    min_width: no layer gets narrower than this by `width`. Slim's 16.
    count_padding: whether average pooling counts padding as pixels, which are
      0, as Caffe and PyTorch do; TensorFlow and Keras do not.
    input_format: 'NHWC', or 'NCHW', which is converted.
    squeeze: whether logits are (N, K). If not, they are (N, h, w, K), a map
      where the network is applied to more than one position.
    dtype: in which layers compute, and of the taps; None for that of images
      and parameters. Parameters, statistics and logits keep at least float32.
    remat: what is kept for the way back, see `_remat.py`: 'none' makes nothing
      again and keeps all.
  """

  norm: Callable[[str], Callable[..., nn.Module]]
  activation: str = OWN
  norm_position: str = 'before'
  keep_bias: bool = False
  weight_standardization: str = 'none'
  initializer: str = OWN
  init_std: float = 0.1
  init_gain: float = 1.0
  width: float = 1.0
  min_width: int = 16
  count_padding: bool = False
  input_format: str = 'NHWC'
  squeeze: bool = True
  dtype: Any = None
  remat: str = 'none'

  def __post_init__(self):
    for name, allowed in (
      ('activation', (OWN, *_activations.NAMES)),
      ('norm_position', ('before', 'after')),
      ('weight_standardization', _standardized.KINDS),
      ('initializer', (OWN, *_initializers.NAMES)),
      ('input_format', ('NHWC', 'NCHW')),
      ('remat', _remat.KINDS),
    ):
      value = getattr(self, name)
      if value not in allowed:
        known = ', '.join(allowed)
        raise ValueError(f'{name} = {value!r}: needs one of {known}.')
