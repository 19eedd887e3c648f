"""The best step of a run: chosen by one split, and how good it is on test."""

from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from bnresearch.records import splits
from bnresearch.records.config_file import Config
from bnresearch.records.logbook import Series


class Best(NamedTuple):
  """What was chosen.

  Attributes:
    split: by whose highest accuracy; of equals, the first.
    step: that was chosen.
    accuracy: on the test split, at this step.
  """

  split: str
  step: int
  accuracy: float


def of(config: Config, metrics: Mapping[str, Series]) -> Best | None:
  """Returns the best step of a run, None if there is no evaluation.

  Args:
    config: the run's, which says which split chooses.
    metrics: the run's, as `logbook.read` gives them.
  """
  split = splits.chooses(config)
  chosen, test = (metrics.get(f'{s}/accuracy') for s in (split, 'test'))
  if chosen is None or test is None or np.isnan(chosen.values).all():
    return None
  step = chosen.steps[np.nanargmax(chosen.values)]
  (accuracy,) = test.values[test.steps == step][:1]
  return Best(split, int(step), float(accuracy))
