"""A study run in a process of its own, and how that ended.

What it prints is in `runs/SCALE/logs/NAME.log`; NAME.json beside it says how it
ended, and which code made its result.
"""

import hashlib
import importlib.metadata
import json
import pathlib
import shlex
import subprocess
import sys
from collections.abc import Mapping
from typing import Any, NamedTuple

from bnresearch import paths

# How a process ended that has no exit status of its own.
TOO_LONG = 'ended, as it took longer than'
REFUSED = 2  # the status of a message that a user can act on
_ROOT = pathlib.Path(__file__).parents[1]
_CODE = 'bnresearch/**/*.py', 'configs/*.py', 'experiments/*.py'
_GRACE = 30.0  # seconds, in which a study that must end saves its runs


class Job(NamedTuple):
  """A result to make.

  Attributes:
    study: the module.
    stem: of the result's files.
    arguments: of the module.
    config: '' if nothing is trained. Studies of one config share its runs, and
      take turns.
  """

  study: str
  stem: str
  arguments: tuple[str, ...]
  config: str = ''

  @property
  def command(self) -> str:
    """What a user types."""
    return shlex.join(
      ['python', '-m', f'experiments.{self.study}', *self.arguments]
    )


class Ended(NamedTuple):
  """How a job ended.

  Attributes:
    job: the job.
    status: of its process, 0 with a result; or `TOO_LONG`.
    seconds: that it took.
    why: there is no result, in words; '' if there is one.
    reused: whether an earlier start made it.
  """

  job: Job
  status: int | str
  seconds: float
  why: str = ''
  reused: bool = False


def code() -> str:
  """Returns a digest of this code, and of JAX's version."""
  found = hashlib.sha256(importlib.metadata.version('jax').encode())
  for pattern in _CODE:
    for file in sorted(_ROOT.glob(pattern)):
      found.update(file.read_bytes())
  return found.hexdigest()


def state(logs: pathlib.Path, job: Job) -> Mapping[str, Any]:
  """Returns how a job ended before; without a status if it has not begun."""
  try:
    return json.loads((logs / f'{job.stem}.json').read_text())
  except (OSError, ValueError):
    return {'status': None, 'seconds': None, 'why': ''}


def is_made(
  job: Job, before: Mapping[str, Any], now: str, results: pathlib.Path
) -> bool:
  """Says whether a result is there that this very command and code made."""
  return (
    before['status'] == 0
    and (before['command'], before['code']) == (job.command, now)
    and (results / f'{job.stem}.json').is_file()
  )


def start(
  job: Job, results: pathlib.Path, logs: pathlib.Path
) -> subprocess.Popen:
  """Starts a study in a session of its own: Ctrl-C reaches it through us."""
  output = paths.made(results / job.stem)
  with (logs / f'{job.stem}.log').open('w', encoding='utf-8') as log:
    return subprocess.Popen(
      [
        *(sys.executable, '-m', f'experiments.{job.study}'),
        *(*job.arguments, f'--output={output}'),
      ],
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=subprocess.STDOUT,
      start_new_session=True,
    )


def stop(child: subprocess.Popen) -> None:
  """Makes a study save its runs and end; its workers follow it."""
  child.terminate()
  try:
    child.wait(_GRACE)
  except subprocess.TimeoutExpired:
    child.kill()
    child.wait()


def ended(
  job: Job, child: subprocess.Popen, seconds: float, limit: float, logs
) -> Ended | None:
  """Returns how a job ended, None if it has not; ends one that lasts.

  Args:
    job: the job.
    child: its process.
    seconds: since its start.
    limit: the seconds that it may take.
    logs: the folder of its log.
  """
  status: int | str | None = child.poll()
  if status is None and seconds > limit:
    stop(child)
    status = f'{TOO_LONG} {limit:.0f} s'
  if status is None:
    return None
  return Ended(job, status, seconds, _why(status, logs / f'{job.stem}.log'))


def _why(status, log):
  """Returns in words why a process has made no result, '' if it has."""
  if status == 0:
    return ''
  lines = log.read_text(encoding='utf-8', errors='replace').splitlines()
  last = next((line.strip() for line in reversed(lines) if line.strip()), '')
  # argparse puts the command before its message.
  told = last.rpartition(': error: ')[2].rstrip('.') or 'it has said nothing'
  how = f'exit status {status}' if isinstance(status, int) else status
  return f'{told} ({how}; log: {log})'


def keep(one: Ended, logs: pathlib.Path, now: str) -> None:
  """Writes how a job ended, for the next start."""
  told = {key: getattr(one, key) for key in ('status', 'seconds', 'why')}
  with paths.replacing(logs / f'{one.job.stem}.json') as partial:
    partial.write_text(
      json.dumps({'command': one.job.command, 'code': now, **told})
    )
