"""A config file as code: run from any folder, its errors told with their lines.

It may import what lies beside it or beside its package, and this checkout's
`configs`.
"""

import contextlib
import importlib.util
import inspect
import pathlib
import re
import sys
import traceback
from typing import Any

from bnresearch import lookup

# The folder of this code: the checkout, or where pip installs.
_CHECKOUT = pathlib.Path(__file__).parents[1]
_NOT_INSTALLED = (
  'The folders configs/, experiments/ and benchmarks/ are in a clone of '
  "bnresearch, and pip installs none: put the clone's path into PYTHONPATH. "
  'Without a clone, --config=default has every knob at its default, and a file '
  'of your own begins with `from bnresearch.knobs import default_config`.'
)


class Failed(ValueError):
  """A config file cannot be run; says why, and on which line."""


def returned(file: pathlib.Path, arg: str) -> Any:
  """Returns what `get_config(arg)` of a file returns.

  Raises:
    Failed: there is no such file, it is not Python, it has no
      `get_config(arg)`, or its code raises.
  """
  if problem := _unfit(file):
    raise Failed(problem)
  with _importable(file), _told(file):
    spec = importlib.util.spec_from_file_location(f'config_{file.stem}', file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    get_config = getattr(module, 'get_config', None)
    if not callable(get_config):
      raise Failed('has no function get_config(arg).')
    takes = inspect.signature(get_config)
    try:
      takes.bind(arg)
    except TypeError:
      raise Failed(
        f'its get_config{takes} needs one argument, the text after the colon: '
        'get_config(arg).'
      ) from None
    return get_config(arg)


def _unfit(file):
  """Says why a file cannot be a config; '' if it may be one."""
  if file.is_dir():
    return 'is a folder; needs a Python file.'
  if not file.is_file():
    folder = pathlib.Path('configs')
    if not folder.is_dir():
      folder = _CHECKOUT / 'configs'
    nearby = sorted(map(str, folder.glob('[!_]*.py')))
    hint = lookup.suggest(str(file), nearby) if nearby else _NOT_INSTALLED
    return f'no such file. {hint}'
  if file.name == 'config.json':
    return (
      'is the record of a run, which --mode=eval '
      f'--workdir={file.parent} evaluates. To train it, give the Python file '
      'that made it.'
    )
  if file.suffix != '.py':
    return 'needs a Python file, whose name ends in .py.'
  return ''


@contextlib.contextmanager
def _importable(file):
  folder = file.absolute().parent
  while (folder / '__init__.py').exists():
    folder = folder.parent
  before = list(sys.path)
  sys.path.insert(0, str(folder))
  if (_CHECKOUT / 'configs' / 'default.py').is_file():
    sys.path.append(str(_CHECKOUT))
  try:
    yield
  finally:
    sys.path[:] = before


@contextlib.contextmanager
def _told(file):
  """Turns whatever the code of a config raises into `Failed`."""
  try:
    yield
  except Failed:
    raise
  except SyntaxError as error:
    where = f'{error.filename}, line {error.lineno}'
    raise Failed(f'{where}: {type(error).__name__}: {error.msg}.') from error
  except Exception as error:
    raise Failed(_message(error, file)) from error


def _message(error, file):
  frames = traceback.extract_tb(error.__traceback__)
  if type(error) is ValueError and (frames[-1].line or '').startswith('raise '):
    return str(error)  # a refusal, such as of the argument
  here = str(file.absolute())
  inside = [frame for frame in frames if frame.filename == here]
  where = f'{file}, line {inside[-1].lineno}' if inside else str(file)
  # ml_collections lists all knobs between the unknown and the nearest one.
  listed = r"(?s) Other fields present: .*?(?=Did you mean|'?$)"
  text = re.sub(listed, ' ', str(error))
  hint = ''
  if isinstance(error, ModuleNotFoundError) and error.name == 'configs':
    hint = f'. {_NOT_INSTALLED}'
  return f'{where}: {type(error).__name__}: {text}{hint}'
