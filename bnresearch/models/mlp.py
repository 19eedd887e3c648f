"""The fully connected network of Figure 1. Ioffe & Szegedy 2015, 1502.03167.

Section 4.1: three hidden layers of 100 sigmoid units, ten classes, weights
"initialized to small random Gaussian values"; a normalizer, if any, stands
between each hidden layer's linear map and its sigmoid, `z = g(BN(Wu))`.
"""

from collections.abc import Callable, Sequence

import flax.linen as nn
import jax

from bnresearch.models import _standardized


class Model(nn.Module):
  """Linear, norm, activation; repeated; then a linear map to the logits.

  With 784 inputs and 10 classes it has 99,710 parameters without a
  normalizer and 100,010 with BN, whose mean subtraction cancels a hidden
  layer's bias: the bias is left out there.

  Attributes:
    num_classes: K, the width of the logits.
    norm: factory of normalizers, `norm(name=...)(x, train=...)`.
    activation: what follows each hidden layer. The paper's is the sigmoid.
    features: width of each hidden layer, bottom to top. The paper's is three
      times 100.
    init_std: standard deviation of the initial weights. The paper says
      "small" and no number.
    norm_position: 'before' the activation, the paper's, or 'after' it.
    keep_bias: whether a hidden layer keeps its bias where the normalizer
      cancels it. The paper leaves it out (section 3.2).
    weight_standardization: 'none', or how the kernels of the hidden layers
      are standardized, 'standard' or 'scaled', see `_standardized.py`.
  """

  num_classes: int
  norm: Callable[..., nn.Module]
  activation: Callable[[jax.Array], jax.Array] = nn.sigmoid
  features: Sequence[int] = (100, 100, 100)
  init_std: float = 0.1
  norm_position: str = 'before'
  keep_bias: bool = False
  weight_standardization: str = 'none'

  @nn.compact
  def __call__(
    self, x_NHWC: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns logits (N, K), and each hidden layer's pre-activation (N, C)."""
    init = nn.initializers.normal(self.init_std)
    dense = _standardized.layer(nn.Dense, self.weight_standardization)
    taps = {}
    x_ND = x_NHWC.reshape(x_NHWC.shape[0], -1)
    for layer, width in enumerate(self.features, start=1):
      norm = self.norm(name=f'norm_{layer}')
      activation = (lambda x: x) if norm.activates else self.activation
      before = self.norm_position == 'before'
      wx_ND = dense(
        width,
        use_bias=self.keep_bias or not (before and norm.cancels_bias),
        kernel_init=init,
        name=f'hidden_{layer}',
      )(x_ND)
      x_ND = norm(wx_ND, train=train, mask=mask) if before else wx_ND
      # What enters the nonlinearity, or the norm that contains it.
      taps[f'hidden_{layer}'] = wx_ND if norm.activates else x_ND
      x_ND = activation(x_ND)
      if not before:
        x_ND = norm(x_ND, train=train, mask=mask)
    logits_NK = nn.Dense(self.num_classes, kernel_init=init, name='logits')(
      x_ND
    )
    return logits_NK, taps
