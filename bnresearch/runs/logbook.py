"""The logbook: a run's numbers, one JSON row per line, in the order of steps.

Nothing in it depends on the clock: a run that was killed and continued has,
byte for byte, the logbook of one that never stopped. Numbers that JSON has no
word for are the strings 'NaN', 'Infinity' and '-Infinity'.
"""

import hashlib
import json
import logging
import os
import pathlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import orjson

from bnresearch.runs import json_file

_OPTIONS = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
_NO_NUMBERS = ('NaN', 'Infinity', '-Infinity')


class Series(NamedTuple):
  """One metric over a run: `steps` (T,) and `values` (T, ...)."""

  steps: np.ndarray
  values: np.ndarray


class Mark(NamedTuple):
  """The rows up to some moment: `size` bytes, and a digest of them.

  The digest is '' if it was not noted, as in older runs.
  """

  size: int
  digest: str = ''


class Logbook:
  """Appends rows to a file; without `writes` it changes nothing.

  Attributes:
    file: where the rows are.
  """

  def __init__(self, file: pathlib.Path, *, writes: bool = True):
    self.file, self._writes = file, writes

  def keep_until(
    self, step: int, noting: Callable[[Mark], Any] = lambda mark: None
  ) -> None:
    """Drops the rows after `step`, and lines that cannot be read.

    `noting` gets the mark of what is kept, before the rest is dropped.
    """
    if not self._writes:
      return
    kept = b''.join(
      line for _, line, row in _rows(self.file) if row and row['step'] <= step
    )
    noting(_mark(kept))
    if self.file.exists():
      json_file.replace(self.file, kept)

  @property
  def mark(self) -> Mark:
    """The mark of its complete rows."""
    text = self.file.read_bytes() if self.file.exists() else b''
    return _mark(text[: text.rfind(b'\n') + 1])

  def has(self, mark: Mark) -> bool:
    """Says whether it begins with the rows that `mark` was made of."""
    return _begins_with(self.file, mark)

  def steps(self) -> dict[str, set[int]]:
    """Returns {group: steps} of its rows; 'test/loss' is in group 'test'."""
    found: dict[str, set[int]] = {}
    for _, _, row in _rows(self.file):
      for name in row or ():
        if name != 'step':
          found.setdefault(name.partition('/')[0], set()).add(row['step'])
    return found

  def copy_aside(self) -> pathlib.Path | None:
    """Copies the file, if there is one; returns metrics.damaged, the copy."""
    if not self.file.exists():
      return None
    aside = self.file.with_suffix('.damaged')
    aside.write_bytes(self.file.read_bytes())
    return aside

  def write(self, step: int, row: dict[str, Any]) -> None:
    """Appends one row; arrays become nested lists, see `plain`."""
    if not self._writes:
      return
    numbers = {name: _encodable(value) for name, value in row.items()}
    with self.file.open('ab') as file:
      file.write(orjson.dumps({'step': step, **numbers}, option=_OPTIONS))

  def sync(self) -> None:
    """Waits until the disk has all rows."""
    if not self._writes:
      return
    with self.file.open('a') as file:
      os.fsync(file.fileno())


def rows(
  file: pathlib.Path,
) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
  """Yields the step and the numbers of each row that can be read."""
  for _, _, row in _rows(file):
    if arrays := _arrays(row):
      yield arrays.pop('step').item(), arrays


def read(file: pathlib.Path) -> dict[str, Series]:
  """Returns {name: Series} of all rows of a logbook that can be read.

  A warning names complete lines that cannot be read.
  """
  rows: dict[str, tuple[list, list]] = {}
  unreadable = []
  for number, _, row in _rows(file):
    arrays = _arrays(row)
    if not arrays or any(
      name in rows and rows[name][1][0].shape != array.shape
      for name, array in arrays.items()
    ):
      unreadable.append(number)
      continue
    step = arrays.pop('step').item()
    for name, array in arrays.items():
      steps, values = rows.setdefault(name, ([], []))
      steps.append(step)
      values.append(array)
  if unreadable:
    numbers = ', '.join(map(str, unreadable[:10]))
    more = f' and {len(unreadable) - 10} more' * (len(unreadable) > 10)
    logging.warning(
      '%s: line %s%s cannot be read, and is left out.', file, numbers, more
    )
  return {name: Series(*map(np.asarray, pair)) for name, pair in rows.items()}


def is_whole(file: pathlib.Path, status: dict[str, Any]) -> bool:
  """Says whether a logbook has the rows that its run noted in its status.

  It warns if rows were lost or changed since.

  Args:
    file: the logbook.
    status: what status.json says; older ones note nothing.
  """
  noted = status.get('logbook')
  if not noted or _begins_with(file, Mark(*noted)):
    return True
  logging.warning(
    '%s is not what the run wrote: rows were lost or changed since.', file
  )
  return False


def ranked(values_T: Sequence[float]) -> list[int]:
  """Returns the indices of a metric's T values, the best one first.

  Higher is better; of equal values the later, which was trained longer. NaN is
  left out.
  """
  known = [k for k, value in enumerate(values_T) if not np.isnan(value)]
  return sorted(known, key=lambda k: (values_T[k], k), reverse=True)


def plain(value: Any) -> Any:
  """Turns numbers and arrays into JSON; float32 into its shortest decimals."""
  return orjson.loads(orjson.dumps(_encodable(value), option=_OPTIONS))


def _rows(file: pathlib.Path) -> Iterator[tuple[int, bytes, dict | None]]:
  """Yields each complete line: number, bytes, and the row if it is one."""
  text = file.read_bytes() if file.exists() else b''
  lines = text.split(b'\n')[:-1]  # what follows the last newline was cut off
  for number, line in enumerate(lines, 1):
    try:
      row = _parsed(line)
      good = isinstance(row, dict) and type(row['step']) is int
    except (ValueError, KeyError, RecursionError):
      good = False
    yield number, line + b'\n', row if good else None


def _parsed(line):
  try:
    return orjson.loads(line)
  except ValueError:  # in older runs, NaN and Infinity are bare words
    return json.loads(line)


def _arrays(row):
  """Returns a row's arrays; {} if it is no row, or has something else."""
  try:
    return {name: _array(value) for name, value in (row or {}).items()}
  except (TypeError, ValueError):
    return {}


def _encodable(value):
  """Returns what orjson can write; NaN and infinities as words."""
  array = np.asarray(value, order='C')
  if array.dtype.kind != 'f' or np.isfinite(array).all():
    return array if array.ndim else array[()]  # orjson refuses no axes
  words = array.astype(str).astype(float).astype(object)  # shortest decimals
  words[np.isnan(array)] = 'NaN'
  words[np.isposinf(array)] = 'Infinity'
  words[np.isneginf(array)] = '-Infinity'
  return words.tolist()


def _array(value):
  """Returns what `plain` was given; raises ValueError if it is no number."""
  array = np.asarray(value)
  if array.dtype.kind == 'U':
    array = np.asarray(_numbers(value))
  if array.dtype.kind not in 'biuf':
    raise ValueError(f'{value!r} is no number')
  return array


def _numbers(value):
  if isinstance(value, list):
    return [_numbers(element) for element in value]
  return float(value) if value in _NO_NUMBERS else value


def _mark(text):
  return Mark(len(text), hashlib.blake2b(text, digest_size=16).hexdigest())


def _begins_with(file, mark):
  text = file.read_bytes()[: mark.size] if file.exists() else b''
  return len(text) == mark.size and mark.digest in ('', _mark(text).digest)
