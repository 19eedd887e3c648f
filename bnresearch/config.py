"""Configs: loading and overriding them, with all problems told at once.

A config is a tree of `ml_collections.ConfigDict` whose leaves are numbers,
booleans, strings and tuples; a dotted key such as `norm.name` names a leaf.
`knobs/table.py` says what each leaf may be.
"""

import argparse
import ast
import math
import pathlib
import re
import reprlib
from collections.abc import Iterable
from typing import Any

import numpy as np

from bnresearch import config_code, knobs, lookup, paths
from bnresearch.knobs import Config, leaves
from bnresearch.terminal import ConfigError as ConfigError

# Names and layer patterns, which need no quotes.
_WORD = re.compile(r'[A-Za-z_*?][\w*?/.=:-]*')
# What reading a literal may raise, even one of a million brackets.
_UNREADABLE = (
  ValueError,
  SyntaxError,
  TypeError,
  OverflowError,
  RecursionError,
  MemoryError,
)
_BRIEF = reprlib.Repr()
_BRIEF.maxstring = _BRIEF.maxother = 100

DEFAULT = pathlib.Path(knobs.defaults.__file__)


# Loading and overriding.


def from_flags(
  arguments: Iterable[str], parser: argparse.ArgumentParser
) -> dict[str, str]:
  """Reads `--config.key=value` arguments; refuses all others at once.

  Args:
    arguments: those that a command's parser does not know.
    parser: the command's; the message names its nearest flag.

  Raises:
    ConfigError: one of them is something else.
  """
  values, wrong = {}, []
  flags = [flag for a in parser._actions for flag in a.option_strings]
  for argument in arguments:
    key, equals, value = argument.partition('=')
    if key.startswith('--config.') and equals:
      values[key.removeprefix('--config.')] = value
    elif key.startswith('--config.'):
      wrong.append(f'{argument}: needs a value, {argument}=VALUE.')
    else:
      wrong.append(f'{argument}: no such flag. {lookup.suggest(key, flags)}')
  if wrong:
    raise ConfigError(wrong)
  return values


def load(path_and_arg: str) -> Config:
  """Runs `get_config(arg)` of a file, given as `configs/figure1.py[:arg]`.

  The file may be in any folder, see `config_code`; 'default' is
  `knobs/defaults.py`. NumPy's numbers become Python's.

  Raises:
    ConfigError: there is no such file, or it fails; `get_config` refuses `arg`,
      or returns no config, or one with knobs that do not exist.
    paths.Unusable: it is not on this machine.
  """
  path, _, arg = path_and_arg.partition(':')
  if not paths.is_here(path_and_arg):
    path = path_and_arg
  try:
    file = DEFAULT if path == 'default' else paths.local(path)
    config = config_code.returned(file, arg)
  except config_code.Failed as error:
    raise ConfigError(f'--config={path_and_arg}: {error}') from error
  return _checked(path, config)


def _checked(path, config):
  """Returns a file's config with Python's numbers, or refuses it."""
  if type(config) is not Config:
    raise ConfigError(
      f'--config={path}: get_config returns {_BRIEF.repr(config)}; needs an '
      'ml_collections.ConfigDict, such as default.get_config() returns.'
    )
  try:
    flat = leaves(config)
  except TypeError:
    raise ConfigError(
      f'--config={path}: needs the names of knobs as keys, all of them text.'
    ) from None
  if unknown := [key for key in flat if key not in knobs.KNOBS]:
    raise ConfigError(
      f'--config={path}: {key}: no such knob. {knobs.nearest(key, knobs.KNOBS)}'
      for key in unknown
    )
  return Config(plain(config.to_dict())).lock()


def override(config: Config, values: dict[str, Any]) -> list[str]:
  """Sets leaves by dotted key, in place; returns the problems.

  Args:
    config: gets the values that are right.
    values: {dotted key: value}. A text, as from a command line, is read as the
      leaf's type.
  """
  known, problems = leaves(config), []
  for key, value in values.items():
    if key not in known:
      problems.append(f'{key}: no such key. {knobs.nearest(key, known)}')
      continue
    try:
      value = _as_type_of(known[key], plain(value))
    except _UNREADABLE:
      kind, said = type(known[key]).__name__, _BRIEF.repr(value)
      problems.append(f'{key} = {said}: needs {kind}, like {known[key]!r}.')
      continue
    config.update_from_flattened_dict({key: value})
  return problems


def changed(config: Config, values: dict[str, Any]) -> Config:
  """Returns a copy of a config with other values of leaves, by dotted key."""
  other = config.copy_and_resolve_references()
  override(other, values)
  return other.lock()


def plain(value: Any) -> Any:
  """Returns a value as configs hold it: Python's numbers, tuples for lists."""
  if isinstance(value, np.floating):
    return float(value)
  if isinstance(value, np.generic):
    return value.item()
  if isinstance(value, np.ndarray):
    return plain(value.tolist())
  if isinstance(value, dict):
    return {key: plain(v) for key, v in value.items()}
  if isinstance(value, (tuple, list)):
    return tuple(map(plain, value))
  return value


def _as_type_of(example, value):
  """Converts `value`, or its text, to the type of `example`; or ValueError."""
  if isinstance(example, tuple):
    return _as_tuple_like(example, value)
  if isinstance(example, str):
    if not isinstance(value, str):
      raise TypeError
    return value
  if isinstance(value, str):
    literal = value.capitalize() if isinstance(example, bool) else value
    value = ast.literal_eval(literal)
  kind = type(example)
  number = isinstance(value, (int, float)) and not isinstance(value, bool)
  if isinstance(value, kind) and number != isinstance(example, bool):
    return value
  if isinstance(example, bool) or not number or kind(value) != value:
    raise ValueError
  return kind(value)


def _as_tuple_like(example, value):
  """Reads '(1, 2)', '1, 2', 'name,stem*=none' or one element as a tuple."""
  if isinstance(value, str):
    try:
      value = ast.literal_eval(value)
    except (ValueError, SyntaxError):
      value = tuple(value.split(','))
      if not all(map(_WORD.fullmatch, value)):
        raise
  value = tuple(value) if isinstance(value, (tuple, list)) else (value,)
  if example and isinstance(example[0], float):
    return tuple(_as_type_of(example[0], element) for element in value)
  return value


def tiny(config: Config) -> Config:
  """Returns a config for a dry run: two steps of everything, on few images."""
  devices = config.parallel.devices
  return changed(
    config,
    {
      'dry_run': True,
      'train.steps': 2,
      'train.log_every': 1,
      'train.batch_size': 8,
      'data.train_examples': min(config.data.train_examples, 16),
      'train.microbatches': min(config.train.microbatches, 2),
      'optim.warmup_steps': min(config.optim.warmup_steps, 1),
      # Divides the examples that they share then.
      'parallel.devices': devices and math.gcd(devices, 4),
      'norm.group_size': min(config.norm.group_size, 2),
      'eval.every': 1,
      'eval.batch_size': 8,
      'eval.population_batches': 2,
      'probes.every': 1,
      'probes.steps': (),
      'probes.examples': 8,
      'checkpoint.every': 1,
      'log.mirrors': (),
    },
  )
