"""Population statistics. Ioffe & Szegedy 2015, Algorithm 2, 1502.03167.

The parameters frozen, several training batches are processed, and their
statistics put together, by one of two estimators:

'population', Algorithm 2 exactly: `E[x] = mean(mu)` and `Var[x] = mean(m/(m-1)
* var)` over the batches, or over their groups where there are groups.

'pooled': the mean and the variance of all values of all batches, by the law of
total variance, which adds the variance of the batches' means. It is divided by
the number of values, without Bessel's correction. Both process the network as
training does, each layer on inputs that were normalized batch by batch, but
without dropout.
"""

import contextlib
import operator
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from bnresearch.statistics import shards
from bnresearch.statistics.groups import MEANS
from bnresearch.statistics.moments import products_in_blocks
from bnresearch.training import accumulation, parallel, step, stream
from bnresearch.training.order import Order
from bnresearch.training.state import State

# What differs from training in the norm that takes one batch's statistics: an
# average that forgets the old value at once is the batch's own.
_OF_ONE_BATCH = {'momentum': 0.0, 'debias': False, 'frozen_statistics': False}
ESTIMATORS = {
  'population': {'running_variance': 'unbiased', 'group_variance': 'within'},
  'pooled': {'running_variance': 'biased', 'group_variance': 'pooled'},
}


def of_one_batch(estimator: str) -> dict[str, Any]:
  """Returns options that make norms leave one batch's own statistics.

  Raises:
    ValueError: there is no such estimator.
  """
  if estimator not in ESTIMATORS:
    raise ValueError(
      f'estimator = {estimator!r}: needs one of {", ".join(ESTIMATORS)}.'
    )
  return _OF_ONE_BATCH | ESTIMATORS[estimator]


def estimate(
  model: nn.Module,
  inputs: step.Inputs,
  state: State,
  batches: Callable[[range, stream.Host], Iterator[stream.Examples]],
  order: Order,
  count: int,
  *,
  estimator: str = 'population',
  microbatches: int = 1,
  group_size: int = 0,
  progress: Callable[[Iterable], Iterable] = iter,
) -> Any:
  """Returns `state.collections` with population statistics.

  They are those of the batches that training would see next, in its parts and
  on all devices.

  Args:
    model: the network, with norms that leave what is `of_one_batch`.
    inputs: makes a training batch ready, see `step.make_train_step`.
    state: its parameters are used, and its collections for what a batch has
      no statistics of.
    batches: makes the training batches at some steps.
    order: theirs.
    count: how many batches.
    estimator: 'population' or 'pooled', see above. A statistic that is no
      mean, variance or covariance is averaged by both.
    microbatches: parts of a batch.
    group_size: examples that share statistics; 0 for all of a part.
    progress: wraps the batches, to show how far it is.
  """
  statistics_of = jax.jit(_statistics_of_parts(model, inputs, microbatches))
  steps = range(int(state.step), int(state.step) + count)
  key = jax.random.key(order.seed)
  average, taken = None, 0
  with (
    parallel.on_devices(
      model,
      examples=order.batch_size // microbatches,
      group_size=group_size,
    ),
    contextlib.closing(batches(steps, parallel.host())) as made,
  ):
    network = parallel.shared((state.params, state.collections))
    for now, batch in zip(progress(steps), made):
      batch, own = parallel.split(batch), step.inputs_key(key, now)
      for new in jax.device_get(statistics_of(*network, batch, own)):
        new = jax.tree.map(lambda x: x.astype(np.float64), new)
        pooled = estimator == 'pooled'
        average = _take_in(average, new, taken, pooled=pooled) if taken else new
        taken += 1
  return _like(state.collections, average)


def _statistics_of_parts(model, inputs, parts):
  """Returns the pure function from a batch to the collections of its parts."""

  def statistics_of(params, collections, batch, key):
    batch = shards.split(batch)
    x_NHWC, _ = inputs(key, batch.images, batch.labels)

    def of_part(x_NHWC):
      _, new = model.apply(
        {'params': params, **collections},
        x_NHWC,
        train=True,
        mutable=[*collections, MEANS],
      )
      means = new.pop(MEANS, {})
      joined = {name: _joined(tree, means) for name, tree in new.items()}
      return jax.tree.map(shards.undivided, joined)

    if parts == 1:
      return [of_part(x_NHWC)]
    new = jax.lax.map(of_part, accumulation.split(x_NHWC, parts))
    return [jax.tree.map(operator.itemgetter(k), new) for k in range(parts)]

  return statistics_of


def _joined(statistics, means):
  """Returns the statistics, with the means of those that have none."""
  if not isinstance(statistics, dict):
    return statistics
  joined = {
    key: _joined(value, means.get(key, {})) for key, value in statistics.items()
  }
  return means | joined if 'var' in statistics else joined


def _take_in(average, new, k, *, pooled):
  """Returns the average of k batches with another one taken into it."""
  if not isinstance(new, dict):
    return average + (new - average) / (k + 1)
  result = {
    key: _take_in(average[key], new[key], k, pooled=pooled) for key in new
  }
  if pooled and 'mean' in new:
    moved = new['mean'] - average['mean']
    between = k / (k + 1) ** 2
    if 'var' in new:
      result['var'] += between * np.square(moved)
    if 'covariance' in new:
      shape = new['covariance'].shape
      result['covariance'] += between * products_in_blocks(moved, shape)[0]
  return result


def _like(old, new):
  """Returns what `old` has of `new`, in its dtype; counters keep theirs."""
  if isinstance(old, dict):
    return {key: _like(old[key], new[key]) for key in old}
  return old if np.issubdtype(old.dtype, np.integer) else new.astype(old.dtype)


def provenance_of_ema(step: int, options: Mapping[str, Any]) -> dict[str, Any]:
  """Returns how the running statistics that training leaves were made.

  Frozen statistics are those from before the first step.

  Args:
    step: of the parameters.
    options: those of the norms.
  """
  told = ('momentum', 'running_variance', 'debias', 'group_size')
  return {
    'estimator': 'ema',
    **{key: options[key] for key in told if key in options},
    'of_step': 0 if options.get('frozen_statistics') else step,
  }


def stale(statistics: dict[str, Any], step: int) -> str:
  """Says that statistics are not of the parameters' step, or nothing.

  Args:
    statistics: their provenance.
    step: of the parameters.
  """
  made = statistics['of_step']
  if made == step:
    return ''
  return (
    f'Stale statistics: {statistics["estimator"]} of step {made:,}, beside '
    f'parameters of step {step:,}.'
  )
