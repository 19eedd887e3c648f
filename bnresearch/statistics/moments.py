"""Moments of a batch, of its groups, and their running estimates, in float32.

Two decisions hold throughout. The variance is two-pass, the mean of
`(x - mean)**2`. Two other forms are ablations: the one-pass `E[x^2] - E[x]^2`
loses every digit once `|mean| >> std`, and the mean of the images' own
variances loses what images differ in. And `momentum` is the weight of the *old*
value, as in flax and Keras; PyTorch's is one minus it.
"""

import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp

VARIANCES = ('two_pass', 'one_pass', 'per_image')


def moments(
  x: jax.Array,
  axes: Sequence[int],
  where: jax.Array | None = None,
  variance: str = 'two_pass',
) -> tuple[jax.Array, jax.Array]:
  """Returns the mean and the biased variance of `x` over `axes`.

  Args:
    x: any shape and floating dtype; at least float32 is used inside.
    axes: the axes that are averaged over; they are dropped from the result.
    where: which values count, bool, in a shape that broadcasts to that of `x`;
      None for all.
    variance: 'two_pass', `mean((x - mean)**2)`; 'one_pass', `mean(x**2) -
      mean**2`, clipped at 0, which needs no second pass and is not accurate; or
      'per_image', the mean of the variances over `axes[1:]` of each image along
      `axes[0]`, which lacks the variance of their means.

  Returns:
    `mean` and `var`, float32 (float64 if `x` is); both 0 where no value
    counts.

  Raises:
    ValueError: there is no such variance; or 'per_image' meets images of one
      value, whose variances are all 0.
  """
  axes = tuple(axes)
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  # Before any other use: the gradient of a value that is not finite is NaN,
  # even times 0.
  counted = lambda x: x if where is None else jnp.where(where, x, 0)

  def mean_of(x, over=axes):
    if where is None:
      count = math.prod(x.shape[axis] for axis in over)
    else:
      count = jnp.broadcast_to(where, x.shape).sum(over, keepdims=True)
    return x.sum(over, keepdims=True) / jnp.maximum(count, 1)

  x = counted(x)
  mean = mean_of(x)
  if variance == 'two_pass':
    var = mean_of(jnp.square(counted(x - mean)))
  elif variance == 'per_image':
    _refuse_single_values(x.shape, axes[1:])
    var = mean_of(jnp.square(counted(x - mean_of(x, axes[1:]))))
  elif variance == 'one_pass':
    var = jnp.maximum(mean_of(jnp.square(x)) - jnp.square(mean), 0)
  else:
    raise ValueError(
      f'variance = {variance!r}: needs one of {", ".join(VARIANCES)}.'
    )
  return mean.squeeze(axes), var.squeeze(axes)


def _refuse_single_values(shape, positions):
  if math.prod(shape[axis] for axis in positions) < 2:
    raise ValueError(
      "norm.variance = 'per_image' averages the variances of images over their "
      f'positions; an input of shape {shape} has one value per image and '
      "channel, whose variance is 0. Use norm.variance = 'two_pass', or give "
      "layers without positions another norm: norm.sites = ('hidden*=none',)."
    )


def finite(x: jax.Array, mask_N: jax.Array | None) -> jax.Array:
  """Returns `x` with 0 for non-finite values of examples that do not count.

  Zero times NaN is NaN: an example of no weight would spoil all gradients.

  Args:
    x: (N, ..., C).
    mask_N: which examples count, bool; None for all.

  Raises:
    ValueError: the mask is not (N,).
  """
  if mask_N is None:
    return x
  N = x.shape[0]
  if mask_N.shape != (N,):
    raise ValueError(
      f'mask has shape {mask_N.shape}: needs ({N},), a bool for each example '
      f'of the batch of shape {x.shape}.'
    )
  counts = jnp.reshape(mask_N, (N, *(1,) * (x.ndim - 1)))
  return jnp.where(counts | jnp.isfinite(x), x, 0)


def combine(
  mean_GC: jax.Array,
  var_GC: jax.Array,
  count_G: jax.Array,
  *,
  pooled: bool,
  unbiased: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Merges the moments of groups, weighted by their numbers of values.

  The mean is that of all values. The variance is either that within groups,
  `sum(m * var) / sum(m)`, or pooled, the variance of all values by the law of
  total variance, `sum(m * (var + (mean - total mean)**2)) / sum(m)`. Unbiased,
  the divisor is `sum(m - 1)` within groups and `sum(m) - 1` pooled; for groups
  of one size the former is Algorithm 2's `m/(m-1) * mean(var)`.

  Args:
    mean_GC: the groups' means.
    var_GC: their biased variances; or covariances of blocks (G, B, D, D).
    count_G: the numbers m of values.
    pooled: whether the variance between groups counts too.
    unbiased: whether to apply Bessel's correction.

  Returns:
    mean (C,), variance (C,) or covariance (B, D, D), and whether there were
    enough values for them, a bool scalar; if not, both are 0.
  """
  m_G1 = count_G[:, None].astype(var_GC.dtype)
  mean_C = (m_G1 * mean_GC).sum(0) / jnp.maximum(m_G1.sum(), 1)
  lost_G1 = jnp.minimum(m_G1, 1)
  if pooled:
    moved_GC = mean_GC - mean_C[None]
    covariances = var_GC.ndim > 2
    var_GC += (
      products_in_blocks(moved_GC, var_GC.shape[1:])
      if covariances
      else jnp.square(moved_GC)
    )
    lost_G1 = lost_G1.max(0, keepdims=True, initial=0)
  divisor = m_G1.sum() - (lost_G1.sum() if unbiased else 0)
  m_G = m_G1.reshape(-1, *(1,) * (var_GC.ndim - 1))
  sum_C = (m_G * var_GC).sum(0)
  return mean_C, sum_C / jnp.maximum(divisor, 1), divisor > 0


def products_in_blocks(x_GC: jax.Array, shape: Sequence[int]) -> jax.Array:
  """Returns `x_i * x_j` for i, j of each block of channels, (G, B, D, D).

  Args:
    x_GC: G vectors.
    shape: (B, D, D), with B * D = C.
  """
  x_GBD = x_GC.reshape(-1, *shape[:-1])
  return x_GBD[..., :, None] * x_GBD[..., None, :]


def running(
  old: jax.Array, new: jax.Array, momentum: float | jax.Array
) -> jax.Array:
  """Returns `momentum * old + (1 - momentum) * new`.

  PyTorch writes the same average with `torch_momentum = 1 - momentum`.
  """
  return momentum * old + (1 - momentum) * new
