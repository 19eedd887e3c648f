"""The population statistics of a run, and the provenance of statistics."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import flax.linen as nn
import jax

from bnresearch.statistics.population import population_statistics
from bnresearch.training import accumulation, parallel, step, stream
from bnresearch.training.order import Order
from bnresearch.training.state import State


def estimate(
  model: nn.Module,
  inputs: step.Inputs,
  state: State,
  batches: Callable[[range, stream.Host], stream.Batches],
  order: Order,
  count: int,
  *,
  estimator: str = 'population',
  microbatches: int = 1,
  group_size: int = 0,
  progress: Callable[[Iterable], Iterable] = iter,
) -> Any:
  """Returns `state.collections` with population statistics.

  Estimates from the next batches that training would see, in the same
  microbatches and on all devices, without dropout.

  Args:
    model: the network, as it is trained.
    inputs: prepares a training batch, see `step.make_train_step`.
    state: provides the parameters, and the collections that batches do not
      estimate.
    batches: makes the training batches of given steps.
    order: the order of the training batches.
    count: number of batches.
    estimator: 'population' or 'pooled', see `statistics/population.py`.
    microbatches: number of parts of a batch.
    group_size: examples that share statistics; 0 for a whole part.
    progress: wraps the batches, to show progress.
  """

  @jax.jit
  def parts(batch, key):
    x_NHWC, _ = inputs(key, *batch)
    return [*accumulation.split(x_NHWC, microbatches)]

  def made():
    key = jax.random.key(order.seed)
    steps = range(int(state.step), int(state.step) + count)
    with contextlib.closing(batches(steps, parallel.host())) as found:
      for now, batch in zip(progress(steps), found):
        yield from parts(parallel.split(batch), step.inputs_key(key, now))

  with parallel.on_devices(
    model, examples=order.batch_size // microbatches, group_size=group_size
  ):
    return population_statistics(
      functools.partial(model.apply, train=True),
      parallel.shared({'params': state.params, **state.collections}),
      made(),
      estimator=estimator,
    )


def provenance_of_ema(step: int, options: Mapping[str, Any]) -> dict[str, Any]:
  """Returns how training made its running statistics.

  Frozen statistics date from before the first step.

  Args:
    step: step of the parameters.
    options: options of the norms.
  """
  told = ('momentum', 'running_variance', 'debias', 'group_size')
  return {
    'estimator': 'ema',
    **{key: options[key] for key in told if key in options},
    'of_step': 0 if options.get('frozen_statistics') else step,
  }


def stale(statistics: dict[str, Any], step: int) -> str:
  """Returns a warning if statistics are not of the parameters' step, or ''.

  Args:
    statistics: their provenance.
    step: step of the parameters.
  """
  made = statistics['of_step']
  if made == step:
    return ''
  return (
    f'Stale statistics: {statistics["estimator"]} of step {made:,}, beside '
    f'parameters of step {step:,}.'
  )
