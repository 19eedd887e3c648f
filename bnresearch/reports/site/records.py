"""Runs as a report has them: read from their directories, damaged or not."""

import contextlib
import hashlib
import json
import logging
import pathlib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from bnresearch import knobs
from bnresearch.runs import logbook, provenance, run_directory
from bnresearch.terminal import Refused, UserError, printable

SEED = 'seed'
_SIMPLE = re.compile(r'[A-Za-z0-9_=.,+-]{1,120}')
# Of status.json, what `read_status` does not look at.
_MEASURED = 'seconds_without_data', 'probe_seconds'
_WAITS = 0.2  # share of the time without data that is worth a warning
# What a run's sessions should have in common.
_SAME = ('commit', 'python', 'jax', 'flax', 'numpy', 'device', 'devices')


class Place(NamedTuple):
  """Where a run is, and what the report calls it.

  Attributes:
    name: its own in the report.
    sweep: the folder that was given, as it was given.
    path: the run directory.
  """

  name: str
  sweep: str
  path: pathlib.Path

  @property
  def page(self) -> str:
    """The file name of its page."""
    return page('run', self.name)


class Record(NamedTuple):
  """What a run directory holds.

  Attributes:
    place: where it is.
    values: the run's knobs; {} if its config cannot be read.
    status: what status.json says.
    metrics: the logbook's, {} if it is not what the run wrote.
    sessions: see `provenance.sessions`.
    warnings: what a reader should know before believing the numbers.
  """

  place: Place
  values: dict[str, Any]
  status: dict[str, Any]
  metrics: dict[str, logbook.Series]
  sessions: Sequence[dict[str, Any]]
  warnings: Sequence[str]

  @property
  def state(self) -> str:
    """The run's status in a word."""
    return self.status.get('status', 'not begun')

  @property
  def config(self) -> knobs.Config | None:
    """The run's config, None if it cannot be read."""
    return knobs.from_leaves(self.values) if self.values else None


def page(kind: str, name: str) -> str:
  """Returns a page's file name, which is safe and its own for any name."""
  if _SIMPLE.fullmatch(name):
    return f'{kind}-{name}.html'
  digest = hashlib.blake2b(
    name.encode(errors='surrogatepass'), digest_size=6
  ).hexdigest()
  return f'{kind}-{re.sub("[^A-Za-z0-9_=.,+-]+", "_", name)[:80]}~{digest}.html'


def places(workdirs: Sequence[pathlib.Path]) -> list[Place]:
  """Returns the runs of folders: a folder is a run, or has runs in it.

  Raises:
    UserError: a folder has no run; the message names folders in it that have.
  """
  several = len(workdirs) > 1
  short = _short([*map(str, workdirs)])
  found, problems = [], []
  for workdir in workdirs:
    sweep = short[str(workdir)]
    if (workdir / 'config.json').exists():
      found.append(Place(sweep, str(workdir), workdir))
      continue
    runs = sorted(file.parent for file in workdir.glob('*/config.json'))
    if not runs:
      problems.append(_without_runs(workdir))
    for path in runs:
      name = f'{sweep}/{path.name}' if several else path.name
      found.append(Place(name, str(workdir), path))
  if problems:
    raise UserError('\n'.join(problems))
  return found


def sweeps(folders: Sequence[str]) -> dict[str, str]:
  """Returns {folder: the file name of its page}."""
  return {path: page('sweep', name) for path, name in _short(folders).items()}


def _short(folders):
  """Returns {folder: its last name}, or the folder itself if two share one."""
  names = {path: pathlib.Path(path).name for path in folders}
  own = len({*names.values()}) == len(names) and '' not in names.values()
  return names if own else {path: path for path in folders}


def _without_runs(workdir):
  deeper = sorted({str(f.parents[1]) for f in workdir.glob('*/*/config.json')})
  near = ', '.join(deeper[:10]) or 'none'
  return (
    f'--workdir={workdir}: has no run: there is no config.json in it, and none '
    f'in its folders. Folders of runs inside it: {near}.'
  )


