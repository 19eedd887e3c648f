"""The run directory: claimed by one process, made by one config."""

import contextlib
import os
import pathlib
import socket
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import filelock

from bnresearch import knobs
from bnresearch.runs import (
  config_file,
  data_file,
  json_file,
  logbook,
  provenance,
)
from bnresearch.runs.data_file import check_data
from bnresearch.runs.data_file import check_source as check_source
from bnresearch.runs.data_file import read_data as read_data
from bnresearch.runs.json_file import Refused
from bnresearch.runs.status_file import LOCK, read_status

# What a launcher leaves in a workdir, which without a sweep is the run itself.
SLURM = 'slurm'
# Knobs that may differ from machine to machine: they change no result.
FREE = (
  *('data.folder', 'data.workers', 'data.on_device', 'log.mirrors'),
  *(key for key in knobs.KNOBS if key.startswith(('parallel.', 'slurm.'))),
)
ENDED = ('done', 'diverged')


class RunDirectory:
  """What a run that holds the directory writes into it.

  Attributes:
    path: the directory.
    writes: whether this process writes; of several hosts, only the first does.
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
      json_file.write(self.path / 'status.json', self.status)
      self._written = time.monotonic()

  def record_data(
    self,
    image_shape: Sequence[int],
    class_names: Sequence[str],
    splits: Mapping[str, data_file.Split],
    notes: Mapping[str, Any],
  ) -> None:
    """Writes what the network is trained on, for later use.

    What is there already stays; only what an earlier version did not note is
    added.

    Args:
      image_shape: (H, W, C).
      class_names: the K classes.
      splits: all that the run uses, by name.
      notes: of the sources, ready for JSON.

    Raises:
      Refused: the run began with other classes or images.
    """
    check_data(self.path, class_names, notes, splits)
    if not self.writes:
      return
    names, before = data_file.found(self.path)
    about = data_file.merged(before, image_shape, splits, notes)
    if about != before:
      json_file.write(self.path / data_file.ABOUT, about)
    if names is None:
      # Last: even a killed run that has this file has both.
      json_file.write(self.path / data_file.NAMES, list(class_names))

  def begin_session(self, step: int, made_by: dict[str, Any]) -> None:
    """Notes the provenance of a session that starts after `step`."""
    if not self.writes:
      return
    noted = [*provenance.sessions(self.path), {'from_step': step, **made_by}]
    json_file.write(self.path / 'provenance.json', noted)


@contextlib.contextmanager
def claim(path: pathlib.Path, config: knobs.Config) -> Iterator[RunDirectory]:
  """Holds a run directory for this process; makes it if it is absent.

  Raises:
    Refused: the directory was made by another config, holds something else,
      or belongs to a process that runs.
  """
  check(path, config)
  lock = filelock.FileLock(path / LOCK)
  with json_file.written_to(path):
    path.mkdir(parents=True, exist_ok=True)
    try:
      lock.acquire(timeout=1)
    except filelock.Timeout:
      status = read_status(path)
      raise Refused(
        f'{path} belongs to process {status.get("pid", "?")} on '
        f'{status.get("host", "?")}, which is running. Wait for it or stop it.'
      ) from None
  try:
    check(path, config)  # another process may have come first
    ended = read_status(path).get('status') in ENDED
    if not ended and _has_checkpoint(path):
      provenance.check_random_numbers(path)
    with json_file.written_to(path):
      if _is_barren(path):
        for name in (data_file.NAMES, data_file.ABOUT):
          (path / name).unlink(missing_ok=True)
      if not ended or find_config(path) is None:
        text = config_file.to_json(config)
        json_file.replace(path / 'config.json', text)
    yield RunDirectory(path)
  finally:
    lock.release()


def check(
  path: pathlib.Path,
  config: knobs.Config,
  varied: Collection[str] = (),
) -> None:
  """Touches nothing; raises Refused if `config` did not make `path`.

  A run that failed before its first checkpoint has nothing to lose, so any
  config may begin it again.

  Args:
    path: a run directory, or nothing yet.
    config: a complete config.
    varied: dotted keys in which the two may differ, besides `FREE`.
  """
  if path.exists() and not path.is_dir():
    raise Refused(f'{path} is a file, not a directory. Use another --workdir.')
  before = find_config(path)
  if before is not None and not _is_barren(path):
    _check_knobs(path, before, knobs.leaves(config))
    different = [
      line
      for line in config_file.differences(before, config)
      if line.partition(':')[0] not in {*varied, *FREE}
    ]
    if different:
      raise Refused(
        '\n  '.join([f'{path} was made by a different config:', *different])
        + '\nUse another --workdir, or the config that made this one.'
      )
  elif not (path / 'config.json').exists() and any(_foreign(path)):
    raise Refused(
      f'{path} holds files but no config.json, so it is no run directory. '
      'Use another --workdir.'
    )


def _foreign(path):
  """Yields files that a run killed at its very start cannot have left."""
  for file in path.iterdir() if path.exists() else ():
    if file.name not in (LOCK, SLURM) and file.suffix != '.partial':
      yield file


def _is_barren(path):
  """Says whether a run has failed without leaving a checkpoint."""
  failed = read_status(path).get('status') == 'failed'
  return failed and not _has_checkpoint(path)


def _has_checkpoint(path):
  return any((path / 'checkpoints').glob('[0-9]*'))


def has_failed(path: pathlib.Path, config: knobs.Config) -> bool:
  """Says whether a run has failed with this very config."""
  before = find_config(path)
  return (
    before is not None
    and read_status(path).get('status') == 'failed'
    and not config_file.differences(before, config)
  )


def find_config(path: pathlib.Path) -> knobs.Config | None:
  """Returns the config of a run directory; None if it is absent or cut off.

  Raises:
    Refused: it is something else, or of a later format.
  """
  file = path / 'config.json'
  values = json_file.read(
    file, 'a dict of knobs and groups', lambda value: isinstance(value, dict)
  )
  try:
    return None if values is None else config_file.restored(values)
  except ValueError as error:
    raise Refused(f'{file}: {error}.') from None


def read_config(
  path: pathlib.Path, known: Collection[str] = ()
) -> knobs.Config:
  """Returns the config of a run directory.

  Args:
    path: of the run.
    known: the dotted keys of all knobs, which it must have; () for any.

  Raises:
    FileNotFoundError: `path` is no run directory; names those inside it.
    Refused: its config is damaged, or of a newer version.
  """
  config = find_config(path)
  if config is not None:
    if known:
      _check_knobs(path, config, known)
    return config
  if (path / 'config.json').exists():
    raise Refused(
      f'{path / "config.json"} is cut off. The command that began the run '
      'writes it anew, and continues.'
    )
  inside = sorted(str(f.parent) for f in path.glob('*/config.json'))
  raise FileNotFoundError(
    f'{path} is no run directory: it has no config.json. '
    f'Run directories inside it: {", ".join(inside) or "none"}.'
  )


def _check_knobs(path, config, known):
  """Raises Refused if a config has other knobs than this version knows."""
  own = knobs.leaves(config).keys()
  if unknown := sorted(own - set(known)):
    raise Refused(
      f'{path}/config.json has {", ".join(unknown)}, which this version of '
      'bnresearch does not know. A newer one made it: update bnresearch.'
    )
  if lacking := sorted(set(known) - own):
    raise Refused(
      f'{path}/config.json lacks {", ".join(lacking)}. It is damaged, or of a '
      'time whose runs this version of bnresearch cannot open: take the one '
      'that provenance.json names.'
    )


def this_process() -> dict[str, Any]:
  """Returns which process this is, for status.json."""
  return {'pid': os.getpid(), 'host': socket.gethostname()}
