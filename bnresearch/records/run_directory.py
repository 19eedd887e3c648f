"""The run directory: claimed by one process, made by one config."""

import contextlib
import json
import os
import pathlib
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import filelock

from bnresearch.records import config_file, logbook
from bnresearch.records.provenance import sessions
from bnresearch.terminal import UserError

_LOCK = '.lock'
# What a launcher leaves in a workdir, which is the run where there is no sweep.
SLURM = 'slurm'
# What may be another on another machine: it changes no result.
FREE = (
  'data.folder',
  'data.workers',
  'data.on_device',
  'parallel.backend',
  'parallel.devices',
  'slurm.partition',
  'slurm.minutes',
  'slurm.requeues',
  'slurm.signal_delay',
  'slurm.cpus',
  'slurm.gpus',
  'slurm.memory',
  'slurm.array_parallelism',
  'slurm.options',
)
ENDED = ('done', 'diverged')


class Refused(UserError, RuntimeError):
  """A directory cannot be used for this run; nothing in it was touched."""


class RunDirectory:
  """What a run that holds the directory writes into it.

  Attributes:
    path: the directory.
    writes: whether it does, or is one more host, whose first one writes.
    logbook: its metrics.
    checkpoints: the folder of its checkpoints.
    status: what status.json says.
  """

  def __init__(self, path: pathlib.Path, *, writes: bool = True):
    self.path, self.writes = path, writes
    self.logbook = logbook.Logbook(path / 'metrics.jsonl', writes=writes)
    self.checkpoints = path / 'checkpoints'
    self.status = read_status(path)
    self._written = -float('inf')

  def update(self, *, throttle: float = 0.0, **fields: Any) -> None:
    """Changes fields of status.json, at most once in `throttle` seconds."""
    self.status |= fields
    if self.writes and time.monotonic() - self._written >= throttle:
      _replace(self.path / 'status.json', json.dumps(self.status, indent=2))
      self._written = time.monotonic()

  def record_data(
    self,
    image_shape: Sequence[int],
    class_names: Sequence[str],
    examples: Mapping[str, int],
    notes: Mapping[str, Any],
  ) -> None:
    """Writes what the network is trained on, for who uses it afterwards.

    Raises:
      Refused: the run began with other classes or images.
    """
    file = self.path / 'class_names.json'
    if _is_whole(file) and _is_whole(self.path / 'data.json'):
      check_data(self.path, class_names, notes)
    if not self.writes:
      return
    about = {'image_shape': image_shape, 'examples': examples, **notes}
    _replace(self.path / 'data.json', json.dumps(about, indent=2))
    # Last, so that where it is, a run that was killed has both.
    _replace(file, json.dumps(list(class_names), indent=2))

  def begin_session(self, step: int, provenance: dict[str, Any]) -> None:
    """Notes with what a session that starts after `step` is made."""
    if not self.writes:
      return
    noted = [*sessions(self.path), {'from_step': step, **provenance}]
    _replace(self.path / 'provenance.json', json.dumps(noted, indent=2))


@contextlib.contextmanager
def claim(
  path: pathlib.Path, config: config_file.Config
) -> Iterator[RunDirectory]:
  """Holds a run directory for this process, made if it is not there.

  Raises:
    Refused: the directory was made by another config, holds something else,
      or belongs to a process that runs.
  """
  check(path, config)
  path.mkdir(parents=True, exist_ok=True)
  lock = filelock.FileLock(path / _LOCK)
  try:
    lock.acquire(timeout=1)  # read_status may hold it for a moment
  except filelock.Timeout:
    status = read_status(path)
    raise Refused(
      f'{path} belongs to process {status.get("pid", "?")} on '
      f'{status.get("host", "?")}, which is running. Wait for it or stop it.'
    ) from None
  try:
    check(path, config)  # another process may have come first
    if _is_barren(path):
      (path / 'class_names.json').unlink(missing_ok=True)
    file = path / 'config.json'
    if read_status(path).get('status') not in ENDED or not _is_whole(file):
      _replace(file, config_file.to_json(config))
    run = RunDirectory(path)
    yield run
  finally:
    lock.release()


