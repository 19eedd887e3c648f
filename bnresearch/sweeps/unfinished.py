"""What a launcher does first: find the points that are left, check them."""

from collections.abc import Sequence
from pathlib import Path

from bnresearch import build, conventions
from bnresearch.engine import loop
from bnresearch.records import run_directory
from bnresearch.sweeps.points import Point
from bnresearch.terminal import Console


def states(points: Sequence[Point], workdir: Path) -> dict[str, str]:
  """Returns {name: state} of all points; 'waiting' if one has not begun.

  Raises:
    Refused: a directory was made by another config. None was touched.
  """
  for point in points:
    run_directory.check(point.directory(workdir), point.config)
  _check_neighbours(points, workdir)
  return {point.name: state(point.directory(workdir)) for point in points}


def state(path: Path) -> str:
  """Returns the status of a run directory, 'waiting' if there is none."""
  return run_directory.read_status(path).get('status', 'waiting')


def announce(points: Sequence[Point], console: Console) -> None:
  """Says what the norms of points mean, once their data is found to be right.

  Raises:
    MissingData, DamagedData: a data set cannot be trained on.
    FileNotFoundError: there is nothing to start from.
    ConfigError: the images do not suit what they are to go through.
  """
  for point in {_of_data(p.config): p for p in points}.values():
    loop.check(point.config)  # what is wrong with the data is said once
  lines = {}  # a set that keeps the order
  for config in (point.config for point in points):
    options = build.norm_options(config)
    header = conventions.header(config.norm, config.train.steps, options)
    # That two steps are too few for a running average is no news.
    lines |= dict.fromkeys(header[:1] if config.dry_run else header)
  for line in lines:
    console.print(line, soft_wrap=True)


def _of_data(config):
  """Returns what decides what is done with the data."""
  groups = config.data, config.augment, config.start
  return *(group.to_json() for group in groups), config.train.batch_size


def _check_neighbours(points, workdir):
  """Raises Refused if runs live in `workdir` that cannot be of the same study.

  A sweep may grow, by more seeds for instance; in what it does not vary, all
  its runs are alike. Those of a label are alike but for their seed, and those
  of labels that this sweep has not are of a study that shares its runs.
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
  try:
    return run_directory.read_config(path).get('label', '')
  except ValueError:
    return ''
