"""A batch in groups of examples that share statistics, on any devices."""

import functools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.ad_checkpoint import checkpoint_name

from bnresearch.statistics import moments, shards

STATISTICS = 'statistics'  # the name of moments for `jax.checkpoint`
# The collection of the batch's means, for norms without a running mean. Code
# that pools variances makes it mutable.
MEANS = 'batch_means'


class Groups(NamedTuple):
  """A batch in groups of consecutive examples, each with its own statistics.

  A group that lies on one device is one part. A group that lies on several has
  a part on each, and one collective merges their statistics. For example, 16
  examples on 4 devices, in groups of 2 or of 8:

    device    |    0    |    1    |    2    |    3    |
    example   | 0 1 2 3 | 4 5 6 7 | 8 9 . . | . . . . |

    group     |  0   1  |  2   3  |  4   5  |  6   7  |  G = 8
    part      |  0   1  |  2   3  |  4   5  |  6   7  |  P = 8, M = 2

    group     |         0         |         1         |  G = 2
    part      |    0    |    1    |    2    |    3    |  P = 4, M = 4

  The former has 1 part per group, the latter 2. Under `jax.jit`, x holds all P
  parts. Inside a map it holds those of one device: 2 of the 8, 1 of the 4.

  Attributes:
    x_PMSC: P parts of M examples with S positions and C channels. Where
      every activation has statistics of its own, S is 1 and C counts
      activations.
    where_PM11: which examples count; None for all.
    parts_per_group: one on each device of a group.
    devices: how many share the batch, see `shards.py`.
    axis_name: the axis along which they share it.
  """

  x_PMSC: jax.Array
  where_PM11: jax.Array | None
  parts_per_group: int = 1
  devices: int = 1
  axis_name: str | None = shards.AXIS

  @property
  def count_G(self) -> jax.Array:
    """How many values each group has per channel, float32."""
    if self.where_PM11 is None and self.parts_per_group > 1:
      P, M, S, _ = self.x_PMSC.shape
      mapped = shards.mapped(self.axis_name)
      here = P * self.devices if mapped else P
      return jnp.full(
        here // self.parts_per_group, self.parts_per_group * M * S, jnp.float32
      )
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

    A group without an example that counts has mean 0 and variance 1, so that
    what they normalize stays finite.
    """
    return checkpoint_name(self._moments(variance), STATISTICS)

  def _moments(self, variance):
    mean_PC, var_PC = moments.moments(
      self.x_PMSC, (1, 2), self.where_PM11, variance
    )
    count_P = self._count_P
    if self.parts_per_group == 1:
      return mean_PC, jnp.where(count_P[:, None] > 0, var_PC, 1)
    # A part's mean of squares has what its inaccurate variance lost.
    squares = variance == 'one_pass'
    if squares:
      square = jnp.square(self.x_PMSC.astype(mean_PC.dtype))
      var_PC, _ = moments.moments(square, (1, 2), self.where_PM11)
    mean_GJC, var_GJC, count_GJ = self._of_all_parts(mean_PC, var_PC, count_P)
    if squares:
      share_GJ1 = (count_GJ / jnp.maximum(count_GJ.sum(1), 1)[:, None])[
        ..., None
      ]
      mean_GC = (share_GJ1 * mean_GJC).sum(1)
      var_GC = (share_GJ1 * var_GJC).sum(1) - jnp.square(mean_GC)
      var_GC = jnp.maximum(var_GC, 0)
    else:
      # What parts differ in is what images differ in.
      pooled = variance != 'per_image'
      merge = functools.partial(moments.combine, pooled=pooled, unbiased=False)
      mean_GC, var_GC, _ = jax.vmap(merge)(mean_GJC, var_GJC, count_GJ)
    var_GC = jnp.where(count_GJ.sum(1)[:, None] > 0, var_GC, 1)
    undivided = lambda x: shards.undivided(x, self.axis_name)
    return undivided(mean_GC), undivided(var_GC)

  def totals(self, *values_P: jax.Array) -> tuple[jax.Array, ...]:
    """Returns the sums over the parts of each group, by one collective.

    Args:
      *values_P: each (P, ...), a value of each part.
    """
    if self.parts_per_group == 1:
      return values_P
    return tuple(
      shards.undivided(x_GJ.sum(1), self.axis_name)
      for x_GJ in self._of_all_parts(*values_P)
    )

  def most(self, value_PC: jax.Array) -> jax.Array:
    """Returns the maximum over the parts of each group."""
    if self.parts_per_group == 1:
      return value_PC
    (value_GJC,) = self._of_all_parts(value_PC)
    return value_GJC.max(1)

  def rows(self, value_GC: jax.Array) -> jax.Array:
    """Returns one row for each part of `x`, that of its group."""
    if self.parts_per_group == 1 or value_GC.shape[0] == 1:
      return value_GC
    rows_PC = jnp.repeat(value_GC, self.parts_per_group, axis=0)
    return shards.own(rows_PC, self.axis_name)

  def combine(
    self,
    mean_GC: jax.Array,
    var_GC: jax.Array,
    *,
    pooled: bool,
    unbiased: bool,
  ) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Returns the moments of all groups merged, see `moments.combine`.

    Raises:
      ValueError: inside a map over another axis than `axis_name`, where each
        device would merge its own.
    """
    what = 'running statistics of the batch'
    _refuse_foreign_axes(self.x_PMSC, self.axis_name, what)
    groups = mean_GC, var_GC, self.count_G
    if self.parts_per_group == 1 and self.devices > 1:
      groups = shards.everywhere(groups, self.axis_name)
    return moments.combine(*groups, pooled=pooled, unbiased=unbiased)

  def _of_all_parts(self, *values_P):
    """Returns each value as (G, J, ...), of the J parts of every group."""
    return (
      x.reshape(-1, self.parts_per_group, *x.shape[1:])
      for x in shards.everywhere(values_P, self.axis_name)
    )


