"""The logbook: a run's numbers, one JSON row a line, in the order of steps.

Nothing in it depends on the clock or the machine's mood: a run that was killed
and continued has, byte for byte, the logbook of one that never stopped.
"""

import json
import os
import pathlib
from typing import Any, NamedTuple

import numpy as np


class Series(NamedTuple):
  """One metric over a run: `steps` (T,) and `values` (T, ...)."""

  steps: np.ndarray
  values: np.ndarray


class Logbook:
  """Appends rows to a file; without `writes` it does nothing."""

  def __init__(self, file: pathlib.Path, *, writes: bool = True):
    self._file, self._writes = file, writes

  def keep_until(self, step: int) -> None:
    """Drops the rows after `step`, and a last line that was cut off."""
    if not self._writes or not self._file.exists():
      return
    whole = [
      line
      for line in self._file.read_text().splitlines(keepends=True)
      if line.endswith('\n')
    ]
    kept = [line for line in whole if json.loads(line)['step'] <= step]
    partial = self._file.with_suffix('.partial')
    with partial.open('w') as file:
      file.write(''.join(kept))
      file.flush()
      os.fsync(file.fileno())
    partial.replace(self._file)

  @property
  def size(self) -> int:
    """How many bytes its whole rows have."""
    text = self._file.read_bytes() if self._file.exists() else b''
    return text.rfind(b'\n') + 1

  def write(self, step: int, row: dict[str, Any]) -> None:
    """Appends one row; arrays become nested lists, float32 its digits."""
    if not self._writes:
      return
    plain = {name: _plain(value) for name, value in row.items()}
    with self._file.open('a') as file:
      file.write(json.dumps({'step': step, **plain}) + '\n')

  def sync(self) -> None:
    """Waits until the disk has all rows."""
    if not self._writes:
      return
    with self._file.open('a') as file:
      os.fsync(file.fileno())


def read(file: pathlib.Path) -> dict[str, Series]:
  """Returns {name: Series} of all complete rows of a logbook."""
  rows: dict[str, tuple[list, list]] = {}
  text = file.read_text() if file.exists() else ''
  for line in text.splitlines(keepends=True):
    if not line.endswith('\n'):
      continue
    row = json.loads(line)
    step = row.pop('step')
    for name, value in row.items():
      steps, values = rows.setdefault(name, ([], []))
      steps.append(step)
      values.append(value)
  return {name: Series(*map(np.asarray, pair)) for name, pair in rows.items()}


def _plain(value):
  """Turns numbers and arrays into JSON; float32 into its shortest decimals."""
  array = np.asarray(value)
  if array.ndim:
    return [_plain(element) for element in array]
  return float(str(array)) if array.dtype.kind == 'f' else array.item()
