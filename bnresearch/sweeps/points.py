"""The points of a sweep: one complete config and one directory name each."""

import pathlib
from typing import NamedTuple

from bnresearch import config as configs
from bnresearch import rules


class Point(NamedTuple):
  """A run of a sweep.

  Attributes:
    name: its overrides, as 'init_std=0.01,norm=none,seed=0', or its label and
      its seed, as 'bn_x5,seed=0', which is its directory too; '.' for the only
      point of a config without sweep.
    config: complete, without sweep.
    swept: the dotted keys in which the points of the sweep differ.
  """

  name: str
  config: configs.Config
  swept: tuple[str, ...] = ()

  def directory(self, workdir: pathlib.Path) -> pathlib.Path:
    """Returns where in `workdir` the run lives."""
    return workdir / self.name


def points(config: configs.Config, values: dict[str, str]) -> list[Point]:
  """Returns all points of a config under overrides from a command line.

  Args:
    config: left as it is.
    values: {dotted key: text}, see `config.override`.

  Raises:
    ConfigError: lists every problem of every point.
  """
  base = config.copy_and_resolve_references()
  found = configs.override(base, values)
  sweep = rules.RULES['sweep']
  if not sweep.holds(base.sweep):
    raise configs.ConfigError([*found, f'sweep: needs {sweep.needs}.'])
  swept = {key for overrides in base.sweep for key in overrides}
  found += [
    f'{key}: this config sweeps it, an override would be without effect. '
    "Choose one point by --point, or drop the sweep by --config.sweep='()'."
    for key in sorted(swept & values.keys())
  ]
  short = _short(sorted(swept))
  result = []
  for overrides in base.sweep or ({},):
    point = base.copy_and_resolve_references()
    found += configs.override(point, overrides | {'sweep': ()})
    found += rules.problems(point)
    name = _name(overrides, short)
    result.append(Point(name or '.', point.lock(), tuple(sorted(swept))))
  names = [point.name for point in result]
  found += [
    f'sweep: {name!r} stands in it twice.'
    for name in sorted(set(names))
    if names.count(name) > 1
  ]
  if found:
    raise configs.ConfigError(found)
  return result


def _name(overrides, short):
  label = overrides.get('label')
  named = [key for key in overrides if key == 'seed' or not label]
  values = [f'{short[key]}={overrides[key]}' for key in named]
  return ','.join([str(label), *values] if label else values)


def _short(keys):
  """Returns {key: short form}: 'norm' for norm.name, 'init_std' likewise."""
  short = {key: key.removesuffix('.name').split('.')[-1] for key in keys}
  unique = len(set(short.values())) == len(keys)
  return short if unique else {key: key for key in keys}
