"""Iterative normalization, ZCA by Newton. Huang et al. 2019, 1904.03441.

Decorrelated batch normalization (Huang et al. 2018, 1804.08450) does the same
by eigendecomposition, whose gradient is ill-conditioned.
"""

from typing import Any, ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.norms import _affine
from bnresearch.norms._running import Running, of_the_batch
from bnresearch.statistics import shards
from bnresearch.statistics.groups import grouped


class Norm(nn.Module):
  """Whitens the channels of a batch, in blocks.

  `y = scale * W (x - mean) + bias`, `W ~ (covariance + epsilon * I)**(-1/2)`

  Channels form consecutive blocks of one size, the largest divisor of C that is
  not above `whitened_channels`; each block has its own W. Newton's iterations
  approach it: `P <- (3 P - P**3 A) / 2` from `P = I`, where `A` is the
  covariance divided by its trace, so that they converge; then `W = P /
  sqrt(trace)`. Few iterations whiten the directions of large variance, and
  hardly those of small variance, as the paper wants.

  Training: mean and covariance are those of the batch, over all axes but the
  last, the covariance of centered values. Evaluation: they are the running
  ones, from mean 0 and covariance I; the same iterations give W.

  *Differs from the paper:* for evaluation, the paper averages the whitening
  matrices of batches. We average covariances, which have a meaning of their own
  and to which Algorithm 2's population statistics apply. Our iterations are in
  the coupled form (Higham 1997, Stable iterations for the matrix square root),
  which has the same iterates and does not let rounding errors grow.

  Attributes:
    momentum: weight of the old running statistics, in [0, 1). 0.99 is that
      of `batch.py`; the authors' code has 0.9.
    epsilon: added to the covariance's diagonal, in squared units of the input.
      1e-5 is that of the authors' code.
    running_variance: 'unbiased' averages `m/(m-1) * covariance` of m values,
      as `batch.py`; 'biased' averages the covariance.
    group_size: consecutive examples that share statistics; 0 for the batch.
    group_variance: how groups make the running covariance, 'within' or
      'pooled', see `batch.py`.
    whitened_channels: how many are whitened together, at most. 64 is our
      default; 1 is batch normalization.
    whitening_iterations: Newton's. The paper's 5.
    frozen_affine: whether scale and bias get no gradient.
    use_scale: whether to learn `scale` (gamma).
    use_bias: whether to learn `bias` (beta), initially 0.
    initial_scale: of gamma.
    axis_name: the axis along which devices share a batch inside a map
      (`jax.shard_map`, `jax.pmap`, named `jax.vmap`), as linen's; None if each
      device has a whole batch. It has no effect where there is no such axis.
  """

  momentum: float = 0.99
  epsilon: float = 1e-5
  running_variance: str = 'unbiased'
  group_size: int = 0
  group_variance: str = 'within'
  whitened_channels: int = 64
  whitening_iterations: int = 5
  frozen_affine: bool = False
  use_scale: bool = True
  use_bias: bool = True
  initial_scale: float = 1.0
  axis_name: str | None = shards.AXIS

  cancels_bias: ClassVar[bool] = True

  @nn.compact
  def __call__(
    self, x: jax.Array, *, train: bool, mask: jax.Array | None = None
  ) -> jax.Array:
    """Returns `x` whitened, in its shape (N, ..., C) and dtype.

    Args:
      x: (N, ..., C), floating.
      train: whether to use the batch's statistics, or the running ones.
      mask: (N,) bool, the examples that enter the statistics; None for all.
        A batch without any leaves the running statistics as they are.

    Raises:
      ValueError: the groups do not fill the batch, or an unbiased running
        covariance would come from one value.
    """
    C = x.shape[-1]
    D = next(d for d in range(self.whitened_channels, 0, -1) if C % d == 0)
    B = C // D
    scale_C, bias_C = _affine.parameters(self, (C,))
    eye_BDD = jnp.broadcast_to(jnp.eye(D), (B, D, D))
    initial = {'mean': jnp.zeros(C), 'covariance': eye_BDD}
    running = Running(self, initial)
    groups = grouped(
      x, mask, self.group_size, axis_name=self.axis_name, by_batch=train
    )
    if train:
      mean_GC, _ = groups.moments()
    else:
      mean_GC = running['mean'][None]
    mean_PC = groups.rows(mean_GC)
    centred = groups.x_PMSC.astype(mean_PC.dtype) - mean_PC[:, None, None]
    if train:
      covariance_GBDD = _covariance(centred, groups, D)
    else:
      covariance_GBDD = running['covariance'][None]
    whitening_GBDD = _inverse_root(
      covariance_GBDD + self.epsilon * eye_BDD[None], self.whitening_iterations
    )
    y = _whitened(centred, groups.rows(whitening_GBDD))
    y = y * scale_C[None, None, None] + bias_C[None, None, None]
    if train and running.follows:
      mean_C, covariance_BDD, enough = of_the_batch(
        groups,
        mean_GC,
        covariance_GBDD,
        running_variance=self.running_variance,
        group_variance=self.group_variance,
      )
      new = {'mean': mean_C, 'covariance': covariance_BDD}
      running.update(new, self.momentum, enough)
    return shards.reshaped(y.astype(x.dtype), x.shape, x)


