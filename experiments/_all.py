"""Many studies at a scale: each run or reused, and why one has no result.

A study that fails stops no other. One whose result is there, made by this very
code, is reused; and so are the runs of one that was interrupted.
"""

import math
import pathlib
import shlex
import signal
import subprocess
import time
from collections.abc import Sequence

from bnresearch import lookup
from bnresearch.machine import process
from bnresearch.terminal import UserError, say
from experiments import _job, _scale, _scoreboard
from experiments._job import Ended, Job
from experiments._scoreboard import Study

_LIMIT = {_scale.CI: 600.0}  # seconds; other scales take what they take
_EVERY = 0.1  # seconds between looks


def chosen(names: Sequence[str]) -> list[Study]:
  """Returns the studies of these names; all of them if there is none.

  Raises:
    UserError: there is no such study.
  """
  found = {study.name: study for study in _scoreboard.studies()}
  for name in names:
    if name not in found:
      raise UserError(f'{name}: no such study. {lookup.suggest(name, found)}')
  return [found[name] for name in names or found]


def jobs(studies: Sequence[Study], scale: str) -> list[Job]:
  """Returns what makes the studies' results at a scale.

  `small` takes the commands of the committed results, without flags that stand
  for something: of `--folder=FOLDER` the study has a default, or says what it
  needs. At other scales there is one result a study.
  """
  found = []
  for study in studies:
    config = study.fields['Config']
    config = config if config.startswith('configs/') else ''
    if scale != _scale.SMALL:
      flags = (f'--scale={scale}',)
      found.append(Job(study.name, study.name, flags, config))
      continue
    for stem in study.results or [study.name]:
      _, _, _, *arguments = shlex.split(study.command(stem))
      told = tuple(a for a in arguments if not a.partition('=')[2].isupper())
      found.append(Job(study.name, stem, told, config))
  return found


def run(
  todo: Sequence[Job],
  scale: str,
  results: pathlib.Path,
  again: bool = False,
) -> list[Ended]:
  """Runs or reuses the jobs, and says how far they are.

  SIGINT or SIGTERM ends it: studies save their runs, and the same command goes
  on from there.

  Args:
    todo: in their order.
    scale: of all of them; trials take a core each, other studies all.
    results: the folder for pictures and numbers.
    again: whether to run also what could be reused.
  """
  logs = _logs(scale)
  logs.mkdir(parents=True, exist_ok=True)
  at_a_time = process.runs_at_a_time() if scale == _scale.CI else 1
  code, before = _job.code(), {job: _job.state(logs, job) for job in todo}
  ended = [
    Ended(job, 0, before[job]['seconds'], reused=True)
    for job in todo
    if not again and _job.is_made(job, before[job], code, results)
  ]
  if ended:
    say(f'{len(ended)} of {len(todo)} are reused; --again runs them again.')
  made = {one.job for one in ended}
  waiting = [job for job in todo if job not in made]
  running: dict[Job, tuple[subprocess.Popen, float]] = {}
  usual = signal.signal(signal.SIGTERM, signal.default_int_handler)
  try:
    while waiting or running:
      while len(running) < at_a_time and (job := _next(waiting, running)):
        waiting.remove(job)
        running[job] = _job.start(job, results, logs), time.monotonic()
      time.sleep(_EVERY)
      for one in _ended(running, _LIMIT.get(scale, math.inf), logs):
        del running[one.job]
        ended.append(one)
        _job.keep(one, logs, code)
        left = [before[job]['seconds'] for job in (*waiting, *running)]
        _tell(one, ended, left, at_a_time)
  finally:
    for child, _ in running.values():
      _job.stop(child)
    signal.signal(signal.SIGTERM, usual)
  return sorted(ended, key=lambda one: todo.index(one.job))


def _next(waiting, running):
  """Returns the first job whose runs nobody else makes now; None for none."""
  taken = {job.config for job in running if job.config}
  return next((job for job in waiting if job.config not in taken), None)


def _ended(running, limit, logs):
  """Returns those that have ended of the jobs that run."""
  found = []
  for job, (child, begun) in running.items():
    seconds = time.monotonic() - begun
    if one := _job.ended(job, child, seconds, limit, logs):
      found.append(one)
  return found


def _tell(one, ended, left, at_a_time):
  """Prints how a job ended, and about how long the others take.

  Those are as before, or else as the ones that have ended.
  """
  took = [e.seconds for e in ended if not e.reused]
  usual = sum(took) / len(took)
  to_go = sum(before or usual for before in left) / at_a_time
  done, of = len(ended), len(ended) + len(left)
  said = f'no result: {one.why}' if one.why else 'done'
  rest = f'; about {_time(to_go)} to go' if left else ''
  say(f'[{done}/{of}] {one.job.stem}, {_time(one.seconds)}: {said}{rest}')


def _time(seconds):
  return f'{seconds:.0f} s' if seconds < 100 else f'{seconds / 60:.0f} min'


def _logs(scale):
  return pathlib.Path('runs', scale, 'logs')


def reasons(scale: str, studies: Sequence[Study]) -> dict[str, str]:
  """Returns why studies have no result at a scale, {name: words}."""
  found = {
    study.name: f'nobody has run it here at the scale {scale}'
    for study in studies
  }
  for job in jobs(studies, scale):
    if why := _job.state(_logs(scale), job)['why']:
      found[job.study] = why
  return found


def summary(ended: Sequence[Ended], results: pathlib.Path) -> int:
  """Prints what has no result, and why; returns the exit status.

  It is 1 if a study has failed, 0 if all have ended or said what they need.
  """
  lost = [one for one in ended if one.why]
  say(f'{len(ended) - len(lost)} of {len(ended)} have results, in {results}.')
  for one in lost:
    word = 'Not run' if one.status == _job.REFUSED else 'Failed'
    say(f'{word}: {one.job.command}\n  {one.why}')
  return int(any(one.status != _job.REFUSED for one in lost))
