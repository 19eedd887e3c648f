"""The population statistics of a run, and where statistics come from."""

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
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
  on all devices, without dropout.

  Args:
    model: the network, as it is trained.
    inputs: makes a training batch ready, see `step.make_train_step`.
    state: its parameters are used, and its collections for what a batch has
      no statistics of.
    batches: makes the training batches at some steps.
    order: theirs.
    count: how many batches.
    estimator: 'population' or 'pooled', see `statistics/population.py`.
    microbatches: parts of a batch.
    group_size: examples that share statistics; 0 for all of a part.
    progress: wraps the batches, to show how far it is.
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