def _covariance(centred_PMSC, groups, D):
  """Returns the biased covariance of each group's blocks; I without values."""
  P, M, S, C = centred_PMSC.shape
  if groups.where_PM11 is not None:
    centred_PMSC = jnp.where(groups.where_PM11, centred_PMSC, 0)
  blocks = centred_PMSC.reshape(P, M, S, C // D, D)
  options: dict[str, Any] = {'precision': 'highest'}
  if shards.typed(blocks):  # a sum over a split axis asks how to split
    options['out_sharding'] = shards.first_axis_of(blocks)
  (products,) = groups.totals(
    jnp.einsum('pmsbd,pmsbe->pbde', blocks, blocks, **options)
  )
  count_G111 = groups.count_G[:, None, None, None]
  eye = jnp.broadcast_to(jnp.eye(D), products.shape)
  return jnp.where(count_G111 > 0, products / jnp.maximum(count_G111, 1), eye)


def _whitened(centred_PMSC, whitening_PBDD):
  """Returns the product of both, in the shape of the first.

  The whitening matrices may be a single row, for all parts.
  """
  P, M, S, _ = centred_PMSC.shape
  _, B, D, _ = whitening_PBDD.shape
  whitening_PBDD = jnp.broadcast_to(whitening_PBDD, (P, B, D, D))
  if shards.typed(centred_PMSC):  # a product wants both split alike
    split = shards.first_axis_of(centred_PMSC)
    whitening_PBDD = jax.sharding.reshard(whitening_PBDD, split)
  blocks = centred_PMSC.reshape(P, M, S, B, D)
  y = jnp.einsum(
    'pmsbd,pbde->pmsbe', blocks, whitening_PBDD, precision='highest'
  )
  return y.reshape(centred_PMSC.shape)


def _inverse_root(covariance, iterations):
  """Returns `covariance**(-1/2)` of the last two axes, by Newton's iterations.

  `root` tends to the square root; `inverse`, the paper's P, to its inverse.
  """
  trace = jnp.trace(covariance, axis1=-2, axis2=-1)[..., None, None]
  eye = jnp.broadcast_to(jnp.eye(covariance.shape[-1]), covariance.shape)
  eye += jnp.zeros_like(covariance)  # split as it is
  root, inverse = covariance / trace, eye
  for _ in range(iterations):
    step = 1.5 * eye - 0.5 * jnp.matmul(inverse, root, precision='highest')
    root = jnp.matmul(root, step, precision='highest')
    inverse = jnp.matmul(step, inverse, precision='highest')
  return inverse * jax.lax.rsqrt(trace)
