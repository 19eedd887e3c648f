"""How far the points of a sweep are, as their run directories say."""

from collections.abc import Sequence
from pathlib import Path

from bnresearch.runs import disk, run_directory
from bnresearch.sweeps.points import Point


def of_points(points: Sequence[Point], workdir: Path) -> dict[str, str]:
  """Returns {name: status} of all points; 'waiting' if one has not begun.

  Raises:
    Refused: a directory was made by another config, or no checkpoint can be
      kept under its path. None was touched.
  """
  for point in points:
    disk.check_path(point.directory(workdir))
    run_directory.check(point.directory(workdir), point.config)
  _check_neighbours(points, workdir)
  return {point.name: of_run(point.directory(workdir)) for point in points}


def of_run(path: Path) -> str:
  """Returns the status of a run directory, 'waiting' if there is none."""
  return run_directory.read_status(path).get('status', 'waiting')


def after(error: BaseException, path: Path) -> str:
  """Returns the status of a run that an exception has ended.

  The run itself has not ended, whatever its directory says: another process may
  have written that.
  """
  found = of_run(path)
  if isinstance(error, run_directory.Refused) and found != 'failed':
    return 'refused'
  return 'failed' if found in run_directory.ENDED else found


def _check_neighbours(points, workdir):
  """Raises Refused if `workdir` has runs that cannot be of the same study.

  A sweep may grow, by more seeds for instance; all its runs are alike in what
  it does not vary. Runs of one label differ only in their seed. Runs of labels
  that this sweep lacks belong to a study that shares its directory.
  """
  if points[0].name != '.' and (workdir / 'config.json').exists():
    raise run_directory.Refused(
      f'{workdir} is a run, not the directory of a sweep. Use another '
      '--workdir.'
    )
  by_label = {point.config.label: point for point in points}
  for file in sorted(workdir.glob('*/config.json')):
    label = _label(file.parent)
    if not label or '' in by_label:
      point = points[0]
      run_directory.check(file.parent, point.config, varied=point.swept)
    elif label in by_label:
      config = by_label[label].config
      run_directory.check(file.parent, config, varied=['seed'])


def _label(path):
  """Returns the label of a run; '' if it has none, or its config is cut off."""
  config = run_directory.find_config(path)
  return config.get('label', '') if config else ''
