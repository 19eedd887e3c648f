"""Whether points can be trained, found out before any of them begins."""

from collections.abc import Sequence

from bnresearch import config as configs
from bnresearch import knobs, preflight
from bnresearch.assembly import Parts, assemble
from bnresearch.preflight.images import check_images
from bnresearch.preflight.mirrors import check_mirrors
from bnresearch.preflight.network import check_network
from bnresearch.sweeps.points import Point
from bnresearch.sweeps.vectorized import traced


def check_points(
  points: Sequence[Point], machine: preflight.Machine | None = None
) -> dict[str, Parts]:
  """Raises what training would raise, before a directory is touched.

  It checks one of the points that would fail alike.

  Args:
    points: of a sweep.
    machine: where each of them will run; None for this one.

  Returns:
    {name: the parts of the point}, which share their data sets.

  Raises:
    MissingData, DamagedData: a data set cannot be trained on.
    FileNotFoundError: there is nothing to start from.
    ConfigError: a run would fail, or has a knob without effect.
  """
  machine = machine or preflight.this_machine()
  parts: dict[str, Parts] = {}
  for config, name in ((p.config, p.name) for p in points):
    like = next((p for p in parts.values() if p.data.is_of(config)), None)
    parts[name] = assemble(config, like)
    check_mirrors(config)
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
        f'{where}{problem}' for problem in error.problems
      ) from error
  return parts


def _of_data(config):
  """Returns all knobs that decide what is done with the data."""
  groups = config.data, config.augment, config.start
  train = config.train
  return *(g.to_json() for g in groups), train.batch_size, train.scan


def _of_network(config):
  """Returns all that decides how a network is made and applied to a batch.

  Of numbers that only scale something, it says only whether they are set.
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
