"""Population statistics that a run keeps beside its checkpoints."""

import logging
import pathlib
from typing import Any

import jax
import numpy as np

from bnresearch.evaluation import population
from bnresearch.runs.checkpoint import Checkpoints, RestoreError
from bnresearch.training.state import State


def statistics(
  folder: pathlib.Path, state: State, template: State, estimator: str
) -> Any:
  """Returns what was saved for a state; None if there is nothing to use.

  A warning says so where there are others, or damaged ones.

  Args:
    folder: where these are, if there are any.
    state: of the run; those of its step and its parameters are taken.
    template: of the run's states.
    estimator: 'population' or 'pooled'.
  """
  step = int(state.step)
  if not folder.exists():
    return None
  try:
    saved = Checkpoints(folder, keep=None)
    if step in saved.steps or not saved.steps:
      template = template.replace(opt_state=(), average={})
      kept = saved.restore(template, step)
      same = jax.tree.map(np.array_equal, kept.params, state.params)
      if jax.tree.all(same):
        return kept.collections
      why = f'Stale statistics: {estimator} of other parameters.'
      logging.warning('%s They are not used, but estimated anew.', why)
      return None
    for other in saved.steps[-1:]:
      why = population.stale(saved.meta(other)['statistics'], step)
      logging.warning('%s They are not used, but estimated anew.', why)
  except (RestoreError, ValueError) as error:
    logging.warning('%s Its statistics are estimated anew.', error)
  return None
