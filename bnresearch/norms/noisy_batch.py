"""Batch normalization, then noise. Santurkar et al. 2018, App. A, 1805.11604.

The noise shifts and scales every unit anew at each step. It brings back the
unstable distributions that batch normalization is said to remove; the paper
finds that training hardly suffers.
"""

from typing import ClassVar

import flax.linen as nn
import jax

from bnresearch.norms import batch
from bnresearch.statistics import shards


class Norm(nn.Module):
  """Normalizes as `batch.py`, and in training perturbs the result.

  `y = s * batch_normalized(x) + m`, where at each step, for each channel,
  `mean ~ U(-noise_shift, noise_shift)`, `std ~ U(1, 1 + noise_scale)`, and
  then, for each of its activations, `m ~ U(mean - noise_jitter, mean +
  noise_jitter)`, `s ~ N(mean=std, deviation=noise_jitter)`.

  The noise is drawn from the stream 'dropout', if `train` is true and the
  stream is given; the training step gives it. Without the stream there is no
  noise, so population statistics, and evaluation by the batch's statistics, are
  those of plain batch normalization. Parameters and statistics are those of
  `batch.py`, and checkpoints are interchangeable.

  *Differs from the paper:* in a convolution we read its "unit" as a channel for
  `mean` and `std`, since positions share statistics, and as an activation at
  one position for `m` and `s`. We read its N(sigma, 0.1) as a deviation of 0.1,
  not a variance.

  Attributes:
    momentum: weight of the old running statistics, see `batch.py`; likewise
      the fields up to `initial_scale`.
    epsilon: added to the variance.
    running_variance: 'unbiased' or 'biased'.
    group_size: examples that share statistics; 0 for the whole batch.
    group_variance: 'within' or 'pooled'.
    frozen_affine: whether scale and bias get no gradient.
    use_scale: whether to learn `scale` (gamma).
    use_bias: whether to learn `bias` (beta), initially 0.
    initial_scale: of gamma.
    noise_shift: largest mean of the shift m, in units of the output. The
      paper's 0.5.
    noise_scale: how far the mean of the factor s exceeds 1, at most. The
      paper's 0.25.
    noise_jitter: half the width of m around its mean, and the deviation of s.
      The paper's 0.1.
    axis_name: the axis along which devices share a batch inside a map
      (`jax.shard_map`, `jax.pmap`, named `jax.vmap`), as linen's; None if each
      device has a whole batch. It has no effect where there is no such axis.
  """

  momentum: float = 0.99
  epsilon: float = 1e-5
  running_variance: str = 'unbiased'
  group_size: int = 0
  group_variance: str = 'within'
  frozen_affine: bool = False
  use_scale: bool = True
  use_bias: bool = True
  initial_scale: float = 1.0
  noise_shift: float = 0.5
  noise_scale: float = 0.25
  noise_jitter: float = 0.1
  axis_name: str | None = shards.AXIS

  cancels_bias: ClassVar[bool] = True

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns `x` normalized and perturbed, in its shape and dtype.

    Args:
      x: (N, ..., C), floating.
      train: whether to use the batch's statistics, or the running ones.
      mask: (N,) bool, the examples that enter the statistics; None for all.

    Raises:
      ValueError: as `batch.py`.
    """
    norm = batch.Norm(
      momentum=self.momentum,
      epsilon=self.epsilon,
      running_variance=self.running_variance,
      group_size=self.group_size,
      group_variance=self.group_variance,
      frozen_affine=self.frozen_affine,
      use_scale=self.use_scale,
      use_bias=self.use_bias,
      initial_scale=self.initial_scale,
      axis_name=self.axis_name,
    )
    nn.share_scope(self, norm)  # its variables are this module's own
    y = norm(x, train=train, mask=mask)
    if train and self.has_rng('dropout'):
      s, m = self._noise(self.make_rng('dropout'), y.shape)
      y = (s * y + m).astype(y.dtype)
    return y

  def _noise(self, key, shape):
    """Returns factor and shift of each activation, float32."""
    keys = jax.random.split(key, 4)
    channel = (1,) * (len(shape) - 1) + shape[-1:]
    mean = self.noise_shift * jax.random.uniform(keys[0], channel, minval=-1)
    std = 1 + self.noise_scale * jax.random.uniform(keys[1], channel)
    uniform = lambda shape: jax.random.uniform(keys[2], shape, minval=-1)
    normal = lambda shape: jax.random.normal(keys[3], shape)
    m = self.noise_jitter * shards.drawn(uniform, shape, self.axis_name)
    s = self.noise_jitter * shards.drawn(normal, shape, self.axis_name)
    return std + s, mean + m
