"""The training loop: from a config and a directory to a finished run."""

import contextlib
import pathlib
import time
from collections.abc import Callable

import jax
import numpy as np

from bnresearch import build, conventions
from bnresearch.config import ConfigError
from bnresearch.data import Source
from bnresearch.engine import (
  evaluate,
  feed,
  interruptions,
  measure,
  objective,
  optimizer,
  population,
  start,
  state,
  step,
  stream,
)
from bnresearch.engine.checkpoint import Checkpoints
from bnresearch.records import provenance, run_directory
from bnresearch.records.config_file import Config, digest

_STATUS_EVERY = 0.3  # seconds between two writes of status.json


class Diverged(ArithmeticError):
  """The loss has left the finite numbers."""


def train(config: Config, path: pathlib.Path) -> str:
  """Trains, or continues, the run of directory `path`; returns its status.

  'done'; 'diverged', a result and no error; or 'preempted', saved on SIGTERM
  or SIGINT to be continued. A run that is done or diverged is left as it is.

  Raises:
    run_directory.Refused: the directory is not this run's, or in use.
  """
  with run_directory.claim(path, config) as run:
    if run.status.get('status') in run_directory.ENDED:
      return run.status['status']
    run.update(status='running', message='', **run_directory.this_process())
    message = ''
    try:
      with interruptions.noted() as interrupted:
        status = _Session(config, run).run(interrupted)
    except Diverged as error:
      status, message = 'diverged', str(error)
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
      averaged=config.train.average > 0,
    )

    self.config, self.run_directory = config, run
    self.checkpoints = Checkpoints(run.checkpoints, config.checkpoint.keep)
    restored = self.checkpoints.restore_newest_whole(fresh)
    if restored is None and config.start.path:
      fresh = start.into(
        fresh, config, model, spec.image_shape[0], spec.class_names
      )
    self.state = fresh if restored is None else restored
    run.logbook.keep_until(-1 if restored is None else int(restored.step))
    inputs = build.inputs(config, train_set)
    self.feed = feed.make(
      config,
      train_set,
      step.make_train_step(
        model, updates, inputs, passes, **step.options(config)
      ),
      self.state,
    )
    self.evaluator = evaluate.Evaluator(
      config, evaluated, test_set, config.eval.statistics
    )
    if config.probes.names:
      self.measure = measure.make(config, evaluated, test_set)
    self.unread: list[Callable[[], None]] = []
    self.evaluated: dict[int, dict[str, float]] = {}
    self.last: dict[str, float] = {}
    self.provenance = {
      **provenance.collect(),
      'conventions': conventions.header(
        config.norm, config.train.steps, build.norm_options(config)
      ),
    }

  def run(self, interrupted: Callable[[], bool]) -> str:
    """Makes all steps that are left; returns 'done' or 'preempted'."""
    train = self.config.train
    key = jax.random.key(self.config.seed)
    start = int(self.state.step)
    self.run_directory.begin_session(start, self.provenance)
    clock = _Clock(self.run_directory.status, start)
    with contextlib.closing(self.checkpoints), contextlib.closing(self.feed):
      if start == 0:
        self._observe(0)
      for first in range(start, train.steps, train.log_every):
        steps = range(first, first + train.log_every)
        self.state, metrics = self.feed.advance(self.state, steps, key)
        self._read()
        self.unread.append(lambda m=metrics, s=steps: self._log_training(s, m))
        self._observe(steps.stop)
        stop = interrupted()
        if stop or self._due(steps.stop, self.config.checkpoint.every):
          self._save(steps.stop)
        self.run_directory.update(
          throttle=_STATUS_EVERY,
          **clock.read(steps.stop),
          seconds_without_data=round(self.feed.waited, 3),
          steps=train.steps,
          **self.last,
        )
        if stop and steps.stop < train.steps:
          return 'preempted'
    return 'done'

  def _due(self, done, every):
    return done % every == 0 or done == self.config.train.steps

  def _observe(self, done):
    """Dispatches the evaluation and the probes of the state after `done`."""
    params, collections = self.state.params, self.state.collections
    if self._due(done, self.config.eval.every):
      sums = self.evaluator.sums(params, collections)
      self.unread.append(lambda: self._log_evaluation(done, sums))
    if self.config.probes.names and self._due(done, self.config.probes.every):
      measured = self.measure(params, collections)
      self.unread.append(
        lambda: self.run_directory.logbook.write(done, jax.device_get(measured))
      )

  def _read(self):
    """Waits for what was dispatched before the last call, and writes it."""
    while self.unread:
      self.unread.pop(0)()

  def _log_training(self, steps, metrics):
    metrics = jax.device_get(metrics)
    loss_T = metrics['loss']
    self.last = {'loss': float(loss_T[-1])}
    self.run_directory.logbook.write(
      steps.stop,
      {f'train/{name}': np.mean(value_T) for name, value_T in metrics.items()},
    )
    bad = np.flatnonzero(~np.isfinite(loss_T))
    if len(bad):
      raise Diverged(
        f'The loss is {loss_T[bad[0]]} at step {steps[bad[0]] + 1}, in the '
        f'call of steps {steps.start + 1} to {steps.stop}. A smaller '
        'optim.learning_rate may keep it finite.'
      )

  def _log_evaluation(self, done, sums):
    means = self.evaluator.means(sums)
    self.evaluated = {done: means}
    self.run_directory.logbook.write(
      done, {f'test/{name}': value for name, value in means.items()}
    )

  def _save(self, done):
    self._read()
    self.run_directory.logbook.sync()
    self.checkpoints.save(
      self.state,
      self.evaluated.get(done),
      {
        'config': digest(self.config),
        'provenance': self.provenance,
        'statistics': population.provenance_of_ema(self.config, done),
      },
    )


class _Clock:
  """Measures training time over all sessions, and this session's speed."""

  def __init__(self, status: dict, start: int):
    self.before, self.start = status.get('seconds', 0.0), start
    self.began = time.monotonic()

  def read(self, done: int) -> dict[str, float]:
    here = time.monotonic() - self.began
    return {
      'step': done,
      'seconds': round(self.before + here, 3),
      'steps_per_second': round((done - self.start) / here, 1),
    }


def _looked_at(config, train_set: Source):
  """Returns the batch of the network's input that an initializer looks at."""
  if config.model.initializer != 'lsuv':
    return None
  N = config.train.batch_size
  images, _ = next(stream.in_order(train_set, build.crop(config), N, N))
  return build.pixels(config)(images)
