"""The points of a sweep: one complete config and one directory name each."""

import hashlib
import pathlib
from typing import NamedTuple

from bnresearch import config as configs
from bnresearch import knobs
from bnresearch.runs import run_directory

# These separate folders, or belong to file patterns: a search for files in a
# folder of such a name finds none, or those of a neighbor.
_UNSAFE = '/\\[]*?'
_LONGEST = 255  # bytes of a name, in every common file system
_KEPT = 200  # bytes that are kept of a longer name


class Point(NamedTuple):
  """A config of a sweep, with a name. Its directory holds the run.

  Attributes:
    name: its overrides, as 'init_std=0.01,norm=none,seed=0', or its label and
      its seed, as 'bn_x5,seed=0'; also names its directory, see
      `directory_name`. '.' for the only point of a config without sweep.
    config: complete, without sweep.
    swept: the dotted keys in which the points of the sweep differ.
  """

  name: str
  config: configs.Config
  swept: tuple[str, ...] = ()

  def directory(self, workdir: pathlib.Path) -> pathlib.Path:
    """Returns where in `workdir` the point's run lives."""
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
  sweep = knobs.KNOBS['sweep'].rule
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
    name = _name(overrides, short) if len(base.sweep) > 1 or overrides else '.'
    result.append(Point(name, point.lock(), tuple(sorted(swept))))
  found += knobs.of_all([point.config for point in result])
  if base.label and 'label' not in swept:
    found.append(
      f'label = {base.label!r}: without effect, as it is what a point of a '
      "sweep is called. Leave it at '', or set it in the sweep."
    )
  names = [point.name for point in result]
  found += [
    f'sweep: {name!r} stands in it twice.'
    for name in sorted(set(names))
    if names.count(name) > 1
  ]
  if found:
    raise configs.ConfigError(found)
  return result


def directory_name(text: str) -> str:
  """Returns a directory name that says `text`, for any text.

  A safe text is its own name. Otherwise '_' replaces each unsafe character, a
  long text is cut off, and a digest of it follows, so no two texts share a
  name.
  """
  safe = ''.join(
    c if c.isprintable() and c not in _UNSAFE else '_' for c in text
  )
  if safe.startswith('.') or safe in ('', run_directory.SLURM):
    safe = f'_{safe}'
  if safe == text and len(safe.encode()) <= _LONGEST:
    return text
  digest = hashlib.blake2b(
    text.encode(errors='surrogatepass'), digest_size=6
  ).hexdigest()
  return f'{safe.encode()[:_KEPT].decode(errors="ignore")}~{digest}'


def _name(overrides, short):
  label = overrides.get('label')
  named = [key for key in overrides if key == 'seed' or not label]
  values = [f'{short[key]}={configs.plain(overrides[key])}' for key in named]
  text = ','.join([str(label), *values] if label else values)
  return directory_name(text or 'defaults')


def _short(keys):
  """Returns {key: short form}: 'norm' for norm.name, 'init_std' likewise."""
  short = {key: key.removesuffix('.name').split('.')[-1] for key in keys}
  unique = len(set(short.values())) == len(keys)
  return short if unique else {key: key for key in keys}
