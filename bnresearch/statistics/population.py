"""Population statistics. Ioffe & Szegedy 2015, Algorithm 2, 1502.03167.

The parameters are frozen, the network processes several training batches, and
one of two estimators combines their statistics:

'population', Algorithm 2 exactly: `E[x] = mean(mu)` and `Var[x] = mean(m/(m-1)
* var)` over the batches, or over their groups where there are groups.

'pooled': the mean and the variance of all values of all batches, by the law of
total variance, which adds the variance of the batches' means. It is divided by
the number of values, without Bessel's correction.

Both run the network as training does, each layer on inputs that were normalized
batch by batch. Others call this "precise BN" (Wu & Johnson 2021,
2105.07576, section 3).
"""

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from bnresearch.statistics import shards
from bnresearch.statistics.groups import MEANS
from bnresearch.statistics.moments import products_in_blocks

# How a norm that takes one batch's statistics differs from training: an average
# that forgets the old value at once is the batch's own.
_OF_ONE_BATCH: dict[str, Any] = {
  'momentum': 0.0,
  'debias': False,
  'frozen_statistics': False,
}
_ACCURATE = {'use_fast_variance': False}  # of `linen.BatchNorm`
ESTIMATORS: dict[str, dict[str, Any]] = {
  'population': {'running_variance': 'unbiased', 'group_variance': 'within'},
  'pooled': {'running_variance': 'biased', 'group_variance': 'pooled'},
}


def population_statistics(
  apply: Callable[..., tuple[Any, Mapping[str, Any]]],
  variables: Mapping[str, Any],
  batches: Iterable[Any],
  *,
  estimator: str = 'population',
) -> dict[str, Any]:
  """Returns the collections of a Flax model with population statistics.

  This works for any model whose batch norms are `linen.BatchNorm` or a `Norm`
  of `bnresearch.norms`, with any dtype, mask, mesh and lifted transformation:

    apply = functools.partial(model.apply, train=True)
    statistics = bnr.population_statistics(apply, variables, batches)
    variables = {**variables, **statistics}

  Args:
    apply: the network as in training, without dropout. It is called as
      `apply(variables, batch, mutable=[...])` and returns `(output, updated)`,
      as `nn.Module.apply` does; it is compiled by `jax.jit`.
    variables: {'params': ..., 'batch_stats': ...}, and other collections.
    batches: training batches; each is one argument, an array (N, ...) or a tree
      of arrays.
    estimator: 'population' or 'pooled', see above. Both average a statistic
      that is no mean, variance or covariance. The former weights all batches
      alike, the latter by their examples.

  Returns:
    {name: collection} of all collections but the parameters, in their shapes
    and dtypes; what has no statistics of a batch stays as it was.

  Raises:
    ValueError: there is no such estimator, or no batch; `apply` changes no
      statistics; a layer that is no known batch norm changes some; or an
      unbiased variance would come from one value.
  """
  if estimator not in ESTIMATORS:
    raise ValueError(
      f'estimator = {estimator!r}: needs one of {", ".join(ESTIMATORS)}.'
    )
  old = {name: tree for name, tree in variables.items() if name != 'params'}
  known: set[tuple[str, ...]] = set()
  own = jax.jit(of_one_batch(apply, [*old], estimator, known))
  pooled, average, total = estimator == 'pooled', None, 0
  for batch in batches:
    new = jax.device_get(own(variables, batch))
    if average is None:
      _check(old, new, known)
    new = jax.tree.map(lambda x: x.astype(np.float64), new)
    weight = jax.tree.leaves(batch)[0].shape[0] if pooled else 1
    total += weight
    share = weight / total
    average = new if average is None else _take_in(average, new, share, pooled)
  if average is None:
    raise ValueError('batches: there is none. Algorithm 2 needs at least one.')
  return {name: like(tree, average[name]) for name, tree in old.items()}


