"""The best step of a run: chosen by one split, and how good it is on test."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bnresearch.data import choosing_split
from bnresearch.knobs import Config
from bnresearch.runs import logbook


class Best(NamedTuple):
  """The chosen step: its checkpoint is what `--step=best` restores.

  Attributes:
    split: whose highest accuracy chose it.
    step: the chosen one.
    accuracy: on the test split, at this step.
  """

  split: str
  step: int
  accuracy: float


def of(
  path: Path, config: Config, metrics: Mapping[str, logbook.Series]
) -> Best | None:
  """Returns the best step of a run, None if there is no evaluation.

  If there are any checkpoints, only rows at their steps count: evaluations may
  come more often.

  Args:
    path: of the run.
    config: the run's, which says which split chooses.
    metrics: the run's, as `logbook.read` gives them.
  """
  split = choosing_split(config.data.held_out)
  chosen, test = (metrics.get(f'{s}/accuracy') for s in (split, 'test'))
  if chosen is None or test is None:
    return None
  accuracies = dict(zip(test.steps.tolist(), test.values.tolist()))
  kept = {folder.name for folder in (path / 'checkpoints').glob('*')}
  steps = [int(chosen.steps[k]) for k in logbook.ranked(chosen.values)]
  steps = [step for step in steps if str(step) in kept] or steps
  known = [step for step in steps if step in accuracies]
  return Best(split, known[0], accuracies[known[0]]) if known else None


def value(name: str, series: logbook.Series) -> tuple[int, float] | None:
  """Returns the step and the value of a metric's best row, None if all are NaN.

  Args:
    name: of the metric; lower is better for a loss.
    series: its rows, values (T,).
  """
  steps, values = series
  rows = logbook.ranked(-values if name.endswith('loss') else values)
  return (steps[rows[0]].item(), values[rows[0]].item()) if rows else None
