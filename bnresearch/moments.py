"""Moments of a batch, of its groups, and their running estimates, in float32.

Two decisions hold throughout. The variance is two-pass, the mean of
`(x - mean)**2`: the one-pass `E[x^2] - E[x]^2` loses every digit once
`|mean| >> std`, and is here as an ablation only. And `momentum` is the weight
of the *old* value, as in flax and Keras; PyTorch's is one minus it.
"""

import functools
import math
from collections.abc import Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bnresearch import shards

VARIANCES = ('two_pass', 'one_pass')


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
    where: which values count, bool, of a shape that broadcasts to that of
      `x`; None for all of them.
    variance: 'two_pass', `mean((x - mean)**2)`; or 'one_pass', `mean(x**2) -
      mean**2`, clipped at 0, which needs no second pass and is not accurate.

  Returns:
    `mean` and `var`, float32 (float64 if `x` is); both 0 where no value
    counts.
  """
  axes = tuple(axes)
  x = x.astype(jnp.promote_types(x.dtype, jnp.float32))
  if where is None:
    count = math.prod(x.shape[axis] for axis in axes)
  else:
    count = jnp.broadcast_to(where, x.shape).sum(axes, keepdims=True)

  def mean_of(x):
    x = x if where is None else jnp.where(where, x, 0)
    return x.sum(axes, keepdims=True) / jnp.maximum(count, 1)

  mean = mean_of(x)
  if variance == 'two_pass':
    var = mean_of(jnp.square(x - mean))
  elif variance == 'one_pass':
    var = jnp.maximum(mean_of(jnp.square(x)) - jnp.square(mean), 0)
  else:
    raise ValueError(
      f'variance = {variance!r}: needs one of {", ".join(VARIANCES)}.'
    )
  return mean.squeeze(axes), var.squeeze(axes)


class Groups(NamedTuple):
  """A batch in groups, each of which has statistics of its own.

  A group that lies on several devices is in parts, one on each, whose
  statistics are put together by one collective. Elsewhere a part is a group.

  Attributes:
    x_PMSC: P parts of M examples with S positions and C channels. Where
      every activation has statistics of its own, S is 1 and C counts
      activations.
    where_PM11: which examples count; None for all.
    parts: of a group.
    devices: over which the groups are spread, see `shards.py`.
  """

  x_PMSC: jax.Array
  where_PM11: jax.Array | None
  parts: int = 1
  devices: int = 1

  @property
  def count_G(self) -> jax.Array:
    """How many values each group has of each channel, float32."""
    if self.where_PM11 is None and self.parts > 1:
      P, M, S, _ = self.x_PMSC.shape
      here = P if not shards.mapped() else P * self.devices
      return jnp.full(here // self.parts, self.parts * M * S, jnp.float32)
    (count_G,) = self.totals(self._count_P)
    return count_G

  @property
  def _count_P(self):
    P, M, S, _ = self.x_PMSC.shape
    if self.where_PM11 is None:
      return jnp.full(P, M * S, jnp.float32)
    return self.where_PM11.sum((1, 2, 3)).astype(jnp.float32) * S

  def moments(self, variance: str = 'two_pass') -> tuple[jax.Array, jax.Array]:
    """Returns each group's mean and biased variance, both (G, C).

    A group of which no example counts has mean 0 and variance 1, so that
    what is normalized by them stays finite.
    """
    mean_PC, var_PC = moments(self.x_PMSC, (1, 2), self.where_PM11, variance)
    count_P = self._count_P
    if self.parts == 1:
      return mean_PC, jnp.where(count_P[:, None] > 0, var_PC, 1)
    # Each part's mean of squares keeps what an inaccurate variance lost.
    squares = variance == 'one_pass'
    if squares:
      square = jnp.square(self.x_PMSC.astype(mean_PC.dtype))
      var_PC, _ = moments(square, (1, 2), self.where_PM11)
    mean_GKC, var_GKC, count_GK = self._of_all_parts(mean_PC, var_PC, count_P)
    if squares:
      part_GK1 = (count_GK / jnp.maximum(count_GK.sum(1), 1)[:, None])[
        ..., None
      ]
      mean_GC = (part_GK1 * mean_GKC).sum(1)
      var_GC = (part_GK1 * var_GKC).sum(1) - jnp.square(mean_GC)
      var_GC = jnp.maximum(var_GC, 0)
    else:
      merge = functools.partial(combine, pooled=True, unbiased=False)
      mean_GC, var_GC, _ = jax.vmap(merge)(mean_GKC, var_GKC, count_GK)
    var_GC = jnp.where(count_GK.sum(1)[:, None] > 0, var_GC, 1)
    return shards.undivided(mean_GC), shards.undivided(var_GC)

  def totals(self, *values_P: jax.Array) -> tuple[jax.Array, ...]:
    """Returns sums over the parts of each group, by one collective.

    Args:
      *values_P: each (P, ...), of each part.
    """
    if self.parts == 1:
      return values_P
    return tuple(
      shards.undivided(x_GK.sum(1)) for x_GK in self._of_all_parts(*values_P)
    )

  def most(self, value_PC: jax.Array) -> jax.Array:
    """Returns the maximum over the parts of each group."""
    if self.parts == 1:
      return value_PC
    (value_GKC,) = self._of_all_parts(value_PC)
    return value_GKC.max(1)

  def rows(self, value_GC: jax.Array) -> jax.Array:
    """Returns each part's row of what each group has, to be used with `x`."""
    if self.parts == 1 or value_GC.shape[0] == 1:
      return value_GC
    return shards.own(jnp.repeat(value_GC, self.parts, axis=0))

  def combine(
    self,
    mean_GC: jax.Array,
    var_GC: jax.Array,
    *,
    pooled: bool,
    unbiased: bool,
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the moments of all groups merged, see the function `combine`."""
    groups = mean_GC, var_GC, self.count_G
    if self.parts == 1 and self.devices > 1:
      groups = _everywhere(groups)
    return combine(*groups, pooled=pooled, unbiased=unbiased)

  def _of_all_parts(self, *values_P):
    """Returns each value as (G, K, ...), K parts of every group."""
    return (
      x.reshape(-1, self.parts, *x.shape[1:]) for x in _everywhere(values_P)
    )


def _everywhere(values_R):
  """Returns the rows of all devices of several arrays, by one collective."""
  R = values_R[0].shape[0]
  packed = shards.everywhere(
    jnp.concatenate([x.reshape(R, -1) for x in values_R], axis=1)
  )
  ends = np.cumsum([x[0].size for x in values_R])[:-1]
  return [
    piece.reshape(-1, *x.shape[1:])
    for piece, x in zip(jnp.split(packed, ends, axis=1), values_R)
  ]


def groups(
  x: jax.Array,
  mask_N: jax.Array | None,
  group_size: int,
  *,
  per_activation: bool = False,
) -> Groups:
  """Splits a batch into groups of consecutive examples.

  Args:
    x: (N, ..., C). Inside a map, see `shards.py`, a device's share of it.
    mask_N: which examples count, bool; None for all. The others must be
      finite all the same.
    group_size: examples in a group; 0 for one group of all, on all devices.
    per_activation: whether each position is a channel of its own (the paper's
      fully connected form), instead of a value of its feature map's.

  Raises:
    ValueError: the groups do not fill the batch, or inside a map the devices;
      the mask is not (N,); `x` is not floating.
  """
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(f'x is {x.dtype}: needs floating, see data.pixels.')
  N, *positions, C = x.shape
  axes = shards.foreign_axes(x)
  if axes and not group_size:
    raise ValueError(
      f'norm.group_size = 0, the whole batch, inside a shard_map over {axes}: '
      f'a device sees its {N} examples only. Give a group size that divides '
      f'them, name the axis {shards.AXIS!r}, or use jit, which sees the batch.'
    )
  if mask_N is not None and mask_N.shape != (N,):
    raise ValueError(
      f'mask has shape {mask_N.shape}: needs ({N},), a bool for each example '
      f'of the batch of shape {x.shape}.'
    )
  P, parts, devices = _parts(N, group_size)
  M = N // P
  S = 1 if per_activation else math.prod(positions)
  C = C * math.prod(positions) if per_activation else C
  where = None if mask_N is None else mask_N.reshape(P, M, 1, 1)
  return Groups(jnp.reshape(x, (P, M, S, C)), where, parts, devices)


def _parts(N, group_size):
  """Returns how many parts are here, the parts of a group, and the devices."""
  devices, mapped = shards.count(), shards.mapped()
  total = N * devices if mapped else N
  M = group_size or total
  if M and total % M:
    raise ValueError(
      f'norm.group_size = {group_size} does not divide the batch of {total} '
      'examples. Choose a divisor, 0 for one group of all, or pad the batch '
      'and give a mask.'
    )
  G = total // M if M else 1
  if total % devices == 0 and G % devices == 0:
    return (G // devices if mapped else G), 1, devices
  if total % devices == 0 and devices % G == 0:
    return (1 if mapped else devices), devices // G, devices
  if mapped:
    raise ValueError(
      f'norm.group_size = {group_size}: {G} groups do not lie evenly on '
      f'{devices} devices. Choose a size of which each device has several, or '
      "several devices one, or parallel.backend = 'jit'."
    )
  return G, 1, 1


def combine(
  mean_GC: jax.Array,
  var_GC: jax.Array,
  count_G: jax.Array,
  *,
  pooled: bool,
  unbiased: bool,
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Merges the moments of groups, each by how many values it has.

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
    values enough for them, a bool scalar; where not, both are 0.
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


def running(old: jax.Array, new: jax.Array, momentum: float) -> jax.Array:
  """Returns `momentum * old + (1 - momentum) * new`.

  PyTorch writes the same average with `torch_momentum = 1 - momentum`.
  """
  return momentum * old + (1 - momentum) * new
