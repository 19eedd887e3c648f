"""The training loop: from a config and a directory to a finished run."""

import contextlib
import pathlib
from collections.abc import Callable

import jax
import numpy as np

from bnresearch import build
from bnresearch.config import ConfigError
from bnresearch.data import Source
from bnresearch.engine import (
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


def train(config: Config, path: pathlib.Path) -> str:
  """Trains, or continues, the run of directory `path`; returns its status.

  'done'; 'diverged', a result and no error; or 'preempted', saved on SIGTERM
  or SIGINT to be continued. A run that is done or diverged is left as it is.
  Where there are several hosts, all of them call it.

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
      with interruptions.noted() as interrupted, hosts.watched():
        status = _Session(config, run).run(interrupted)
    except Diverged as error:
      status, message = 'diverged', str(error)
    except hosts.Lost as error:
      run.update(status='preempted', message=str(error))
      raise
    except BaseException as error:
      run.update(status='failed', message=f'{type(error).__name__}: {error}')
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
  N = config.train.batch_size
  images = jax.ShapeDtypeStruct((N, *spec.image_shape), np.uint8)
  labels_N = jax.ShapeDtypeStruct((N,), np.int32)
  try:
    feed.is_resident(config, source)
    inputs = build.inputs(config, source)
    jax.eval_shape(inputs, jax.random.key(0), images, labels_N)
  except ValueError as error:
    raise ConfigError([str(error)]) from error


class _Session:
  """What one process does for a run, from restored state to last checkpoint.

  The order within the loop: dispatch a call of `log_every` steps; read, while
  it runs, what the calls before it left; dispatch evaluation and probes of the
  new state; save. So the device waits for the host at checkpoints only.
  """

  def __init__(self, config: Config, run: run_directory.RunDirectory):
    spec = build.spec(config)
    train_set = build.source(config, 'train')
    test_set = build.source(config, 'test')
    run.record_data(
      spec.image_shape,
      spec.class_names,
      {'train': len(train_set), 'test': len(test_set)},
      {**test_set.notes, **train_set.notes},
    )
    model = build.model(config, len(spec.class_names))
    build.check_sites(config, model, spec.image_shape)
    evaluated = build.evaluated_model(config, len(spec.class_names))
    passes = objective.passes(
      objective.count_heads(model, spec.image_shape),
      config.objective.auxiliary,
      config.objective.auxiliary_weight,
    )
    updates = optimizer.make(config.optim, config.train.steps, len(passes))
    fresh = state.create(
      model,
      updates,
      spec.image_shape,
      config.seed,
      _looked_at(config, train_set),
    )

    self.config, self.book = config, Book(config, run)
    restored = self.book.restored(fresh)
    if restored is None and config.start.path:
      fresh = start.into(
        fresh, config, model, spec.image_shape[0], spec.class_names
      )
    self.mesh = parallel.mesh(config, model, spec.image_shape)
    with jax.set_mesh(self.mesh):
      self.state = parallel.shared(fresh if restored is None else restored)
      inputs = build.inputs(config, train_set)
      self.feed = feed.make(
        config,
        train_set,
        step.make_train_step(
          model, updates, inputs, passes, config.parallel.backend
        ),
        self.state,
      )
      self.evaluator = evaluate.Evaluator(
        config, evaluated, test_set, config.eval.statistics
      )
      if config.probes.names:
        self.measure = measure.make(config, evaluated, test_set)
    self.unread: list[Callable[[], None]] = []

  def run(self, interrupted: Callable[[], bool]) -> str:
    """Makes all steps that are left; returns 'done' or 'preempted'."""
    start = int(self.state.step)
    self.book.begin(start, self.mesh.size)
    with (
      contextlib.closing(self.book),
      contextlib.closing(self.feed),
      jax.set_mesh(self.mesh),
    ):
      return self._make_steps(start, interrupted)

  def _make_steps(self, start, interrupted):
    train, stop = self.config.train, lambda: False
    key = jax.random.key(self.config.seed)
    if start == 0:
      self._observe(0)
    for first in range(start, train.steps, train.log_every):
      steps = range(first, first + train.log_every)
      self.state, metrics = self.feed.advance(self.state, steps, key)
      self._read()
      self.unread.append(
        lambda m=metrics, s=steps: self.book.log_training(s, jax.device_get(m))
      )
      self._observe(steps.stop)
      # Where there are several hosts, what they said a call ago: not to wait.
      said, stop = stop, hosts.any_of(self.mesh, interrupted())
      stopping = (stop if jax.process_count() == 1 else said)()
      if stopping or self._due(steps.stop, self.config.checkpoint.every):
        self._read()
        self.book.save(self.state, steps.stop)
      self.book.progress(steps.stop, self.feed.waited)
      if stopping and steps.stop < train.steps:
        return 'preempted'
    return 'done'

  def _due(self, done, every):
    return done % every == 0 or done == self.config.train.steps

  def _observe(self, done):
    """Dispatches the evaluation and the probes of the state after `done`."""
    params, collections = self.state.params, self.state.collections
    if self._due(done, self.config.eval.every):
      sums = self.evaluator.sums(params, collections)
      self.unread.append(
        lambda: self.book.log_evaluation(done, self.evaluator.means(sums))
      )
    if self.config.probes.names and self._due(done, self.config.probes.every):
      measured = self.measure(params, collections)
      self.unread.append(
        lambda: self.book.log_probes(done, jax.device_get(measured))
      )

  def _read(self):
    """Waits for what was dispatched before the last call, and writes it."""
    while self.unread:
      self.unread.pop(0)()


def _looked_at(config, train_set: Source):
  """Returns the batch of the network's input that an initializer looks at."""
  if config.model.initializer != 'lsuv':
    return None
  N = config.train.batch_size
  images, _ = next(stream.in_order(train_set, build.crop(config), N, N))
  return build.pixels(config)(images)
