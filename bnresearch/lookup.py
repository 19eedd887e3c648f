"""A file is an entry: what a room holds, and how to find it by name.

A room is a folder of `bnresearch` in which each file is a choice of a config:
`norms/batch.py` is what `config.norm.name = 'batch'` means. Files whose names
begin with an underscore are shared by their room and are no entries.
"""

import dataclasses
import difflib
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


class Unknown(UserError, LookupError):
  """Nothing has this name; the message names the nearest one."""


def names(room: str) -> tuple[str, ...]:
  """Returns the entries of a room, sorted: `names('norms')`."""
  folder = pathlib.Path(__file__).parent / room
  found = pkgutil.iter_modules([str(folder)])
  return tuple(sorted(m.name for m in found if not m.name.startswith('_')))


def find(room: str, name: str) -> ModuleType:
  """Imports and returns the entry `name` of a room.

  Raises:
    Unknown: there is no such file; the message names the nearest one.
  """
  known = names(room)
  if name not in known:
    raise Unknown(f'No {NOUNS[room]} {name!r}. {suggest(name, known)}')
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