def check(
  path: pathlib.Path,
  config: config_file.Config,
  varied: Collection[str] = (),
) -> None:
  """Touches nothing; raises Refused if `config` did not make `path`.

  A run that failed before its first checkpoint has nothing to lose, and may be
  begun again by any config.

  Args:
    path: a run directory, or nothing yet.
    config: a complete config.
    varied: dotted keys in which the two may differ, besides `FREE`.
  """
  file = path / 'config.json'
  if path.exists() and not path.is_dir():
    raise Refused(f'{path} is a file, not a directory. Use another --workdir.')
  if _is_whole(file) and not _is_barren(path):
    different = [
      line
      for line in config_file.differences(read_config(path), config)
      if line.partition(':')[0] not in {*varied, *FREE}
    ]
    if different:
      raise Refused(
        '\n  '.join([f'{path} was made by a different config:', *different])
        + '\nUse another --workdir, or the config that made this one.'
      )
  elif not file.exists() and path.exists() and any(_foreign(path)):
    raise Refused(
      f'{path} holds files but no config.json, so it is no run directory. '
      'Use another --workdir.'
    )


def _foreign(path):
  """Yields what no run that was killed at its very start may have left."""
  for file in path.iterdir():
    if file.name not in (_LOCK, SLURM) and file.suffix != '.partial':
      yield file


def _is_whole(file):
  """Says whether a JSON file is there, and not cut off by a loss of power.

  One that is cut off is written again as if it were not there.
  """
  try:
    json.loads(file.read_text())
  except (FileNotFoundError, ValueError):
    return False
  return True


def _is_barren(path):
  """Says whether a run has failed without leaving a checkpoint."""
  failed = read_status(path).get('status') == 'failed'
  return failed and not any((path / 'checkpoints').glob('[0-9]*'))


def has_failed(path: pathlib.Path, config: config_file.Config) -> bool:
  """Says whether a run has failed with this very config."""
  return (
    read_status(path).get('status') == 'failed'
    and _is_whole(path / 'config.json')
    and not config_file.differences(read_config(path), config)
  )


def read_config(path: pathlib.Path) -> config_file.Config:
  """Returns the config of a run directory.

  Raises:
    FileNotFoundError: `path` is no run directory; names those inside it.
  """
  file = path / 'config.json'
  if not file.exists():
    inside = sorted(str(f.parent) for f in path.glob('*/config.json'))
    raise FileNotFoundError(
      f'{path} is no run directory: it has no config.json. '
      f'Run directories inside it: {", ".join(inside) or "none"}.'
    )
  return config_file.from_json(file.read_text())


def check_data(
  path: pathlib.Path, class_names: Sequence[str], notes: Mapping[str, Any]
) -> None:
  """Raises Refused if a run began with other classes or images than these.

  Args:
    path: of the run.
    class_names: the K classes.
    notes: of a source; its 'digest', if it has one, tells which images it has.
  """
  _, before, about = read_data(path)
  if before != tuple(class_names):
    raise Refused(
      f'{path} was trained on the classes {", ".join(before)}; now they are '
      f'{", ".join(class_names)}. Use the former data, or another --workdir.'
    )
  if about.get('digest') != notes.get('digest'):
    raise Refused(
      f'{path} was trained on other images: files have come or gone, so that '
      'some may have moved between training and evaluation. Use the former '
      'data, or another --workdir.'
    )


def read_data(
  path: pathlib.Path,
) -> tuple[tuple[int, ...], tuple[str, ...], dict[str, Any]]:
  """Returns a run's (H, W, C) of images, its classes, and all of data.json.

  Raises:
    FileNotFoundError: it has not begun, or is of a time before these files.
  """
  for name in ('class_names.json', 'data.json'):
    if not (path / name).exists():
      raise FileNotFoundError(
        f'{path} has no {name}: the run has not begun, or an older version '
        'of this code made it, which its provenance.json names.'
      )
  names = json.loads((path / 'class_names.json').read_text())
  about = json.loads((path / 'data.json').read_text())
  return tuple(about['image_shape']), tuple(names), about


def read_status(path: pathlib.Path) -> dict[str, Any]:
  """Returns status.json, {} if there is none.

  A run that was killed cannot say so: if its status is 'running' and nobody
  holds the directory, it is 'preempted'.
  """
  file = path / 'status.json'
  if not file.exists():
    return {}
  if not _is_whole(file):
    return {'status': 'preempted'}
  status = json.loads(file.read_text())
  if status['status'] != 'running':
    return status
  if not (path / _LOCK).exists():
    status['status'] = 'preempted'  # a copy of a run; it stays as it is
  else:
    lock = filelock.FileLock(path / _LOCK)
    with contextlib.suppress(filelock.Timeout), lock.acquire(timeout=0):
      status['status'] = 'preempted'
  return status


def this_process() -> dict[str, Any]:
  """Returns which process this is, for status.json."""
  return {'pid': os.getpid(), 'host': socket.gethostname()}


def _replace(file, text):
  """Writes a file so that at every moment it is the old or the new one."""
  partial = file.with_suffix('.partial')
  with partial.open('w') as handle:
    handle.write(text)
    handle.flush()
    os.fsync(handle.fileno())
  partial.replace(file)
