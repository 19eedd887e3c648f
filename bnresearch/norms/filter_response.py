"""Filter response normalization. Singh & Krishnan 2019, 1911.09737."""

import math
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.norms import _affine
from bnresearch.statistics import moments, shards


class Norm(nn.Module):
  """Divides each feature map by its root mean square, and thresholds it (TLU).

  `y = max(scale * x / sqrt(mean(x**2) + |epsilon|) + bias, tau)`

  The mean is over the positions of an example's feature map. Each channel has
  its own scale, bias and threshold `tau`, which is initially 0, a ReLU, and
  always learned. Training and evaluation are the same.

  With one position, the mean square is that of a single value: unless `x**2`
  is as small as epsilon, only the sign of `x` is left, and the gradient to `x`
  is nearly 0: a network stays at chance. For this case the paper learns epsilon
  (`learn_epsilon`), from 1e-4; without that, one position is refused.

  *Differs from the paper:* its learned epsilon starts at 1e-4, ours at the
  field `epsilon`.

  Attributes:
    epsilon: added to the mean square, in squared units of the input. 1e-6 is
      the paper's where it is not learned.
    learn_epsilon: whether epsilon is a parameter, `epsilon`, one for all
      channels, that starts at the field's value.
    frozen_affine: whether scale and bias get no gradient; tau does.
    use_scale: whether to learn `scale` (gamma).
    use_bias: whether to learn `bias` (beta), initially 0.
    initial_scale: of gamma. The paper's is 1.
    activates: if False, there is no threshold, for where a network is linear,
      as at the end of a residual branch.
  """

  epsilon: float = 1e-6
  learn_epsilon: bool = False
  frozen_affine: bool = False
  use_scale: bool = True
  use_bias: bool = True
  initial_scale: float = 1.0
  activates: bool = True

  needs_positions: ClassVar[bool] = True

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns `x` (N, ..., C) normalized and thresholded, in its dtype.

    Raises:
      ValueError: `x` has one position, and epsilon is not learned.
    """
    del train
    x = moments.finite(x, mask)
    N, *positions, C = x.shape
    if math.prod(positions) < 2 and not self.learn_epsilon:
      raise ValueError(
        "norm.name = 'filter_response' divides by the root mean square over "
        f'the positions of an example; of an input of shape {x.shape} '
        '(examples, positions, channels) it leaves the sign only. Normalize a '
        'larger feature map, set norm.learn_epsilon = True and norm.epsilon = '
        "1e-4, or use another norm.name, such as 'layer' or 'rms'."
      )
    scale_C, bias_C = _affine.parameters(self, (C,))
    epsilon = self.epsilon
    if self.learn_epsilon:
      initial = nn.initializers.constant(self.epsilon)
      epsilon = jnp.abs(self.param('epsilon', initial, ()))
    # Float32 to the end: the threshold is applied before the output is rounded.
    dtype = jnp.promote_types(x.dtype, jnp.float32)
    x_NSC = shards.reshaped(x, (N, math.prod(positions), C)).astype(dtype)
    if x_NSC.shape[1] == 1:
      y = _over_its_own_root(x_NSC, jnp.asarray(epsilon, dtype))
    else:
      mean_square = jnp.square(x_NSC).mean(1, keepdims=True)
      y = x_NSC * jax.lax.rsqrt(mean_square + epsilon)
    y = y * scale_C[None, None] + bias_C[None, None]
    if self.activates:
      tau_C = self.param('tau', nn.initializers.zeros, (C,))
      y = jnp.maximum(y, tau_C[None, None])
    return shards.reshaped(y, x.shape, x).astype(x.dtype)


@jax.custom_jvp
def _over_its_own_root(x, epsilon):
  """Returns `x / sqrt(x**2 + epsilon)`.

  Automatic differentiation finds its derivative, `epsilon / (x**2 +
  epsilon)**1.5`, as the difference of two nearly equal numbers: in float32,
  only rounding errors would be left.
  """
  return x * jax.lax.rsqrt(jnp.square(x) + epsilon)


@_over_its_own_root.defjvp
def _derivative(primals, tangents):
  (x, epsilon), (dx, d_epsilon) = primals, tangents
  cube = jax.lax.rsqrt(jnp.square(x) + epsilon) ** 3
  dy = cube * (epsilon * dx - x * d_epsilon / 2)
  return _over_its_own_root(x, epsilon), dy
