"""Running statistics: the collection `batch_stats` of a normalizer."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.statistics import moments
from bnresearch.statistics.groups import Groups


class Running:
  """Running averages in `batch_stats`, made inside a compact `__call__`.

  With `debias`, the average starts at zero and is divided by the weight of what
  it has seen, `1 - momentum**t` after t updates. It is stored divided, so that
  mean and var mean the same with and without; the weight is stored beside them.
  """

  def __init__(
    self,
    module: nn.Module,
    initial: dict[str, jax.Array],
    *,
    debias: bool = False,
  ):
    """Declares the variables with their values before any update."""
    self._module = module
    self._variables = {
      name: module.variable('batch_stats', name, lambda v=value: v)
      for name, value in initial.items()
    }
    self._weight = (
      module.variable('batch_stats', 'weight', jnp.zeros, ())
      if debias
      else None
    )

  def __getitem__(self, name: str) -> jax.Array:
    return self._variables[name].value

  @property
  def follows(self) -> bool:
    """Whether to update: `mutable` says so, and never during init."""
    mutable = self._module.is_mutable_collection('batch_stats')
    return mutable and not self._module.is_initializing()

  def update(
    self,
    new: dict[str, jax.Array],
    momentum: float,
    where: jax.Array | bool = True,
  ) -> None:
    """Takes a batch's statistics into the averages.

    Args:
      new: by name, as declared.
      momentum: weight of the old value.
      where: whether the batch had enough values; if not, nothing changes.
    """
    keep = momentum
    if self._weight is not None:
      weight = moments.running(self._weight.value, jnp.ones(()), momentum)
      keep = 1 - (1 - momentum) / weight
      self._weight.value = jnp.where(where, weight, self._weight.value)
    for name, variable in self._variables.items():
      value = moments.running(variable.value, new[name], keep)
      variable.value = jnp.where(where, value, variable.value)


def of_the_batch(
  groups: Groups,
  mean_GC: jax.Array,
  var_GC: jax.Array,
  *,
  running_variance: str,
  group_variance: str = 'within',
) -> tuple[jax.Array, jax.Array, jax.Array]:
  """Returns what enters running statistics, from the moments of groups.

  Args:
    groups: of the batch.
    mean_GC: their means.
    var_GC: their biased variances; or covariances of blocks (G, B, D, D).
    running_variance: 'unbiased' or 'biased'.
    group_variance: 'within' or 'pooled', see `moments.combine`.

  Returns:
    mean and variance of the batch, and whether there were enough values for
    them, a bool scalar.

  Raises:
    ValueError: an unbiased variance would come from one value.
  """
  unbiased = running_variance == 'unbiased'
  pooled = group_variance == 'pooled'
  P, M, S, _ = groups.x_PMSC.shape
  if unbiased and (P if pooled else groups.parts_per_group) * M * S == 1:
    raise ValueError(
      f'A {"batch" if pooled or P == 1 else "group"} of the shape '
      f'{groups.x_PMSC.shape} (groups, examples, positions, channels) has '
      '1 value per channel: an unbiased variance needs at least 2. Use a '
      "larger batch or norm.group_size, norm.group_variance = 'pooled', or "
      "norm.running_variance = 'biased'."
    )
  return groups.combine(mean_GC, var_GC, pooled=pooled, unbiased=unbiased)
