"""The training loop: from a config and a directory to a finished run."""

import contextlib
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bnresearch import build
from bnresearch.data import Source
from bnresearch.evaluation import average, evaluate, measure
from bnresearch.knobs.tree import Config
from bnresearch.machine import hosts, interruptions
from bnresearch.preflight import sites
from bnresearch.runs import data_file, disk, run_directory, splits, start
from bnresearch.runs.recorder import Book, Diverged, observed
from bnresearch.terminal import explain
from bnresearch.training import (
  feed,
  objective,
  optimizer,
  parallel,
  state,
  step,
  stream,
)


def train(
  config: Config,
  path: pathlib.Path,
  interrupted: Callable[[], bool] | None = None,
) -> str:
  """Trains, or continues, the run of directory `path`; returns its status.

  'done', the last checkpoint read back; 'diverged', a result and no error; or
  'preempted', saved on SIGTERM or SIGINT to be continued. A run that is done or
  diverged is left as it is.
  Where there are several hosts, all of them call it.

  Args:
    config: complete.
    path: of the run directory, made if it is not there.
    interrupted: says whether to save and stop; by default, whether a signal
      has come.

  Raises:
    run_directory.Refused: the directory is not this run's, or in use.
    hosts.Lost: another host is gone; the run can be continued.
  """
  disk.check_path(path)
  with hosts.claimed(path, config) as run:
    if run.status.get('status') in run_directory.ENDED:
      return run.status['status']
    run.update(status='running', message='', **run_directory.this_process())
    message = ''
    try:
      with contextlib.ExitStack() as stack:
        stop = interrupted or stack.enter_context(interruptions.noted())
        with hosts.watched():
          status = Session(config, run).run(stop)
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


def make_steps(
  config: Config,
  session: Any,
  start: int,
  interrupted: Callable[[], bool],
) -> str:
  """Makes all steps that are left; returns 'done' or 'preempted'.

  The order within the loop: dispatch a call of `log_every` steps; read, while
  it runs, what the calls before it left; dispatch evaluation and probes of the
  new state; save. So the device waits for the host at checkpoints only.

  Args:
    config: says how many steps, and what is due when.
    session: a `Session`, or one of `members.py`. It dispatches, and gives a
      function that waits for the results and writes them.
    start: steps that are done.
    interrupted: says whether to save and stop.
  """
  steps, unread = config.train.steps, []

  def observe(done):
    for group in observed(config, done):
      match group:
        case 'test':
          unread.append(session.evaluate(done))
        case 'probe':
          unread.append(session.measure(done))
        case 'average':
          unread.append(session.average(done))

  def read():
    while unread:
      unread.pop(0)()

  if start == 0:
    observe(0)
  for first in range(start, steps, config.train.log_every):
    call = range(first, first + config.train.log_every)
    trained = session.advance(call)
    read()
    unread.append(trained)
    observe(call.stop)
    stop = session.agreed(interrupted())
    end = call.stop == steps
    if stop or end or call.stop % config.checkpoint.every == 0:
      read()
      session.save(call.stop)
    session.progress(call.stop)
    if stop and call.stop < steps:
      return 'preempted'
  return 'done'


