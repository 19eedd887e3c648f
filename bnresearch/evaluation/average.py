"""The average of the parameters, and statistics of its own.

`average = decay * average + (1 - decay) * parameters`, after each step, begins
as the initial parameters: these still weigh `decay**t` after t steps.

Averaged parameters make other activations than any of those that were averaged
did. So the running statistics of training are not theirs, nor is an average of
those (Izmailov et al. 2018, 1803.05407, section 3.2): the average is evaluated
by statistics that are estimated for it, or by the batch's own.
"""

import logging
from collections.abc import Callable
from typing import Any

import jax

from bnresearch.evaluation.evaluate import Evaluator
from bnresearch.training.state import State

STATISTICS = ('population', 'pooled', 'batch')
# Batch renormalization looks at the running statistics of training while it
# takes those of a batch: for those of the average, it is batch normalization,
# so that nothing of the former is left.
OF_ITS_NORMS = {'r_max': 1.0, 'd_max': 0.0}


def instead(state: State, statistics: str) -> State:
  """Returns a state with the average as its parameters.

  Its collections are still those of training.

  Args:
    state: one that has an average.
    statistics: that are to normalize it.

  Raises:
    ValueError: there is no average, or the statistics would be of others.
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

  {} with a warning where population statistics are undefined.

  Args:
    state: one that has an average.
    evaluator: of a split.
    estimate: makes the collections of a state with averaged parameters, by
      which the evaluator then normalizes; None if it does by the batch's.
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
