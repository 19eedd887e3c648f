"""The training loop: from a config and a directory to a finished run."""

import contextlib
import pathlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from bnresearch import build
from bnresearch.config import ConfigError
from bnresearch.data import Source
from bnresearch.engine import (
  average,
  evaluate,
  feed,
  hosts,
  interruptions,
  measure,
  objective,
  optimizer,
  parallel,
  start,
  state,
  step,
  stream,
)
from bnresearch.engine.book import Book, Diverged
from bnresearch.records import run_directory
from bnresearch.records.config_file import Config


def train(
  config: Config,
  path: pathlib.Path,
  interrupted: Callable[[], bool] | None = None,
) -> str:
  """Trains, or continues, the run of directory `path`; returns its status.

  'done'; 'diverged', a result and no error; or 'preempted', saved on SIGTERM
  or SIGINT to be continued. A run that is done or diverged is left as it is.
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
      run.update(status='failed', message=f'{type(error).__name__}: {error}')
      raise
    except BaseException:  # a second Ctrl-C: it can be continued
      run.update(status='preempted')
      raise
    run.update(status=status, message=message)
    return status


def check(config: Config) -> None:
  """Raises what training would soon, before a directory is touched.

  Raises:
    MissingData, DamagedData: the data cannot be trained on.
    FileNotFoundError: there is nothing to start from.
    ConfigError: the images do not suit what they are to go through.
  """
  source, spec = build.source(config, 'train'), build.spec(config)
  if config.start.path:
    start.check(config)
  stream.check_shared_memory(config, source, spec.image_shape)
  N = config.train.batch_size
  images = jax.ShapeDtypeStruct((N, *spec.image_shape), np.uint8)
  labels_N = jax.ShapeDtypeStruct((N,), np.int32)
  try:
    feed.is_resident(config, source)
    inputs = build.inputs(config, source)
    jax.eval_shape(inputs, jax.random.key(0), images, labels_N)
  except ValueError as error:
    raise ConfigError([str(error)]) from error


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

  def due(done, every):
    return done % every == 0 or done == steps

  def observe(done):
    if due(done, config.eval.every):
      unread.append(session.evaluate(done))
    if config.probes.names and due(done, config.probes.every):
      unread.append(session.measure(done))
    if config.train.average and done == steps:
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
    if stop or due(call.stop, config.checkpoint.every):
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
    with hosts.together():
      train_set, test_set = sources(config)
      note_sources(run, config, train_set, test_set)
      model = build.model(config, len(spec.class_names))
      build.check_sites(config, model, spec.image_shape)
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
      self._evaluator = evaluate.make(
        config, evaluated, test_set, config.eval.statistics
      )
      if config.probes.names:
        self._measure = measure.make(config, evaluated, test_set)

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
    state, means = self._state, self._evaluator.means
    sums = self._evaluator.sums(state.params, state.collections)
    return lambda: self._book.log_evaluation(done, means(sums))

  def measure(self, done: int) -> Callable[[], None]:
    """Dispatches the probes of the state after `done` steps."""
    measured = self._measure(self._state.params, self._state.collections)
    return lambda: self._book.log_probes(done, jax.device_get(measured))

  def average(self, done: int) -> Callable[[], None]:
    """Evaluates the average of the parameters, and waits for it."""
    row = average.evaluate(
      self._config, self._state, self._train_set, self._evaluator
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


def sources(config: Config) -> tuple[Source, Source]:
  """Returns the training and the test split."""
  return build.source(config, 'train'), build.source(config, 'test')


def note_sources(
  run: run_directory.RunDirectory,
  config: Config,
  train_set: Source,
  test_set: Source,
) -> None:
  """Notes in a run directory what the run is trained and tested on.

  Raises:
    Refused: the run has seen other files or classes.
  """
  spec = build.spec(config)
  run.record_data(
    spec.image_shape,
    spec.class_names,
    {'train': len(train_set), 'test': len(test_set)},
    {**test_set.notes, **train_set.notes},
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