def read(place: Place) -> Record:
  """Reads a run; what cannot be read becomes a warning."""
  path, said = place.path, []
  with _heard(said):
    config = _attempt(said, run_directory.find_config, path)
    status = _attempt(said, run_directory.read_status, path) or {}
    status = _numbers(status)
    sessions = _attempt(said, provenance.sessions, path) or []
    file = path / 'metrics.jsonl'
    is_whole = logbook.is_whole(file, status)
    metrics = logbook.read(file) if is_whole else {}
  values = knobs.leaves(config) if config is not None else {}
  if not values and not said:
    said.append('config.json is cut off: the run was killed as it began.')
  said += _of_config(values)
  said += _of_sessions(sessions)
  said += _of_status(path, status)
  return Record(
    place, values, status, metrics, sessions, [*map(printable, said)]
  )


def stamp(place: Place) -> tuple:
  """Returns what changes when a run's files do."""
  names = ('config.json', 'status.json', 'metrics.jsonl', 'provenance.json')
  files = [place.path / name for name in names]
  held = run_directory.read_status
  state = _attempt([], held, place.path) or {}
  about = [f.stat() if f.exists() else None for f in files]
  sizes = [(a.st_mtime_ns, a.st_size) if a else None for a in about]
  return (*sizes, state.get('status'))


def without_seed(values: dict[str, Any]) -> str:
  """Returns the same text for runs that differ only in seed and machine."""
  free = {SEED, *run_directory.FREE}
  return json.dumps({k: v for k, v in values.items() if k not in free})


def _numbers(status):
  """Returns a status without what should be a number and is none."""
  return {
    key: value
    for key, value in status.items()
    if key not in _MEASURED or type(value) in (int, float)
  }


def _attempt(said: list[str], read: Callable[..., Any], path: pathlib.Path):
  """Returns what is read, None with a warning if that is refused."""
  try:
    return read(path)
  except Refused as error:
    said.append(str(error))
    return None


@contextlib.contextmanager
def _heard(said: list[str]) -> Iterator[None]:
  """Collects the warnings that are logged meanwhile."""
  handler = logging.Handler(logging.WARNING)
  handler.emit = lambda record: said.append(record.getMessage())
  root = logging.getLogger()
  others, root.handlers = root.handlers, [handler]
  try:
    yield
  finally:
    root.handlers = others


def _of_config(values):
  """Yields the knobs that are set in vain, and those that nobody knows."""
  unknown = [key for key in values if key not in knobs.KNOBS]
  lacking = [key for key in knobs.KNOBS if values and key not in values]
  if unknown or lacking:
    yield (
      'The run is of another version of bnresearch: its config has '
      f'{", ".join(unknown) or "no more knobs"} and lacks '
      f'{", ".join(lacking) or "none"}.'
    )
  elif values and not knobs.wrong(config := knobs.from_leaves(values)):
    yield from knobs.without_effect(config).values()


def _of_sessions(sessions):
  """Yields what of its sessions puts a run in doubt."""
  for name in _SAME:
    found = list(dict.fromkeys(str(s[name]) for s in sessions if name in s))
    if len(found) > 1:
      yield f'Its sessions differ in {name}: {", ".join(found)}.'
  for session in sessions:
    if str(session.get('commit', '')).endswith('+'):
      yield (
        f'The session from step {session.get("from_step", 0)} ran changes that '
        f'no commit has: {session["commit"]}.'
      )
    if missing := session.get('missing_rows'):
      yield f'These rows of the logbook were lost: {missing}.'


def _of_status(path, status):
  """Yields what of its status puts a run in doubt."""
  waited, seconds = (
    status.get(key) for key in ('seconds_without_data', 'seconds')
  )
  if waited and seconds and waited > _WAITS * seconds:
    yield (
      f'It waited for data for {waited / seconds:.0%} of its time. More '
      'data.workers may help.'
    )
  if (path / 'metrics.damaged').exists():
    yield 'metrics.damaged is a copy of its logbook with rows that were lost.'
  if status.get('status') == 'interrupted':
    yield 'Its process is gone. The command that began it continues it.'
