"""JSON files of a run: replaced as a whole, read without trust."""

import contextlib
import json
import os
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from bnresearch.terminal import Refused


def read(
  file: pathlib.Path, needs: str, holds: Callable[[Any], bool]
) -> Any | None:
  """Returns what a file holds; None if it is not there, or is cut off.

  A loss of power leaves a file cut off, a beginning or zeros: it can be written
  again. A whole file that holds something else was changed by somebody.

  Args:
    file: to be read.
    needs: what it should hold, in words.
    holds: says whether a value is that.

  Raises:
    Refused: it holds something else, or cannot be read.
  """
  try:
    value = json.loads(file.read_text(encoding='utf-8'))
  except (FileNotFoundError, NotADirectoryError):
    return None
  except UnicodeDecodeError as error:
    why = f'is not UTF-8 ({error.reason} at byte {error.start})'
  except (ValueError, RecursionError):
    return None
  except OSError as error:
    raise Refused(f'{file} cannot be read: {error.strerror}.') from None
  else:
    if holds(value):
      return value
    why = f'holds a {type(value).__name__} that is something else'
  raise Refused(
    f'{file} is damaged: it needs {needs}, and {why}. Restore it from a copy, '
    'or use another --workdir.'
  )


def write(file: pathlib.Path, value: Any) -> None:
  """Writes a value as JSON, see `replace`."""
  replace(file, json.dumps(value, indent=2))


def replace(file: pathlib.Path, content: str | bytes) -> None:
  """Writes a file so that at every moment it is the old or the new one."""
  partial = file.with_suffix('.partial')
  with partial.open('wb') as handle:
    handle.write(content.encode() if isinstance(content, str) else content)
    handle.flush()
    os.fsync(handle.fileno())
  partial.replace(file)


@contextlib.contextmanager
def written_to(path: pathlib.Path) -> Iterator[None]:
  """Turns errors of writing to a directory into Refused."""
  try:
    yield
  except OSError as error:
    where = error.filename or path
    with contextlib.suppress(OSError, KeyError):
      where = f'{where} of user {pathlib.Path(where).owner()}'
    raise Refused(
      f'{path} cannot be written: {error.strerror or error} ({where}). Use '
      'another --workdir, or make it one that you may write.'
    ) from error
