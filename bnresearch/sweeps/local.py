"""The local launcher: the points of a sweep on this machine's cores."""

import concurrent.futures
import contextlib
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jax

from bnresearch import lookup, models
from bnresearch.assembly import assemble
from bnresearch.config import ConfigError
from bnresearch.machine import hosts, interruptions, process
from bnresearch.runs import config_file, run_directory, session
from bnresearch.sweeps import checks, notes, progress, statuses
from bnresearch.sweeps.points import Point
from bnresearch.terminal import Console, explain

# Most devices per core. Their threads wait for each other: XLA ends a process
# with a thousand of them on two cores.
_OF_A_CORE = 8

# In a worker: whether it must begin no more points; whether it is training one.
_stopped = False
_training = False


def run(
  points: Sequence[Point],
  workdir: Path,
  processes: int,
  console: Console,
  *,
  raises: bool = False,
) -> dict[str, str]:
  """Trains all points that have not ended, and shows how far they are.

  Each run lives in its own directory of `workdir`. One that fails does not stop
  the others, unless there are several hosts. SIGINT, SIGTERM or SIGHUP saves
  what runs, and begins no more.

  Args:
    points: of a sweep.
    workdir: made if it is not there.
    processes: how many points at a time; on a CPU they share its cores.
    console: where progress and failures are printed.
    raises: whether the first failure is raised instead.

  Returns:
    {name: final status}; 'waiting' for a point that has not begun, 'refused'
    for one whose directory another process has taken meanwhile.

  Raises:
    Refused: a directory was made by another config, before any is touched.
    MissingData: a data set is not here.
    ConfigError: a run would fail, see `checks`.
  """
  result = statuses.of_points(points, workdir)
  todo = [p for p in points if result[p.name] not in run_directory.ENDED]
  if not todo:
    return result
  # Counted over all points, so that the rest of a sweep gets as many devices as
  # the whole.
  devices = _devices_each(points, min(processes, len(points)))
  processes = min(processes, len(todo))
  process.prepare(devices)
  if jax.distributed.is_initialized():
    processes, console.quiet = 1, not hosts.first()
  with hosts.all_or_none():
    parts = checks.check_points(todo)
    notes.tell(parts, console)
    notes.tell_where(processes, console)
  with progress.shown(todo, workdir, console):
    if processes > 1:
      parts.clear()  # the workers load data of their own
      outcomes = _train_in_processes(todo, workdir, processes, devices)
    else:
      outcomes = _train_one_by_one(todo, workdir, parts)
    for point, outcome in outcomes:
      if isinstance(outcome, BaseException):
        if raises:
          raise outcome
        _tell(point, outcome, console)
        outcome = statuses.after(outcome, point.directory(workdir))
      result[point.name] = outcome
  return result


def _tell(point, error, console):
  """Says what has ended a run; one of several hosts leaves the others."""
  told = isinstance(error, (hosts.Lost, run_directory.Refused))
  message = f'{point.name}{"" if told else " failed"}: {explain(error)}'
  if jax.distributed.is_initialized():
    hosts.leave(message)
  console.print(message, soft_wrap=True)


def _devices_each(points, processes):
  """Returns how many devices a process makes of a CPU's cores.

  It is as many as a config asks for; else one if no network convolves, as
  several change the last digits.

  Raises:
    ConfigError: a config asks for more devices than the threads of these cores
      can be. `parallel.count` checks the number of accelerators.
  """
  wanted = max(point.config.parallel.devices for point in points)
  most = _OF_A_CORE * process.cores()
  if wanted > most:
    raise ConfigError(
      f'parallel.devices = {wanted}: this machine has {process.cores()} '
      f'cores, which are {most} devices at most. Take fewer, or 0 for as '
      'many as fit.'
    )
  if wanted:
    return wanted
  names = {point.config.model.name for point in points}
  if not any(models.convolves(lookup.find('models', n).Model) for n in names):
    return 1
  return max(1, process.cores() // processes)


def _train_one_by_one(points, workdir, parts):
  """Yields each point and its status, or the exception that ended it."""
  with interruptions.noted() as interrupted:
    for point in points:
      try:
        path = point.directory(workdir)
        outcome = session.train(parts.pop(point.name), path, interrupted)
      except Exception as error:
        outcome = error
      yield point, outcome
      # A signal may have come in the last call of a run, which is then done;
      # several hosts have not agreed to stop, and go on.
      alone = not jax.distributed.is_initialized()
      if outcome == 'preempted' or (alone and interrupted()):
        return


def _train_in_processes(points, workdir, processes, devices):
  """Does the same, several at a time, in processes that serve many points."""
  pool = concurrent.futures.ProcessPoolExecutor(
    processes,
    mp_context=multiprocessing.get_context('spawn'),
    initializer=_begin_worker,
    initargs=(os.getpid(), devices),
  )
  with pool, _signals_to_children(pool):
    futures = {
      pool.submit(
        _train_in_worker,
        config_file.to_json(point.config),
        point.directory(workdir),
        os.getpid(),
      ): point
      for point in points
    }
    for future in _as_ended(futures):
      if not future.cancelled():
        yield futures[future], future.exception() or future.result()


def _as_ended(futures):
  """Yields futures once they are done or cancelled.

  `as_completed` does not hear of those that the shutdown of a pool cancels, and
  would wait for them forever.
  """
  waiting = {*futures}
  while waiting:
    ended, _ = concurrent.futures.wait(
      waiting, timeout=1, return_when=concurrent.futures.FIRST_COMPLETED
    )
    ended |= {future for future in waiting if future.cancelled()}
    waiting -= ended
    yield from ended


def _begin_worker(parent, devices):
  """Sets up a worker: a terminal's Ctrl-C reaches it through its parent."""
  os.setpgrp()
  for number in set(interruptions.asked()) - {signal.SIGINT}:
    signal.signal(number, _stop)
  threading.Thread(target=_follow, args=(parent,), daemon=True).start()
  process.prepare(devices)


def _stop(number, frame):
  """Keeps an idle worker from beginning a point; a second signal ends it.

  The first signal must not end it: the pool would count as broken, and end the
  workers that are saving their runs. While it trains, the run's own handler
  replaces this one.
  """
  global _stopped
  if _stopped:
    os._exit(1)
  _stopped = True


def _follow(parent):
  """Makes this process save its run and stop once its parent is gone."""
  while os.getppid() == parent:
    time.sleep(1)
  if not _training:
    os._exit(1)
  os.kill(os.getpid(), signal.SIGTERM)


def _train_in_worker(config_json, path, parent):
  global _stopped, _training
  if _stopped:
    return statuses.of_run(path)
  _training = True
  try:
    parts = assemble(config_file.from_json(config_json))
    status = session.train(parts, path)
  finally:
    _training = False
  _stopped = _stopped or status == 'preempted'
  if os.getppid() != parent:
    os._exit(1)  # nobody waits for the result, and the queue would never end
  return status


@contextlib.contextmanager
def _signals_to_children(pool) -> Iterator[None]:
  """Passes stop signals on to the workers, as SIGTERM; begins nothing more."""

  def hand_on(number, frame):
    for child in multiprocessing.active_children():
      child.terminate()
    pool.shutdown(wait=False, cancel_futures=True)

  usual = {n: signal.signal(n, hand_on) for n in interruptions.asked()}
  try:
    yield
  finally:
    for number, handler in usual.items():
      signal.signal(number, handler)
