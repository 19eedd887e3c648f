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
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from bnresearch import build
from bnresearch.data import Source
from bnresearch.knobs.tree import Config
from bnresearch.statistics import shards
from bnresearch.statistics.groups import MEANS
from bnresearch.statistics.moments import products_in_blocks
from bnresearch.training import accumulation, parallel, stream
from bnresearch.training.state import State
from bnresearch.training.step import inputs_key

# What differs from training in the norm that takes one batch's statistics: an
# average that forgets the old value at once is the batch's own.
_OF_ONE_BATCH = {'momentum': 0.0, 'debias': False, 'frozen_statistics': False}
ESTIMATORS = {
  'population': {'running_variance': 'unbiased', 'group_variance': 'within'},
  'pooled': {'running_variance': 'biased', 'group_variance': 'pooled'},
}


def estimate(
  config: Config,
  state: State,
  source: Source,
  estimator: str = 'population',
  progress: Callable[[Iterable], Iterable] = iter,
  **norm_changed: Any,
) -> Any:
  """Returns `state.collections` with population statistics.

  They are those of `config.eval.population_batches` batches of
  `config.train.batch_size`, the ones that training would see next, in its
  parts and on all devices.

  Args:
    config: the run's.
    state: its parameters are used, and its collections for what a batch has
      no statistics of.
    source: the training split.
    estimator: 'population' or 'pooled', see above. A statistic that is no
      mean, variance or covariance is averaged by both.
    progress: wraps the batches, to show how far it is.
    **norm_changed: options that differ from `config.norm`.
  """
  if estimator not in ESTIMATORS:
    raise ValueError(
      f'estimator = {estimator!r}: needs one of {", ".join(ESTIMATORS)}.'
    )
  classes = len(source.class_names)
  changed = norm_changed | _OF_ONE_BATCH | ESTIMATORS[estimator]
  model = build.model(config, classes, **changed)
  parts = config.train.microbatches
  statistics_of = jax.jit(
    _statistics_of_parts(model, build.inputs(config, source), parts)
  )
  first, count = int(state.step), config.eval.population_batches
  steps = range(first, first + count)
  key = jax.random.key(config.seed)
  average, taken = None, 0
  with (
    parallel.on_devices(
      model,
      examples=config.train.batch_size // parts,
      group_size=config.norm.group_size,
    ),
    contextlib.closing(
      stream.training(config, source, steps, parallel.host())
    ) as batches,
  ):
    network = parallel.shared((state.params, state.collections))
    for step, batch in zip(progress(steps), batches):
      batch, own = parallel.split(batch), inputs_key(key, step)
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


def provenance(config: Config, step: int, estimator: str) -> dict[str, Any]:
  """Returns how the statistics of the parameters at `step` are estimated."""
  return {
    'estimator': estimator,
    'batches': config.eval.population_batches,
    'batch_size': config.train.batch_size,
    'group_size': config.norm.group_size,
    'split': 'train',
    'of_step': step,
  }


def provenance_of_ema(config: Config, step: int) -> dict[str, Any]:
  """Returns how the running statistics that training leaves were made.

  Frozen statistics are those from before the first step.
  """
  options = build.norm_options(config)
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
