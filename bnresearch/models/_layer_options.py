"""Options that all layers of a network share, whatever the architecture.

A network is `Model(num_classes, layers, ...)`: `Layers` has the same fields in
all networks; the other options are the architecture's own.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn

from bnresearch.models import (
  _activations,
  _initializers,
  _remat,
  _standardized,
)

OWN = 'own'  # as published for the architecture


@dataclasses.dataclass(frozen=True)
class Layers:
  """Options that all layers of a network share.

  Attributes:
    norm: maps a layer's path, such as 'mixed_5b/branch_1/conv_1', to its
      normalizer: a class of `bnresearch.norms` or a partial of one. Example:
      `lambda path: functools.partial(batch.Norm, momentum=0.9)`.
    activation: a name in `_activations.py`, or 'own', the architecture's.
    norm_position: 'before' the activation, as in the paper, or 'after' it.
    keep_bias: whether a layer keeps a bias that a normalizer cancels. The paper
      omits it (section 3.2).
    weight_standardization: how to standardize all kernels but the logits':
      'none', 'standard' or 'scaled', see `_standardized.py`.
    initializer: the kernels' initializer, a name in `_initializers.py` or
      'own'.
    init_std: the deviation of the initializers 'normal' and 'truncated_normal'.
    init_sites: other initializers by path, as 'stem*=truncated_normal:0.1', see
      `_initializers.Site`; the last that fits a layer counts.
    init_gain: multiplies the initial kernels of convolutions.
    width: multiplies the channels of every layer but the logits (Howard et al.
      2017, 1704.04861; slim's `depth_multiplier`).
    min_width: `width` makes no layer narrower than this. Slim's 16.
    count_padding: whether average pooling counts padding as pixels of 0, as
      Caffe and PyTorch do; TensorFlow and Keras do not.
    input_format: 'NHWC', or 'NCHW', which is converted.
    squeeze: whether logits are (N, K). If not, they are (N, h, w, K), a map
      if the network is applied at more than one position.
    input_dropout_rate: fraction of the input's values that training zeroes, of
      each channel on its own; Srivastava et al. 2014 took 0.2 on MNIST.
    dtype: the dtype of computation and taps; None for that of images and
      parameters. Parameters, statistics and logits keep at least float32.
    up_to_head: the auxiliary head that the network ends with, from 1, bottom to
      top: only the layers below it and the head itself are applied, and the
      network's logits are the head's. 0 applies everything; see
      `models.up_to_head`.
    remat: what to keep for the backward pass, see `_remat.py`: 'none' keeps
      everything and recomputes nothing.
  """

  norm: Callable[[str], Callable[..., nn.Module]]
  activation: str = OWN
  norm_position: str = 'before'
  keep_bias: bool = False
  weight_standardization: str = 'none'
  initializer: str = OWN
  init_std: float = 0.1
  init_sites: Sequence[str] = ()
  init_gain: float = 1.0
  width: float = 1.0
  min_width: int = 16
  count_padding: bool = False
  input_format: str = 'NHWC'
  squeeze: bool = True
  input_dropout_rate: float = 0.0
  dtype: Any = None
  up_to_head: int = 0
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
    for text in self.init_sites:
      _initializers.site(text)
