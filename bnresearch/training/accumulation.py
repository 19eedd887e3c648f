"""Gradient accumulation: a batch in parts, in the memory of one of them.

Parts change only the rounding: the same groups of examples share statistics,
the gradient is that of the whole batch, the running statistics are updated
once, and the optimizer makes one update. Each part starts from the statistics
before the step, and their new values are averaged over the parts. Running
averages are linear in what a batch gives them, and all parts have equally many
groups, so the whole batch would give the same values.
`knobs/together.py` refuses what parts cannot do: statistics of more examples
than a part has, and the variance between groups of several parts.

Random draws differ: dropout and noise have a key of their own in each part.
"""

import jax
import jax.numpy as jnp

from bnresearch.ops import scanning
from bnresearch.statistics import shards
from bnresearch.training.parallel import Gradient


def in_parts(
  gradient: Gradient, microbatches: int, platform: str = ''
) -> Gradient:
  """Returns the same gradient, made in parts one after another.

  A part is `N / microbatches` consecutive examples, on all devices.

  Args:
    gradient: of a batch, already split over the devices.
    microbatches: how many parts.
    platform: that it will be lowered for; '' for this process's.

  Raises:
    ValueError: a part does not lie evenly on the devices.
  """
  if microbatches == 1:
    return gradient

  def of_all(params, collections, batch, key):
    parts = jax.tree.map(lambda x: split(x, microbatches), batch)

    def of_one(k, part):
      own = jax.random.fold_in(key, k)
      return gradient(params, collections, part, own)

    def add(total, numbered):
      grads, *rest = of_one(*numbered)
      return jax.tree.map(jnp.add, total, grads), rest

    first = jax.tree.map(lambda x: x[0], parts)
    slow = scanning.is_slow(of_one, 0, first, platform=platform)
    total, (new, outputs) = jax.lax.scan(
      add,
      jax.tree.map(jnp.zeros_like, params),
      (jnp.arange(microbatches), parts),
      unroll=microbatches if slow else 1,
    )
    grads = jax.tree.map(lambda x: x / microbatches, total)
    outputs = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)
    return grads, jax.tree.map(_of_all_parts, new), outputs

  return of_all


def split(x: jax.Array, microbatches: int) -> jax.Array:
  """Returns (parts, examples of a part, ...), each part on all devices.

  Raises:
    ValueError: a part does not lie evenly on the devices.
  """
  n, D = x.shape[0] // microbatches, shards.count()
  if n % D:
    raise ValueError(
      f'train.microbatches = {microbatches}: a part of {n} examples does not '
      f'lie evenly on {D} devices. Set parallel.devices to a divisor of {n}.'
    )
  return shards.split(x.reshape(microbatches, n, *x.shape[1:]), axis=1)


def _of_all_parts(x):
  """Averages a statistic over the parts; takes a counter from the first."""
  return x.mean(0) if jnp.issubdtype(x.dtype, jnp.floating) else x[0]
