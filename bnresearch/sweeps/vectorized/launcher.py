"""The vectorized launcher: points that differ in numbers only, as one program.

Each point has its own run directory, with the records of a run that was
trained alone. A point that diverges ends alone; the others do not notice.
"""

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import numpy as np

from bnresearch.machine import interruptions, process
from bnresearch.runs import run_directory
from bnresearch.runs.probing import Stopwatch
from bnresearch.runs.recorder import Diverged, Recorder
from bnresearch.runs.session import note_data
from bnresearch.sweeps import checks, notes, progress, statuses
from bnresearch.sweeps.points import Point
from bnresearch.sweeps.vectorized import rounds, traced
from bnresearch.sweeps.vectorized.program import Program
from bnresearch.terminal import Console, explain
from bnresearch.training.loop import make_steps

_STATUS_SECONDS = 0.05  # between two writes of status.json, per member


def run(
  points: Sequence[Point], workdir: Path, console: Console, at_once: int = 0
) -> dict[str, str]:
  """Trains all points that have not ended, and shows how far they are.

  SIGINT, SIGTERM or SIGHUP saves what runs, and begins no more.

  Args:
    points: of a sweep.
    workdir: made if it is not there.
    console: where progress and failures are printed.
    at_once: points in a program; 0 for as many as fit into memory.

  Returns:
    {name: final status}; 'waiting' for a point that has not begun, 'refused'
    for one whose directory is in use.

  Raises:
    Refused: a directory was made by another config, or a point cannot be
      trained this way; nothing was begun that cannot be continued.
    MissingData: a data set is not here.
  """
  result = statuses.of_points(points, workdir)
  todo = [p for p in points if result[p.name] not in run_directory.ENDED]
  if not todo:
    return result
  process.prepare(process.cores())
  if jax.process_count() > 1:
    raise run_directory.Refused(
      f'--launcher=vectorized: this is one of {jax.process_count()} hosts, and '
      'it uses one only. Use --launcher=local.'
    )
  parts = checks.check_points(todo)
  notes.tell(parts, console)
  notes.tell_where(1, console)
  kinds = _kinds(todo, parts)
  with progress.shown(todo, workdir, console), interruptions.noted() as stop:
    for of_a_kind in kinds:
      for program, chunk in _chunks(of_a_kind, parts, at_once, console):
        if stop():
          return result
        result |= _train(program, chunk, parts, workdir, stop, console)
  return result


def _kinds(points, parts):
  """Returns the points in lists that one program each can train."""
  kinds: dict[str, list[Point]] = {}
  for point in points:
    kinds.setdefault(traced.kind(point.config), []).append(point)
  for first, *_ in kinds.values():
    if why := traced.why_not(parts[first.name]):
      raise run_directory.Refused(
        f'{first.name} cannot be vectorized: {why}. Use --launcher=local.'
      )
  return list(kinds.values())


def _chunks(points, parts, at_once, console):
  """Yields a program and the points that it trains, until all are trained."""
  devices, runs = jax.devices(), len(points)
  program = rounds.program(parts[points[0].name], runs, devices, at_once)
  starts = range(0, runs, program.runs)
  times = f' in each of {len(starts)} rounds' if len(starts) > 1 else ''
  console.print(
    f'{runs} points as one program: {program.runs}{times}.',
  )
  for start in starts:
    yield program, points[start : start + program.runs]


def _train(program, points, parts, workdir, stop, console):
  """Trains one chunk; returns {name: status}."""
  lanes, refused = [], {}
  with contextlib.ExitStack() as stack:
    for point in points:
      path = point.directory(workdir)
      try:
        run = stack.enter_context(run_directory.claim(path, point.config))
      except run_directory.Refused as error:
        refused[point.name] = statuses.after(error, path)
        text = f'{point.name}: {error}'
        console.print(text, highlight=False, markup=False, soft_wrap=True)
        continue
      if run.status.get('status') not in run_directory.ENDED:
        lanes.append(_Lane(point.name, parts[point.name], run, console))
    try:
      by_step = _restored(program, lanes) if lanes else {}
      # A kill between the checkpoints of two lanes leaves them at two steps.
      for step, some in sorted(by_step.items()):
        session = _Session(program, some)
        plan = some[0].parts.training.plan
        status = make_steps(plan, session, step, stop)
        for lane in some:
          lane.end(status)
    except Exception as error:
      for lane in lanes:
        lane.fail(error)
    except BaseException:  # a second Ctrl-C: all can be continued
      for lane in lanes:
        lane.end('preempted')
      raise
  states = {p.name: statuses.of_run(p.directory(workdir)) for p in points}
  return states | refused


