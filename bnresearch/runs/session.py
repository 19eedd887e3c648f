"""A session: what one process does for a run, from its parts to its status."""

import contextlib
import functools
import pathlib
from collections.abc import Callable, Iterator

import jax

from bnresearch.assembly import Parts
from bnresearch.evaluation import average
from bnresearch.knobs import Config
from bnresearch.machine import hosts, interruptions
from bnresearch.runs import data_file, disk, run_directory, start
from bnresearch.runs.probing import Probing
from bnresearch.runs.recorder import Diverged, Recorder
from bnresearch.runs.run_directory import RunDirectory
from bnresearch.terminal import explain
from bnresearch.training import loop, parallel


def train(
  parts: Parts,
  path: pathlib.Path,
  interrupted: Callable[[], bool] | None = None,
) -> str:
  """Trains, or continues, the run of directory `path`; returns its status.

  'done': the last checkpoint was read back; 'diverged': a result, no error;
  'preempted': saved on SIGTERM or SIGINT, to be continued. A run that is done
  or diverged is left as it is. If there are several hosts, all must call it.

  Args:
    parts: of the run.
    path: of the run directory, made if it is absent.
    interrupted: says whether to save and stop; by default, whether a signal
      has come.

  Raises:
    run_directory.Refused: the directory is not this run's, or in use.
    hosts.Lost: another host is gone; the run can be continued.
  """
  disk.check_path(path)
  with _claimed(path, parts.config) as run:
    if run.status.get('status') in run_directory.ENDED:
      return run.status['status']
    run.update(status='running', message='', **run_directory.this_process())
    message = ''
    try:
      with contextlib.ExitStack() as stack:
        stop = interrupted or stack.enter_context(interruptions.noted())
        with hosts.watched():
          status = _Session(parts, run).run(stop)
    except Diverged as error:
      status, message = 'diverged', str(error)
    except hosts.Lost as error:
      run.update(status='preempted', message=str(error))
      raise
    except Exception as error:
      why = f'{type(error).__name__}: {explain(error)}'
      run.update(status='failed', message=why)
      raise
    except BaseException:  # a second Ctrl-C: it can be continued
      run.update(status='preempted')
      raise
    run.update(status=status, message=message)
    return status


@contextlib.contextmanager
def _claimed(path: pathlib.Path, config: Config) -> Iterator[RunDirectory]:
  """Holds a run directory for all hosts; the first one writes."""
  with contextlib.ExitStack() as stack:
    run = None
    with hosts.all_or_none():
      if hosts.first():
        run = stack.enter_context(run_directory.claim(path, config))
    yield run or RunDirectory(path, writes=False)


class _Session:
  """The session of a run that trains alone, see `loop.Session`."""

  def __init__(self, parts: Parts, run: RunDirectory):
    """Prepares to go on where the run stopped."""
    self._parts = parts
    with hosts.all_or_none():
      note_data(run, parts)
      self._mesh = parts.training.mesh()
    fresh, self._recorder = parts.training.fresh_state(), Recorder(run, parts)
    restored = self._recorder.restored(fresh)
    if restored is None and parts.config.start.path:
      fresh = start.into(fresh, parts)
    self._agree = hosts.Agreement(self._mesh)
    with jax.set_mesh(self._mesh):
      self._state = parallel.shared(fresh if restored is None else restored)
      self._feed = parts.training.feed(self._state)
      self._evaluators = parts.evaluation.evaluators(
        jax.jit(parts.evaluation.add_batch())
      )
      if parts.training.plan.probes:
        self._probing = Probing(parts, self._state, self._recorder)

  def run(self, interrupted: Callable[[], bool]) -> str:
    """Makes all steps that are left; returns 'done' or 'preempted'."""
    start, plan = int(self._state.step), self._parts.training.plan
    self._recorder.begin(
      start,
      devices=self._mesh.size,
      hosts=jax.process_count(),
      backend=self._parts.config.parallel.backend,
    )
    with (
      contextlib.closing(self._recorder),
      contextlib.closing(self._feed),
      jax.set_mesh(self._mesh),
    ):
      return loop.make_steps(plan, self, start, interrupted)

  def advance(self, steps: range) -> loop.Read:
    key = jax.random.key(self._parts.config.seed)
    self._state, metrics = self._feed.advance(self._state, steps, key)
    return lambda: self._recorder.log_training(steps, jax.device_get(metrics))

  def evaluate(self, done: int) -> loop.Read:
    network = self._state.params, self._state.collections
    read = {s: e.evaluate(*network) for s, e in self._evaluators.items()}
    return lambda: self._recorder.log_evaluation(
      done, {split: means() for split, means in read.items()}
    )

  def measure(self, done: int) -> loop.Read:
    return self._probing.measure(self._state, done)

  def average(self, done: int) -> loop.Read:
    estimate = functools.partial(self._parts.evaluation.estimate, averaged=True)
    if self._parts.config.eval.statistics == 'batch':
      estimate = None
    row = average.evaluate(self._state, self._evaluators['test'], estimate)
    return lambda: self._recorder.log(done, row)

  def agreed(self, stop: bool) -> bool:
    return self._agree(stop)

  def save(self, done: int) -> None:
    self._recorder.save(self._state, done)

  def progress(self, done: int) -> None:
    self._recorder.progress(done, self._feed.waited)


def note_data(run: RunDirectory, parts: Parts) -> None:
  """Notes in a run directory what the run is trained and tested on.

  Raises:
    Refused: the run has seen other files or classes.
  """
  spec, sources = parts.data.spec, parts.data.sources
  run.record_data(
    spec.image_shape,
    spec.class_names,
    {split: data_file.split_of(source) for split, source in sources.items()},
    {**sources['test'].notes, **sources['train'].notes},
  )
