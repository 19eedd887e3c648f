"""Population statistics that a run keeps next to its checkpoints."""

import contextlib
import logging
import pathlib
from typing import Any

import jax
import numpy as np

from bnresearch.evaluation import population
from bnresearch.knobs import Config
from bnresearch.runs import config_file, provenance
from bnresearch.runs.checkpoint import Checkpoints, RestoreError
from bnresearch.training.state import State


def save(
  folder: pathlib.Path, state: State, config: Config, estimator: str
) -> None:
  """Saves a state with population statistics, without the optimizer's state.

  Args:
    folder: the folder to save it in.
    state: a state with these statistics in it.
    config: the run's config.
    estimator: 'population' or 'pooled'.
  """
  meta = {
    'config': config_file.digest(config),
    'provenance': provenance.collect(),
    'statistics': {
      'estimator': estimator,
      'batches': config.eval.population_batches,
      'batch_size': config.train.batch_size,
      'group_size': config.norm.group_size,
      'split': 'train',
      'of_step': int(state.step),
    },
  }
  with contextlib.closing(Checkpoints(folder, config.checkpoint.keep)) as kept:
    kept.save(state.replace(opt_state=(), average={}), None, meta)


def statistics(
  folder: pathlib.Path, state: State, template: State, estimator: str
) -> Any:
  """Returns the statistics saved for a state; None if there are none to use.

  Warns if the saved ones are stale or damaged.

  Args:
    folder: the folder of saved statistics, which may not exist.
    state: a state of the run; the statistics must match its step and
      parameters.
    template: shapes of the run's states.
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
