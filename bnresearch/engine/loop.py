"""The training loop: from a config and a directory to a finished run."""

import contextlib
import functools
import pathlib
import signal
import threading
import time
from collections.abc import Callable, Iterator

import jax
import numpy as np

from bnresearch import build, conventions
from bnresearch.data import Source
from bnresearch.engine import (
  evaluate,
  objective,
  optimizer,
  population,
  state,
  step,
)
from bnresearch.engine.checkpoint import Checkpoints
from bnresearch.engine.order import batch_indices
from bnresearch.models import AUXILIARY
from bnresearch.probes import Batch, View
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
    if run.status.get('status') in ('done', 'diverged'):
      return run.status['status']
    run.update(status='running', message='', **run_directory.this_process())
    message = ''
    try:
      with _interruptions() as interrupted:
        status = _Session(config, run).run(interrupted)
    except Diverged as error:
      status, message = 'diverged', str(error)
    except BaseException as error:
      run.update(status='failed', message=f'{type(error).__name__}: {error}')
      raise
    run.update(status=status, message=message)
    return status


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
    model = build.model(config, len(spec.class_names))
    evaluated = build.evaluated_model(config, len(spec.class_names))
    pixels = build.pixels(config)
    passes = _passes(config, model, spec.image_shape)
    updates = optimizer.make(config.optim, config.train.steps, len(passes))
    fresh = state.create(
      model,
      updates,
      spec.image_shape,
      config.seed,
      pixels(train_set.images_NHWC[: config.train.batch_size])
      if config.model.initializer == 'lsuv'
      else None,
    )

    self.config, self.run_directory = config, run
    self.checkpoints = Checkpoints(run.checkpoints, config.checkpoint.keep)
    restored = self.checkpoints.restore_newest_whole(fresh)
    self.state = fresh if restored is None else restored
    run.logbook.keep_until(-1 if restored is None else int(restored.step))
    self.split = jax.device_put(
      step.Examples(train_set.images_NHWC, train_set.labels_N)
    )
    self.advance = step.make_advance(
      step.make_train_step(model, updates, pixels, passes),
      config.train.scan,
      (self.state, self.split),
      config.train.batch_size,
    )
    self.evaluator = evaluate.Evaluator(
      evaluated,
      pixels,
      test_set,
      config.eval.batch_size,
      config.eval.statistics,
    )
    self.measure = _make_measure(config, evaluated, pixels, test_set)
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
    with contextlib.closing(self.checkpoints):
      if start == 0:
        self._observe(0)
      for first in range(start, train.steps, train.log_every):
        steps = range(first, first + train.log_every)
        indices_TN = batch_indices(
          len(self.split.labels), train.batch_size, self.config.seed, steps
        )
        self.state, metrics = self.advance(
          self.state, self.split, indices_TN, key
        )
        self._read()
        self.unread.append(lambda m=metrics, s=steps: self._log_training(s, m))
        self._observe(steps.stop)
        stop = interrupted()
        if stop or self._due(steps.stop, self.config.checkpoint.every):
          self._save(steps.stop)
        self.run_directory.update(
          throttle=_STATUS_EVERY,
          **clock.read(steps.stop),
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


def _passes(config, model, image_shape):
  """Returns the passes of a step, by how many heads the network has."""
  x_NHWC = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
  init = functools.partial(model.init_with_output, train=False)
  (logits, taps), _ = jax.eval_shape(init, jax.random.key(0), x_NHWC)
  return objective.passes(
    len(objective.heads(logits, taps)),
    config.objective.auxiliary,
    config.objective.auxiliary_weight,
  )


def _make_measure(config, model, pixels, test_set: Source):
  """Returns the compiled probes, `measure(params, collections)`."""
  examples = slice(config.probes.examples)
  images, labels_N = jax.device_put(
    (test_set.images_NHWC[examples], test_set.labels_N[examples])
  )
  whole = evaluate.make_forward(model, config.probes.statistics)
  probes = build.probes(config)

  def forward(params, collections, x_NHWC):
    logits_NK, taps = whole(params, collections, x_NHWC)
    heads = [name for name in taps if name.startswith(AUXILIARY)]
    return logits_NK, {k: x for k, x in taps.items() if k not in heads}

  @jax.jit
  def measure(params, collections, images, labels_N):
    view = View(params, collections, forward)
    return probes(view, Batch(pixels(images), labels_N))

  return lambda params, collections: measure(
    params, collections, images, labels_N
  )


@contextlib.contextmanager
def _interruptions() -> Iterator[Callable[[], bool]]:
  """Yields a function that says whether SIGTERM or SIGINT has come.

  A second signal has its usual effect, at once. Outside the main thread,
  where Python delivers no signals, the function always says no.
  """
  came = threading.Event()
  if threading.current_thread() is not threading.main_thread():
    yield came.is_set
    return
  usual = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}

  def restore():
    for number, handler in usual.items():
      signal.signal(number, handler)

  def note(number, frame):
    came.set()
    restore()

  for number in usual:
    signal.signal(number, note)
  try:
    yield came.is_set
  finally:
    restore()
