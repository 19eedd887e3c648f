"""The average of the parameters, with its own statistics.

After each step, `average = decay * average + (1 - decay) * parameters`. It
begins as the initial parameters, which still weigh `decay**t` after t steps.

Averaged parameters make activations that none of the averaged ones made. So
neither the running statistics of training nor an average of these fit them
(Izmailov et al. 2018, 1803.05407, section 3.2): evaluation of the average uses
statistics estimated for it, or the batch's own.
"""

import logging
from collections.abc import Callable
from typing import Any

import jax

from bnresearch.evaluation.evaluate import Evaluator
from bnresearch.training.state import State

STATISTICS = ('population', 'pooled', 'batch')
# Batch renormalization uses training's running statistics while it takes a
# batch's. For the average it becomes batch normalization, so that nothing of
# training's statistics remains.
OF_ITS_NORMS = {'r_max': 1.0, 'd_max': 0.0}


def instead(state: State, statistics: str) -> State:
  """Returns a state with the average as its parameters.

  Its collections are still those of training.

  Args:
    state: a state with an average.
    statistics: the statistics that will normalize it.

  Raises:
    ValueError: there is no average, or the statistics belong to other
      parameters.
  """
  if not jax.tree.leaves(state.average):
    raise ValueError(
      'average: this state has none. Train with train.average above 0.'
    )
  if state.collections and statistics not in STATISTICS:
    raise ValueError(
      f'statistics = {statistics!r}: those of training are not of the averaged '
      f'parameters. Use one of {", ".join(STATISTICS)}.'
    )
  return state.replace(params=state.average, average={})


def evaluate(
  state: State,
  evaluator: Evaluator,
  estimate: Callable[[State], Any] | None,
) -> dict[str, float]:
  """Returns 'average/loss', 'average/accuracy' and so on, for the log.

  Returns {}, with a warning, if population statistics are undefined.

  Args:
    state: a state with an average.
    evaluator: the evaluator of a split.
    estimate: estimates the collections of a state with averaged parameters,
      which the evaluator then uses; None if it uses the batch's statistics.
  """
  averaged = instead(state, 'population' if estimate else 'batch')
  collections = averaged.collections
  if collections and estimate:
    try:
      collections = estimate(averaged)
    except ValueError as error:  # one value has no unbiased variance
      logging.warning('The averaged parameters are not evaluated: %s', error)
      return {}
  means = evaluator.means(evaluator.sums(averaged.params, collections))
  del means['examples']
  return {f'average/{name}': value for name, value in means.items()}
