"""The results of a sweep as one table, for plots made elsewhere."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from bnresearch import knobs, paths
from bnresearch.reports import best, targets
from bnresearch.runs import logbook, provenance, run_directory
from bnresearch.sweeps.points import Point

ENDINGS = ('.csv', '.parquet')
# Metrics that have a best value.
_HAVE_BEST = ('accuracy', 'top5_accuracy', 'loss')
_GROUPS = ('train', 'validation', 'test', 'average')
# Entries of provenance.json that do not fit into a cell.
_LEFT_OUT = ('from_step', 'conventions')


def write(file: Path, rows: Sequence[Mapping[str, Any]]) -> None:
  """Writes rows as CSV or Parquet, by the file's ending, all or nothing.

  Args:
    file: ends in one of `ENDINGS`.
    rows: need not have the same columns; missing values are empty.
  """
  columns = list(dict.fromkeys(key for row in rows for key in row))
  whole = [{column: row.get(column) for column in columns} for row in rows]
  with paths.replacing(file) as partial:
    if file.suffix == '.parquet':
      import pyarrow
      import pyarrow.parquet

      pyarrow.parquet.write_table(pyarrow.Table.from_pylist(whole), partial)
      return
    with partial.open('w', newline='', encoding='utf-8') as handle:
      writer = csv.DictWriter(handle, columns)
      writer.writeheader()
      writer.writerows(whole)


def rows(
  points: Sequence[Point],
  workdir: Path,
  statuses: Mapping[str, str],
  target: targets.Target | None = None,
) -> list[dict[str, Any]]:
  """Returns one row per point, read from its run directory.

  Columns: run, the point's name; the swept knobs by their dotted keys; status,
  step and steps, seconds of training; the split that chose the best step, that
  step and its test accuracy; for each number that training and evaluation log,
  and each scalar of a probe, the last value as final/NAME, and for accuracies
  and losses best/NAME with best_step/NAME, see `best.value`; and the commit,
  versions and device of the run's last session. A point that has not begun has
  only the first few; one whose logbook is not what the run wrote has no
  metrics.

  Args:
    points: of one sweep.
    workdir: of the sweep.
    statuses: {name: status} of the points.
    target: its steps get a column steps_to/METRIC=VALUE, empty if the run does
      not reach it.
  """
  return [
    {
      'run': point.name,
      **_swept(point),
      'status': statuses[point.name],
      **_progress(point.directory(workdir)),
      **_metrics(point, point.directory(workdir), target),
      **made_by(point.directory(workdir)),
    }
    for point in points
  ]


def _swept(point):
  values = knobs.leaves(point.config)
  return {
    key: str(values[key]) if isinstance(values[key], tuple) else values[key]
    for key in point.swept
  }


def _progress(path):
  status = run_directory.read_status(path)
  return {key: status.get(key) for key in ('step', 'steps', 'seconds')}


def _metrics(point, path, target):
  file = path / 'metrics.jsonl'
  if not logbook.is_whole(file, run_directory.read_status(path)):
    return {}  # no number is better than a wrong one
  result, metrics = {}, logbook.read(file)
  if chosen := best.of(path, point.config, metrics):
    result['chosen_by'], result['chosen_step'], accuracy = chosen
    result['chosen/test/accuracy'] = accuracy
  if target:
    steps = targets.steps_to_target(metrics, target)
    result[f'steps_to/{target}'] = steps if np.isfinite(steps) else None
  for name, series in metrics.items():
    group, _, kind = name.partition('/')
    of_run = group in _GROUPS or targets.is_scalar(name)
    if not of_run or series.values.ndim > 1:
      continue  # of the layers of a network
    result[f'final/{name}'] = series.values[-1].item()
    if kind in _HAVE_BEST and (found := best.value(name, series)):
      result[f'best_step/{name}'], result[f'best/{name}'] = found
  return result


def made_by(path: Path) -> dict[str, Any]:
  """Returns the commit, versions and device of a run's last session.

  {} if they are not known.
  """
  *_, last = [{}, *provenance.sessions(path)]
  return {key: value for key, value in last.items() if key not in _LEFT_OUT}
