"""What a launcher does first: find the points that are left, check them."""

import collections
from collections.abc import Mapping, Sequence
from pathlib import Path

from bnresearch import config as configs
from bnresearch import knobs, preflight
from bnresearch.assembly import Parts, assemble
from bnresearch.preflight.images import check_images
from bnresearch.preflight.network import check_network
from bnresearch.runs import disk, run_directory
from bnresearch.sweeps.points import Point
from bnresearch.sweeps.vectorized import traced
from bnresearch.terminal import Console


def states(points: Sequence[Point], workdir: Path) -> dict[str, str]:
  """Returns {name: state} of all points; 'waiting' if one has not begun.

  Raises:
    Refused: a directory was made by another config, or no checkpoint can be
      kept under its path. None was touched.
  """
  for point in points:
    disk.check_path(point.directory(workdir))
    run_directory.check(point.directory(workdir), point.config)
  _check_neighbours(points, workdir)
  return {point.name: state(point.directory(workdir)) for point in points}


def state(path: Path) -> str:
  """Returns the status of a run directory, 'waiting' if there is none."""
  return run_directory.read_status(path).get('status', 'waiting')


def after(error: BaseException, path: Path) -> str:
  """Returns the state of a run that an exception has ended.

  That is no end of the run, whatever its directory says: another process may
  have made what lies there.
  """
  found = state(path)
  if isinstance(error, run_directory.Refused) and found != 'failed':
    return 'refused'
  return 'failed' if found in run_directory.ENDED else found


def announce(points: Sequence[Point], console: Console) -> dict[str, Parts]:
  """Says what the norms of points mean, once all is found to be right.

  Returns {name: the parts of the point}, which share their data sets.

  Raises:
    MissingData, DamagedData: a data set cannot be trained on.
    FileNotFoundError: there is nothing to start from.
    ConfigError: a run would fail, or has a knob in vain; see `check`.
  """
  parts = check(points, preflight.this_machine())
  tell(parts, console)
  return parts


def check(
  points: Sequence[Point], machine: preflight.Machine
) -> dict[str, Parts]:
  """Raises what training would, before a directory is touched.

  Points that would fail alike are looked at once. For what it returns and
  raises, see `announce`.

  Args:
    points: of a sweep.
    machine: where each of them will run.
  """
  parts: dict[str, Parts] = {}
  for config, name in ((p.config, p.name) for p in points):
    like = next((p for p in parts.values() if p.data.is_of(config)), None)
    parts[name] = assemble(config, like)
  resident = {
    data: check_images(parts[point.name])
    for data, point in {_of_data(p.config): p for p in points}.items()
  }
  for point in {_of_network(p.config): p for p in points}.values():
    images = resident[_of_data(point.config)]
    try:
      check_network(parts[point.name], machine, images, point.swept)
    except configs.ConfigError as error:
      where = '' if point.name == '.' else f'{point.name}: '
      raise configs.ConfigError(
        [f'{where}{problem}' for problem in error.problems]
      ) from error
  return parts


def tell(parts: Mapping[str, Parts], console: Console) -> None:
  """Says what the norms of points mean, and which knobs some have in vain."""
  lines, in_vain = {}, collections.Counter()  # a set that keeps the order
  for each in parts.values():
    config, header = each.config, each.network.conventions
    # That two steps are too few for a running average is no news.
    lines |= dict.fromkeys(header[:1] if config.dry_run else header)
    if not config.dry_run:  # which has values of its own
      values = knobs.leaves(config)
      here = knobs.without_effect(config)
      in_vain.update(f'{key} = {values[key]!r}' for key in here)
  lines |= dict.fromkeys(
    f'{knob}: without effect at {count} of {len(parts)} points.'
    for knob, count in in_vain.items()
  )
  for line in lines:
    console.print(line, soft_wrap=True)


def _of_data(config):
  """Returns what decides what is done with the data."""
  groups = config.data, config.augment, config.start
  train = config.train
  return *(g.to_json() for g in groups), train.batch_size, train.scan


def _of_network(config):
  """Returns what decides how a network is made, and applied to a batch.

  Of numbers that only scale something, whether they are set.
  """
  values = knobs.leaves(config)
  own = 'model.', 'norm.', 'objective.', 'parallel.', 'probes.'
  return _of_data(config), *(
    _is_set(key, values) if key in traced.KEYS else values[key]
    for key in values
    if key.startswith(own)
    or key in ('train.microbatches', 'train.dtype', 'train.remat')
  )


def _is_set(key, values):
  return values[key] != knobs.KNOBS[key].default


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
  config = run_directory.find_config(path)
  return config.get('label', '') if config else ''
