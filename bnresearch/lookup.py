"""A file is an entry: what a room holds, and how to find it by name.

A room is a folder of `bnresearch` in which each file is a choice of a config:
`norms/batch.py` is what `config.norm.name = 'batch'` means. Files whose names
begin with an underscore are shared by their room and are no entries.
"""

import dataclasses
import difflib
import functools
import importlib
import inspect
import pathlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from types import ModuleType
from typing import Any

from bnresearch.terminal import UserError

NOUNS = {
  'norms': 'norm',
  'models': 'model',
  'data': 'data set',
  'probes': 'probe',
  'mirrors': 'mirror',
  'pretrained': 'pretrained weights',
}
_ADDED: dict[tuple[str, str], ModuleType] = {}  # without a file, see `add`


class Unknown(UserError, LookupError):
  """Nothing has this name; the message names the nearest one."""


def names(room: str) -> tuple[str, ...]:
  """Returns the entries of a room, sorted: `names('norms')`."""
  found = {file for file in _files(room) if not file.startswith('_')}
  added = {name for where, name in _ADDED if where == room}
  return tuple(sorted(found | added))


def add(room: str, name: str, **contents: Any) -> ModuleType:
  """Adds an entry that has no file, as from a notebook: `Norm=MyNorm`.

  It is known in this process only: in others, such as those of a sweep, and to
  whoever opens a run later, it must be added again. The same name again
  replaces it.

  Args:
    room: such as 'norms'.
    name: that configs will use.
    **contents: what the file would define.

  Returns:
    The module in place of the file.

  Raises:
    ValueError: there is no such room, the name is that of a file, or no name
      for one.
  """
  if room not in NOUNS:
    raise ValueError(f'room = {room!r}: {suggest(room, NOUNS)}')
  if not name.isidentifier() or name.startswith('_'):
    raise ValueError(
      f'name = {name!r}: needs letters, digits and _, and a letter first.'
    )
  if name in _files(room):
    raise ValueError(
      f'name = {name!r}: is a file of bnresearch/{room}. Choose another.'
    )
  module = ModuleType(f'bnresearch.{room}.{name}')
  vars(module).update(contents)
  _ADDED[room, name] = module
  return module


@functools.cache
def _files(room):
  folder = pathlib.Path(__file__).parent / room
  return {module.name for module in pkgutil.iter_modules([str(folder)])}


def find(room: str, name: str) -> ModuleType:
  """Imports and returns the entry `name` of a room.

  Raises:
    Unknown: there is no such file; the message names the nearest one.
  """
  known = names(room)
  if name not in known:
    raise Unknown(f'No {NOUNS[room]} {name!r}. {suggest(name, known)}')
  if added := _ADDED.get((room, name)):
    return added
  return importlib.import_module(f'bnresearch.{room}.{name}')


def picked(cls: type, options: dict[str, Any]) -> dict[str, Any]:
  """Returns the options that are fields of a dataclass."""
  own = {field.name for field in dataclasses.fields(cls)} - {'name', 'parent'}
  return {key: value for key, value in options.items() if key in own}


def keywords(function: Callable, options: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the options that are keyword-only arguments of a function."""
  parameters = inspect.signature(function).parameters.values()
  own = {p.name for p in parameters if p.kind is p.KEYWORD_ONLY}
  return {key: value for key, value in options.items() if key in own}


def suggest(word: str, known: Iterable[str]) -> str:
  """Names the nearest known word, then all of them."""
  known = list(known)
  near = difflib.get_close_matches(word, known, n=1)
  hint = f'Did you mean {near[0]!r}? ' if near else ''
  return f'{hint}Known: {", ".join(known)}.'