def grouped(
  x: jax.Array,
  mask_N: jax.Array | None,
  group_size: int,
  *,
  axis_name: str | None = shards.AXIS,
  by_batch: bool = True,
  per_activation: bool = False,
) -> Groups:
  """Splits a batch into groups of consecutive examples.

  Args:
    x: (N, ..., C). Inside a map, see `shards.py`, one device's shard of it.
    mask_N: which examples count, bool; None for all. Values of the others
      that are not finite become 0.
    group_size: examples in a group; 0 for one group of all, on all devices.
    axis_name: the axis of a map or a mesh along which devices share the batch,
      if there is one; None if `x` is the whole batch.
    by_batch: whether groups need statistics; if not, `x` is one part, on any
      number of devices.
    per_activation: whether each position is a channel of its own (the paper's
      fully connected form), instead of a value of its feature map.

  Raises:
    ValueError: the groups do not fill the batch, or inside a map the devices;
      a map is over another axis than `axis_name`; the mask is not (N,); `x` is
      not floating.
  """
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(f'x is {x.dtype}: needs floating, see data.pixels.')
  N, *positions, C = x.shape
  x = moments.finite(x, mask_N)
  P, parts_per_group, devices = 1, 1, 1
  if by_batch:
    if not group_size:
      what = 'norm.group_size = 0, the whole batch'
      _refuse_foreign_axes(x, axis_name, what)
    P, parts_per_group, devices = _parts(N, group_size, axis_name)
  M = N // P
  S = 1 if per_activation else math.prod(positions)
  C = C * math.prod(positions) if per_activation else C
  where = None if mask_N is None else shards.reshaped(mask_N, (P, M, 1, 1))
  x_PMSC = shards.reshaped(x, (P, M, S, C))
  return Groups(x_PMSC, where, parts_per_group, devices, axis_name)


def _refuse_foreign_axes(x, axis_name, what):
  if axes := shards.foreign_axes(x, axis_name):
    N = x.shape[0]
    raise ValueError(
      f'{what}, inside a map over the axis {", ".join(map(repr, axes))}, with '
      f'axis_name = {axis_name!r}: a device sees its {N} examples only. Make '
      f'the norm with axis_name = {axes[0]!r}, whose devices then share their '
      'statistics, or with axis_name = None, if what a device has is a whole '
      'batch.'
    )


def _parts(N, group_size, axis_name):
  """Returns how many parts are here, how many a group has, and the devices."""
  devices, mapped = shards.count(axis_name), shards.mapped(axis_name)
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
      f'{devices} devices. Choose a size that gives each device whole groups, '
      "or each group whole devices, or parallel.backend = 'jit'."
    )
  return G, 1, 1
