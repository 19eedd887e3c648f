"""Names of a package that are imported at first use (PEP 562)."""

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping
from typing import Any


def names(package: str, places: Mapping[str, str]) -> Callable[[str], Any]:
  """Returns the `__getattr__` of a package.

  Args:
    package: its `__name__`.
    places: {name: 'module', or 'module:name inside'} within the package.
  """

  def get(name):
    if name not in places:
      raise AttributeError(f'module {package!r} has no attribute {name!r}')
    module, _, inside = places[name].partition(':')
    found = importlib.import_module(f'{package}.{module}')
    return getattr(found, inside) if inside else found

  return get


def files(package: str, path: Iterable[str]) -> Callable[[str], Any]:
  """Returns the `__getattr__` of a room, whose files are its entries.

  Args:
    package: its `__name__`.
    path: its `__path__`.
  """
  found = [module.name for module in pkgutil.iter_modules(path)]
  return names(package, {n: n for n in found if not n.startswith('_')})
