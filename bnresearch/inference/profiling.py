"""Where the time of a run's training step goes; the steps of several runs."""

import collections
import contextlib
import pathlib
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from bnresearch.inference.run import Run
from bnresearch.training import parallel

PASSES = ('forward', 'backward', 'update')
# Operations that call others, whose time is counted where it is spent.
_CALLERS = {'while', 'conditional', 'call'}
_INSTRUCTION = re.compile(
  r'^\s*(?:ROOT )?%?([\w.\-]+) = .*? ([a-z][a-z\-]*)\((?:.*op_name="([^"]*)")?',
  re.M,
)
_COLLECTIVES = ('all-', 'reduce-scatter', 'collective-permute')
# What stands for a module in the name of an operation.
_MODULE = re.compile(r'[a-z]\w*')
_SCOPES = {'cond', 'while', 'body', 'checkpoint', 'rematted_computation'}


class Operation(NamedTuple):
  """An operation of the compiled step.

  Attributes:
    layer: path of its layer; '' for none, as in the optimizer.
    direction: one of `PASSES`.
    kind: 'convolution or product', 'norm', 'pooling', 'copy', 'collective',
      which includes waiting for the other devices, or 'other'.
  """

  layer: str
  direction: str
  kind: str


class Profile(NamedTuple):
  """What was measured, in seconds a step.

  Attributes:
    steps: how many were timed, and then traced.
    devices: that share a step.
    wall: from step to step, without the profiler.
    waiting: of it, for the host to make batches.
    operations: {operation: time on one device, averaged over the devices}.
    folder: that has the trace, for XProf, TensorBoard or Perfetto.
  """

  steps: int
  devices: int
  wall: float
  waiting: float
  operations: dict[Operation, float]
  folder: pathlib.Path


def profile(run: Run, folder: pathlib.Path, steps: int = 10) -> Profile:
  """Makes training steps of a run, and traces them; the run stays as it is.

  The step is the run's, compiled alone, on the devices that it would train on.
  Its batches are those of the first steps, made by the host as it trains.

  Args:
    run: opened; it goes on from its last checkpoint, or from its beginning.
    folder: where the trace is written, made if it is not there.
    steps: how many are timed, and then traced.

  Raises:
    run_directory.Refused: the data is not what the run was trained on.
  """
  run.source('train')  # compares it with what was used
  training = run.parts.training
  state = run.restore() if run.checkpoints else training.fresh_state()
  mesh, key = training.mesh(), jax.random.key(run.config.seed)
  batches = training.batches(range(1 + 2 * steps))
  options = jax.profiler.ProfileOptions()
  options.python_tracer_level = 0
  with jax.set_mesh(mesh), contextlib.closing(batches):
    state, batch = parallel.shared(state), parallel.split(next(batches))
    step = jax.jit(training.train_step, donate_argnums=0)
    step = step.lower(state, batch, key).compile()
    state, _ = step(state, batch, key)
    jax.block_until_ready(state)
    state, wall, waiting = _make(step, state, batches, key, steps)
    with jax.profiler.trace(
      str(folder), create_perfetto_trace=True, profiler_options=options
    ):
      _make(step, state, batches, key, steps)
  count = steps * mesh.size
  return Profile(
    steps,
    mesh.size,
    wall / steps,
    waiting / steps,
    {k: v / count for k, v in _times(folder, step.as_text()).items()},
    folder,
  )


def in_turns(runs: Sequence[Run], rounds: int, steps: int) -> np.ndarray:
  """Returns seconds per training step of several runs, (runs, rounds).

  In each round every run has a turn, and each round begins with another run.
  Other work on the machine adds to all of them, so that ratios within a round
  say more than seconds. The steps go on from the initial state, all on the
  first batch, so no time is spent on making batches.

  Args:
    runs: opened; they stay as they are.
    rounds: turns of each run.
    steps: of a turn, one call each.
  """
  contestants = [_Contestant(run) for run in runs]
  seconds = np.empty((len(runs), rounds))
  for r in range(rounds):
    for k in np.roll(np.arange(len(runs)), -r):
      seconds[k, r] = contestants[k].turn(steps)
  return seconds