def of_one_batch(
  apply: Callable[..., tuple[Any, Mapping[str, Any]]],
  mutable: list[str],
  estimator: str,
  known: set[tuple[str, ...]],
) -> Callable[[Mapping[str, Any], Any], dict[str, Any]]:
  """Returns the pure function from variables and a batch to its statistics.

  Args:
    apply: see `population_statistics`.
    mutable: the collections that the function returns.
    estimator: see above.
    known: gets the paths of the batch norms while the function is traced.
  """
  options = _OF_ONE_BATCH | _ACCURATE | ESTIMATORS[estimator]
  inside: list[tuple[str, ...]] = []

  def by_one_batch(following, args, kwargs, context):
    """Applies a clone of a batch norm, with other options, in its place."""
    norm = context.module
    # A lifted norm, as by `nn.remat`, calls another one of its path.
    if norm.path in inside or not (
      context.method_name == '__call__' and hasattr(norm, 'momentum')
    ):
      return following(*args, **kwargs)
    known.add(norm.path)
    other = {name: v for name, v in options.items() if hasattr(norm, name)}
    inside.append(norm.path)
    y = norm.clone(parent=norm.scope, **other)(*args, **kwargs)
    inside.remove(norm.path)
    if isinstance(norm, nn.BatchNorm) and estimator == 'population':
      _make_unbiased(norm, *args, **kwargs)
    return y

  def statistics(variables, batch):
    with nn.intercept_methods(by_one_batch):
      _, new = apply(variables, batch, mutable=[*mutable, MEANS])
    means = new.get(MEANS, {})
    joined = {
      name: _joined(tree, means) for name, tree in new.items() if name != MEANS
    }
    return jax.tree.map(shards.undivided, joined)

  return statistics


def _make_unbiased(norm, x, use_running_average=None, *, mask=None):
  """Multiplies the variance that linen's layer has stored by `m/(m-1)`."""
  if nn.merge_param(
    'use_running_average', norm.use_running_average, use_running_average
  ):
    return
  axes = norm.axis if isinstance(norm.axis, tuple) else (norm.axis,)
  features = {axis % x.ndim for axis in axes}
  over = [axis for axis in range(x.ndim) if axis not in features]
  var = norm.scope.get_variable('batch_stats', 'var')
  m = math.prod(x.shape[axis] for axis in over)
  if m == 1 and norm.axis_name is None:
    raise ValueError(
      f'{"/".join(norm.path)}: a batch of the shape {x.shape} has 1 value per '
      'channel, and an unbiased variance needs at least 2. Use larger batches, '
      "or estimator = 'pooled'."
    )
  if mask is not None:
    m = jnp.broadcast_to(mask, x.shape).sum(over).reshape(var.shape)
  if norm.axis_name is not None:
    groups = norm.axis_index_groups
    m = jax.lax.psum(m, norm.axis_name, axis_index_groups=groups)
  norm.scope.put_variable('batch_stats', 'var', var * m / jnp.maximum(m - 1, 1))


def _check(old, new, known):
  """Refuses statistics that are not those of one batch, here the first."""
  if not jax.tree.leaves(old):
    return
  before, after = (flax.traverse_util.flatten_dict(tree) for tree in (old, new))
  changed = [
    path
    for path, value in before.items()
    if not np.array_equal(value, after[path], equal_nan=True)
  ]
  if not changed:
    raise ValueError(
      'apply: it has changed no statistics. It needs to run the network as '
      'training does (train=True, or use_running_average=False), to pass '
      '`mutable` on, and to return (output, updated).'
    )
  for collection, *layer, name in changed:
    if collection == 'batch_stats' and tuple(layer) not in known:
      raise ValueError(
        f'variables: {"/".join([collection, *layer, name])} is changed by a '
        "layer without `momentum`, the old value's weight, so that one batch's "
        'statistics cannot be told from their average. Give the layer that '
        'field, as linen.BatchNorm has it.'
      )


def _joined(statistics, means):
  """Returns the statistics, with means added to variances without one."""
  if not isinstance(statistics, Mapping):
    return statistics
  joined = {
    key: _joined(value, means.get(key, {})) for key, value in statistics.items()
  }
  return {**means, **joined} if 'var' in statistics else joined


def _take_in(average, new, share, pooled):
  """Returns the average with `new`, a share of the total, taken into it."""
  if not isinstance(new, Mapping):
    return average + (new - average) * share
  result = {key: _take_in(average[key], new[key], share, pooled) for key in new}
  if pooled and 'mean' in new:
    moved = new['mean'] - average['mean']
    between = share * (1 - share)
    if 'var' in new:
      result['var'] += between * np.square(moved)
    if 'covariance' in new:
      shape = new['covariance'].shape
      result['covariance'] += between * products_in_blocks(moved, shape)[0]
  return result


def like(old: Any, new: Any) -> Any:
  """Returns `new` in the tree and dtypes of `old`, which keeps its counters."""
  if isinstance(old, Mapping):
    return {key: like(old[key], new[key]) for key in old}
  return old if np.issubdtype(old.dtype, np.integer) else new.astype(old.dtype)