def _restored(program, lanes):
  """Reads the lanes' states; returns {step: lanes that go on from there}."""
  configs = [lane.parts.config for lane in lanes]
  fresh = jax.device_get(program.fresh(configs).state)
  by_step = {}
  for k, lane in enumerate(lanes):
    try:
      lane.restore(_of_one(fresh, k))
    except Exception as error:  # of this one only
      lane.fail(error)
      continue
    by_step.setdefault(int(lane.state.step), []).append(lane)
  return by_step


def _of_one(of_all, k):
  """Returns the k-th of stacked arrays; a number is an array too."""
  return jax.tree.map(lambda x: np.asarray(x[k]), of_all)


class _Lane:
  """One run among others.

  Attributes:
    name: of the point.
    parts: of the run.
    state: on the host, as it begins; None afterwards.
    status: '' until it has ended.
  """

  def __init__(self, name, parts, run, console):
    self.name, self.parts, self.status = name, parts, ''
    self._run, self._console = run, console
    self.state = self.recorder = None
    run.update(status='running', message='', **run_directory.this_process())

  def restore(self, fresh):
    """Opens the records, and restores the state if there is one."""
    note_data(self._run, self.parts)
    self.recorder = Recorder(self._run, self.parts)
    self.state = self.recorder.restored(fresh) or fresh

  def end(self, status, message=''):
    """Closes the records, once."""
    if self.status:
      return
    recorder, self.recorder = self.recorder, None
    try:
      if recorder:
        recorder.close()
    except Exception as error:
      self.fail(error)
    else:
      self.status = status
      self._run.update(status=status, message=message)

  def fail(self, error):
    """Ends the run with an error, and prints it."""
    if self.status:
      return
    self._console.print(f'{self.name} failed: {explain(error)}')
    self.end('failed', f'{type(error).__name__}: {explain(error)}')


class _Session:
  """All members at once, for `make_steps`, with the records of each lane."""

  def __init__(self, program: Program, lanes: Sequence[_Lane]):
    self._program, self._lanes = program, lanes
    self._parts = lanes[0].parts
    self._configs = [lane.parts.config for lane in lanes]
    states = [lane.state for lane in lanes]
    self._members = program.restored(self._configs, states)
    self._measure, self._stopwatch = self._parts.evaluation.measure, Stopwatch()
    if self._parts.training.plan.probes:
      unknown = program.unknown()
      self._previous = program.together(
        [lane.recorder.last(unknown) for lane in lanes]
      )
    for lane in lanes:
      step, lane.state = int(lane.state.step), None
      lane.recorder.begin(step, devices=jax.device_count(), members=len(lanes))

  def advance(self, steps: range) -> Callable[[], None]:
    self._members, metrics = self._program.advance(
      self._members, self._configs, steps
    )

    def read():
      of_all = jax.device_get(metrics)
      for k, lane in self._live():
        own = {name: value_TR[:, k] for name, value_TR in of_all.items()}
        try:
          lane.recorder.log_training(steps, own)
        except Diverged as error:
          lane.end('diverged', str(error))

    return read

  def evaluate(self, done: int) -> Callable[[], None]:
    evaluators = self._program.evaluators

    def log(lane, own):
      found = {s: e.means(own[s]) for s, e in evaluators.items()}
      lane.recorder.log_evaluation(done, found)

    return self._read(self._program.sums(self._members), log)

  def measure(self, done: int) -> Callable[[], None]:
    found = self._stopwatch.timed(
      self._members,
      lambda: self._program.measure(self._members, self._previous),
    )
    self._previous = self._measure.compared(found)

    def log(lane, own):
      row = self._measure.in_order(own)
      lane.recorder.log_probes(done, row, self._stopwatch.seconds)

    return self._read(found, log)

  def _read(self, of_all, log):
    """Returns a function that reads all members' arrays and logs each lane."""

    def read():
      here = jax.device_get(of_all)
      for k, lane in self._live():
        log(lane, _of_one(here, k))

    return read

  def agreed(self, stop: bool) -> bool:
    return stop or not any(self._live())

  def save(self, done: int) -> None:
    of_all = jax.device_get(self._members.state)
    for k, lane in self._live():
      try:
        lane.recorder.save(_of_one(of_all, k), done)
      except Diverged as error:
        lane.end('diverged', str(error))
      except Exception as error:  # of this one only
        lane.fail(error)

  def progress(self, done: int) -> None:
    every = max(0.3, _STATUS_SECONDS * len(self._lanes))
    for _, lane in self._live():
      lane.recorder.progress(done, 0.0, every)

  def _live(self):
    """Yields each lane that has not ended, and its number."""
    for k, lane in enumerate(self._lanes):
      if not lane.status:
        yield k, lane