class _Contestant:
  """A run's training step, compiled alone, and the state it has reached."""

  def __init__(self, run):
    run.source('train')
    training = run.parts.training
    self._key, self._mesh = jax.random.key(run.config.seed), training.mesh()
    with contextlib.closing(training.batches(range(1))) as batches:
      batch = next(batches)
    with jax.set_mesh(self._mesh):
      self._state = parallel.shared(training.fresh_state())
      self._batch = parallel.split(batch)
      step = jax.jit(training.train_step, donate_argnums=0)
      self._step = step.lower(self._state, self._batch, self._key).compile()
    self.turn(1)

  def turn(self, steps):
    """Makes steps; returns the seconds of one."""
    with jax.set_mesh(self._mesh):
      began = time.perf_counter()
      for _ in range(steps):
        self._state, _ = self._step(self._state, self._batch, self._key)
      jax.block_until_ready(self._state)
    return (time.perf_counter() - began) / steps


def _make(step, state, batches, key, steps):
  """Makes steps; returns the state, and the seconds in all and of waiting."""
  began, waiting = time.perf_counter(), 0.0
  for _ in range(steps):
    asked = time.perf_counter()
    batch = next(batches)
    waiting += time.perf_counter() - asked
    state, _ = step(state, parallel.split(batch), key)
  jax.block_until_ready(state)
  return state, time.perf_counter() - began, waiting


def _times(folder, program):
  """Returns {operation: seconds}, of all devices and steps together."""
  (module,) = re.findall(r'^HloModule ([\w.\-]+)', program)
  known = {
    name: _operation(name, opcode, op_name)
    for name, opcode, op_name in _INSTRUCTION.findall(program)
    if opcode not in _CALLERS
  }
  seconds: dict[Operation, float] = collections.defaultdict(float)
  newest = max(
    folder.rglob('*.xplane.pb'), key=lambda file: file.stat().st_mtime
  )
  for event, values in _events(newest):
    if values.get('hlo_module') == module and values['hlo_op'] in known:
      seconds[known[values['hlo_op']]] += event.duration_ns / 1e9
  return dict(seconds)


def _events(file: pathlib.Path) -> Iterator[tuple[Any, dict[str, Any]]]:
  """Yields the events of operations in a trace, with their values."""
  for plane in jax.profiler.ProfileData.from_file(str(file)).planes:
    lines = list(plane.lines)
    # A GPU's streams show again what this line has.
    of_xla = [line for line in lines if line.name == 'XLA Ops']
    for line in of_xla or lines:
      for event in line.events:
        values = dict(event.stats)
        if 'hlo_op' in values:
          yield event, values


def _operation(name, opcode, op_name):
  """Returns what an instruction is, by the names that flax and XLA gave it."""
  *scopes, primitive = op_name.split('/')
  network = next((k for k, s in enumerate(scopes) if 'jvp(' in s), None)
  direction = 'update'
  path: list[str] = []
  if network is not None:
    direction = 'backward' if 'transpose(' in scopes[network] else 'forward'
    for scope in scopes[network + 1 :]:
      if not _MODULE.fullmatch(scope):
        break
      if scope not in _SCOPES:
        path.append(scope)
  kind = 'other'
  if opcode in ('copy', 'transpose') or name.startswith(('copy', 'transpose')):
    kind = 'copy'
  elif opcode.startswith(_COLLECTIVES):
    kind = 'collective'
  elif primitive in ('conv_general_dilated', 'dot_general'):
    kind = 'convolution or product'
  elif 'norm' in path:
    kind = 'norm'
  elif 'reduce_window' in primitive or re.search('_maxima|_averages', op_name):
    kind = 'pooling'
  return Operation('/'.join(path), direction, kind)
