"""status.json: how far a run is, and whether it still runs."""

import fcntl
import pathlib
from typing import Any

from bnresearch.runs import json_file

LOCK = '.lock'
_NUMBERS = ('step', 'steps', 'seconds', 'steps_per_second')


def read_status(path: pathlib.Path) -> dict[str, Any]:
  """Returns status.json, {} if there is none.

  A run whose process is gone cannot say so: if its status is 'running' and
  nobody holds the directory, it is 'interrupted', whichever host it was on.

  Raises:
    Refused: it holds something else.
  """
  status = json_file.read(
    path / 'status.json', "a dict with the run's 'status'", _is_status
  )
  if status is None:
    cut_off = (path / 'status.json').exists()
    return {'status': 'interrupted'} if cut_off else {}
  if status['status'] == 'running' and not _is_held(path / LOCK):
    status['status'] = 'interrupted'
  return status


def _is_status(value):
  return (
    isinstance(value, dict)
    and type(value.get('status')) is str
    and type(value.get('message', '')) is str
    and all(type(value.get(key, 0)) in (int, float) for key in _NUMBERS)
  )


def _is_held(lock):
  """Says whether a process holds a lock file.

  It asks for a shared lock: processes that ask at the same time do not take
  each other for the run, and need no right to write.
  """
  try:
    with lock.open('rb') as file:
      fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
  except FileNotFoundError:
    return False  # a copy of a run
  except OSError:  # held; or this may not ask, and believes the run
    return True
  return False
