"""The best row of a run: the one that `--step=best` restores."""

from pathlib import Path

from bnresearch.records import logbook

_CHOOSES = 'test/accuracy'  # by which checkpoints are


def best(
  path: Path, name: str, series: logbook.Series
) -> tuple[int, float] | None:
  """Returns the step and the value of a metric's best row, None if all are NaN.

  Of the accuracy by which checkpoints are chosen, rows count at whose step one
  was kept, if there are any: evaluations may come more often.

  Args:
    path: of the run.
    name: of the metric; the lower a loss, the better.
    series: its rows, values (T,).
  """
  steps, values = series
  rows = logbook.ranked(-values if name.endswith('loss') else values)
  if name == _CHOOSES:
    kept = {folder.name for folder in (path / 'checkpoints').glob('*')}
    rows = [k for k in rows if str(steps[k]) in kept] or rows
  return (steps[rows[0]].item(), values[rows[0]].item()) if rows else None