class Session:
  """What one process does for a run, from restored state to last checkpoint."""

  def __init__(self, config: Config, run: run_directory.RunDirectory):
    """Makes everything ready to go on where the run stopped."""
    spec = build.spec(config)
    with hosts.all_or_none():
      found = sources(config)
      note_sources(run, config, found)
      train_set = found['train']
      model = build.model(config, len(spec.class_names))
      sites.check(config, model, spec.image_shape)
      self._mesh = parallel.mesh(config, model)
    evaluated = build.evaluated_model(config, len(spec.class_names))
    passes = objective.passes_of(config, model, spec.image_shape)
    updates = optimizer.make(config.optim, config.train.steps, len(passes))
    fresh = state.create(
      model,
      updates,
      spec.image_shape,
      config.seed,
      looked_at(config, train_set),
      averaged=config.train.average > 0,
    )

    self._config, self._book = config, Book(config, run)
    restored = self._book.restored(fresh)
    if restored is None and config.start.path:
      fresh = start.into(
        fresh, config, model, spec.image_shape[0], spec.class_names
      )
    self._agree = hosts.Agreement(self._mesh)
    self._train_set = train_set
    with jax.set_mesh(self._mesh):
      self._state = parallel.shared(fresh if restored is None else restored)
      inputs = build.inputs(config, train_set)
      self._feed = feed.make(
        config,
        train_set,
        step.make_train_step(
          model, updates, inputs, passes, **step.options(config)
        ),
        self._state,
      )
      self._evaluators = evaluate.of_splits(
        config, jax.jit(evaluate.make_add_batch(config, evaluated)), found
      )
      if config.probes.names:
        self._measure = measure.make(config, evaluated, found['test'])

  def run(self, interrupted: Callable[[], bool]) -> str:
    """Makes all steps that are left; returns 'done' or 'preempted'."""
    start = int(self._state.step)
    backend = self._config.parallel.backend
    self._book.begin(
      start,
      devices=self._mesh.size,
      hosts=jax.process_count(),
      backend=backend,
    )
    with (
      contextlib.closing(self._book),
      contextlib.closing(self._feed),
      jax.set_mesh(self._mesh),
    ):
      return make_steps(self._config, self, start, interrupted)

  def advance(self, steps: range) -> Callable[[], None]:
    """Dispatches T steps."""
    key = jax.random.key(self._config.seed)
    self._state, metrics = self._feed.advance(self._state, steps, key)
    return lambda: self._book.log_training(steps, jax.device_get(metrics))

  def evaluate(self, done: int) -> Callable[[], None]:
    """Dispatches the evaluation of the state after `done` steps."""
    network = self._state.params, self._state.collections
    read = {s: e.evaluate(*network) for s, e in self._evaluators.items()}
    return lambda: self._book.log_evaluation(
      done, {split: means() for split, means in read.items()}
    )

  def measure(self, done: int) -> Callable[[], None]:
    """Dispatches the probes of the state after `done` steps."""
    measured = self._measure(self._state.params, self._state.collections)
    return lambda: self._book.log_probes(done, jax.device_get(measured))

  def average(self, done: int) -> Callable[[], None]:
    """Evaluates the average of the parameters, and waits for it."""
    row = average.evaluate(
      self._config, self._state, self._train_set, self._evaluators['test']
    )
    return lambda: self._book.log_average(done, row)

  def agreed(self, stop: bool) -> bool:
    """Returns whether all hosts stop here."""
    return self._agree(stop)

  def save(self, done: int) -> None:
    """Begins to save the state after `done` steps."""
    self._book.save(self._state, done)

  def progress(self, done: int) -> None:
    """Writes now and then how far the run is."""
    self._book.progress(done, self._feed.waited)


def sources(config: Config) -> dict[str, Source]:
  """Returns all splits."""
  return {split: build.source(config, split) for split in splits.of(config)}


def note_sources(
  run: run_directory.RunDirectory,
  config: Config,
  found: dict[str, Source],
) -> None:
  """Notes in a run directory what the run is trained and tested on.

  Raises:
    Refused: the run has seen other files or classes.
  """
  spec = build.spec(config)
  run.record_data(
    spec.image_shape,
    spec.class_names,
    {split: data_file.split_of(source) for split, source in found.items()},
    {**found['test'].notes, **found['train'].notes},
  )


def looked_at(config: Config, train_set: Source) -> jax.Array:
  """Returns the batch of the network's input that initializers get.

  Of all but 'lsuv', which looks at it, it is one example of zeros.
  """
  if config.model.initializer != 'lsuv':
    return jnp.zeros((1, *build.spec(config).image_shape))
  N = config.train.batch_size
  images, _ = next(stream.in_order(train_set, build.crop(config), N, N))
  return build.pixels(config)(images)
