"""The fully connected network of Figure 1. Ioffe & Szegedy 2015, 1502.03167.

Section 4.1: three hidden layers of 100 sigmoid units, ten classes, weights
"initialized to small random Gaussian values"; a normalizer, if any, comes
between each hidden layer's linear map and its sigmoid, `z = g(BN(Wu))`.
"""

from collections.abc import Sequence
from typing import ClassVar

import flax.linen as nn
import jax

from bnresearch.models._layer_options import Layers
from bnresearch.models._layers import Dense, Logits
from bnresearch.models._network_call import NetworkCall


class Model(nn.Module):
  """Linear, norm, activation; repeated; then a linear map to the logits.

  With 784 inputs and 10 classes it has 99,710 parameters without a normalizer
  and 100,010 with BN. BN's mean subtraction cancels the biases of the hidden
  layers, so these are left out.

  Attributes:
    num_classes: K, the width of the logits.
    layers: options that all layers share. Its `init_std` is the deviation of
      the initial Gaussian weights: the paper says "small", without a number.
    features: width of each hidden layer, bottom to top. The paper has three
      times 100.
    dropout_rate: dropout on each hidden layer's output. The paper has none.
    residual: whether a hidden layer as wide as the one below adds its input to
      its output (He et al. 2015, 1512.03385). Dropout is before the sum.
  """

  num_classes: int
  layers: Layers
  features: Sequence[int] = (100, 100, 100)
  dropout_rate: float = 0.0
  residual: bool = False

  convolves: ClassVar[bool] = False

  @nn.compact
  def __call__(
    self, x_NHWC: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits (N, K), and each hidden layer's pre-activation (N, C)."""
    init = nn.initializers.normal(self.layers.init_std)
    call = NetworkCall(
      self, x_NHWC, train=train, mask=mask, activation='sigmoid', init=init
    )
    x = call.images_NHWC
    for layer, width in enumerate(self.features, start=1):
      below = x
      x = call.block(Dense(width, name=f'hidden_{layer}'), below)
      x = call.dropout(x, self.dropout_rate)
      if self.residual and below.shape == x.shape:
        x += below
    return Logits(self.num_classes, name='logits')(x, call), call.taps
