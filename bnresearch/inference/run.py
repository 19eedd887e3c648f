"""A run, opened again: its config, numbers and checkpoints.

import bnresearch as bnr

run = bnr.open_run('runs/figure1/init_std=0.01,norm=batch,seed=0')
steps, accuracy = run.metrics['test/accuracy']
state = run.restore('best')
logits_NK, taps = run.apply(state, images_NHWC, statistics='population')
exact = run.with_statistics(state, 'population')  # Algorithm 2's, in a state
run.save_statistics(state, 'population')          # kept, with provenance
"""

import functools
import logging
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from bnresearch import config as configs
from bnresearch import knobs
from bnresearch.assembly import Parts
from bnresearch.assembly.data_set import DataSet
from bnresearch.data import Source, Spec
from bnresearch.evaluation import average as averages
from bnresearch.evaluation import evaluate, population
from bnresearch.inference import saved
from bnresearch.knobs import Config
from bnresearch.runs import logbook, run_directory
from bnresearch.runs.checkpoint import Checkpoints
from bnresearch.statistics import shards
from bnresearch.statistics.population import ESTIMATORS
from bnresearch.training import objective, parallel
from bnresearch.training.state import State


class Run:
  """The contents of a run directory. Reading changes nothing in it.

  Attributes:
    path: the directory.
    config: the run's complete config.
  """

  def __init__(self, path: str | os.PathLike, **moved: str | int):
    self.path = pathlib.Path(path)
    self.config: Config = run_directory.read_config(self.path, knobs.KNOBS)
    values = {f'data.{key}': value for key, value in moved.items()}
    if problems := configs.override(self.config, values):
      raise configs.ConfigError(problems)
    self._forward = functools.cache(self._make_forward)
    self._evaluator = functools.cache(self._make_evaluator)

  def __repr__(self) -> str:
    status = self.status.get('status', 'not begun')
    saved = len(self.checkpoints)
    return f'<Run {self.path}: {status}, {saved} checkpoints>'

  @property
  def status(self) -> dict[str, Any]:
    """The status ('done', 'running', ...), step, seconds and so on."""
    return run_directory.read_status(self.path)

  @property
  def metrics(self) -> dict[str, logbook.Series]:
    """{name: (steps (T,), values (T, ...))}, such as 'test/accuracy'."""
    return logbook.read(self.path / 'metrics.jsonl')

  @property
  def checkpoints(self) -> list[int]:
    """The steps that can be restored, ascending."""
    folder = self.path / 'checkpoints'
    return self._checkpoints.steps if folder.exists() else []

  def restore(self, step: str | int = 'latest') -> State:
    """Returns the state at a checkpoint: 'latest', 'best', or its step.

    Warns if the statistics were not made at the parameters' step, such as
    frozen ones.

    Raises:
      checkpoint.RestoreError: the checkpoint does not exist, or is damaged.
    """
    state = self._checkpoints.restore(self._template, step)
    why = population.stale(self.meta(state)['statistics'], int(state.step))
    if why and state.collections:
      logging.warning(why)
    return state

  def meta(self, state: State) -> dict[str, Any]:
    """Returns the notes of a restored state's checkpoint."""
    return self._checkpoints.meta(int(state.step))

  def apply(
    self,
    state: State,
    images: np.ndarray,
    statistics: str = 'ema',
    *,
    average: bool = False,
  ) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Runs the network on images.

    Args:
      state: from `restore`.
      images: uint8 (N, H, W, C), as in `source(...).images_NHWC`.
      statistics: the statistics that normalize: 'ema', the state's, which are
        the running averages of training; 'population', by Algorithm 2;
        'pooled', of all values of the same batches; or 'batch', of `images`.
      average: whether to use the averaged parameters, which have no 'ema'.

    Returns:
      Logits (N, K), and the taps: every pre-activation by layer name.
    """
    state = self.with_statistics(state, statistics, average=average)
    return self._forward(statistics)(state.params, state.collections, images)

  def evaluate(
    self,
    state: State,
    statistics: str = 'ema',
    split: str = 'test',
    batch_size: int | None = None,
  ) -> dict[str, float]:
    """Returns 'loss', 'accuracy' and so on over a whole split, exactly.

    `batch_size` is config.eval's unless given; it changes the result only if
    the statistics are the batch's.
    """
    size = batch_size or self.config.eval.batch_size
    state = self.with_statistics(state, statistics)
    with parallel.on_devices(self.model):
      evaluator = self._evaluator(statistics, split, size)
      network = parallel.shared((state.params, state.collections))
      return evaluator.means(evaluator.sums(*network))

  def with_statistics(
    self,
    state: State,
    statistics: str,
    progress: Callable[[Iterable], Iterable] = iter,
    *,
    average: bool = False,
  ) -> State:
    """Returns the state with 'population' or 'pooled' statistics in it.

    Takes the statistics saved for this step and these parameters; else
    estimates them, with a warning if the saved ones are stale or damaged. 'ema'
    and 'batch' change nothing.

    Args:
      state: from `restore`.
      statistics: one of `evaluate.STATISTICS`.
      progress: wraps the batches of an estimate, to show progress.
      average: whether to use the averaged parameters, and statistics for them,
        see `evaluation/average.py`.
    """
    if average:
      state = averages.instead(state, statistics)
    if statistics not in ESTIMATORS or not state.collections:
      return state
    folder = self._statistics_folder(statistics, average)
    collections = saved.statistics(folder, state, self._template, statistics)
    if collections is None:
      self.source('train')  # checks that it is what the run used
      collections = self.parts.evaluation.estimate(
        state, statistics, progress, averaged=average
      )
    return state.replace(collections=collections)

  def save_statistics(
    self,
    state: State,
    estimator: str,
    progress: Callable[[Iterable], Iterable] = iter,
    *,
    average: bool = False,
  ) -> pathlib.Path:
    """Saves a state with its population statistics as a checkpoint.

    The checkpoint holds no optimizer state. It notes the estimator, batches,
    group size and the parameters' step. `with_statistics` then finds it.

    Args:
      state: from `restore`.
      estimator: 'population' or 'pooled'.
      progress: as in `with_statistics`.
      average: likewise.

    Returns:
      Its folder in the run, statistics/<estimator>, or average_<estimator>.

    Raises:
      ValueError: there is no such estimator, or the network has no statistics.
    """
    if estimator not in ESTIMATORS or not state.collections:
      raise ValueError(
        f'estimator = {estimator!r}: needs one of '
        f'{", ".join(ESTIMATORS)}, and a network with statistics.'
      )
    exact = self.with_statistics(state, estimator, progress, average=average)
    folder = self._statistics_folder(estimator, average)
    saved.save(folder, exact, self.config, estimator)
    return folder

  def source(self, split: str) -> Source:
    """Returns the data that the run used: 'train', 'validation' or 'test'.

    Raises:
      run_directory.Refused: its classes or images have changed since.
    """
    return self.parts.data.source(split)

  @functools.cached_property
  def parts(self) -> Parts:
    """The run's parts.

    The data set's spec is the one that the run recorded, and its splits are
    checked: they are what the run used.
    """
    own = DataSet(
      self.config.data,
      dry_run=self.config.dry_run,
      read_spec=self._read_spec,
      check=functools.partial(run_directory.check_source, self.path),
    )
    return Parts(self.config, own)

  @property
  def spec(self) -> Spec:
    """The images that the network takes, and its classes."""
    return self.parts.data.spec

  @property
  def model(self) -> nn.Module:
    """The network, as it is evaluated."""
    return self.parts.network.evaluated

  @functools.cached_property
  def _template(self):
    return self.parts.training.shapes()

  @functools.cached_property
  def _checkpoints(self):
    return Checkpoints(self.path / 'checkpoints', keep=None)

  @functools.cached_property
  def probabilities(self) -> Callable[..., jax.Array]:
    """A function of `params, collections, images` to probabilities (N, K).

    Running statistics normalize. The images, uint8 (N, H, W, C), are split over
    the mesh in use.
    """
    forward = evaluate.make_forward(self.model, 'ema')
    pixels = self.parts.images.pixels

    def probabilities(params, collections, images):
      logits, _ = forward(params, collections, pixels(shards.split(images)))
      return shards.undivided(jax.nn.softmax(objective.of_examples(logits)))

    return jax.jit(probabilities)

  def _read_spec(self):
    image_shape, class_names, about = run_directory.read_data(self.path)
    return Spec(image_shape, class_names, about['examples'])

  def _make_forward(self, statistics):
    forward = evaluate.make_forward(self.model, statistics)
    pixels = self.parts.images.pixels
    return jax.jit(lambda params, c, images: forward(params, c, pixels(images)))

  def _make_evaluator(self, statistics, split, batch_size):
    add_batch = jax.jit(self.parts.evaluation.add_batch(statistics))
    return self.parts.evaluation.evaluator(
      self.source(split), add_batch, batch_size
    )

  def _statistics_folder(self, estimator, average):
    name = f'average_{estimator}' if average else estimator
    return self.path / 'statistics' / name


def open_run(path: str | os.PathLike, **moved: str | int) -> Run:
  """Opens a run directory, finished or not.

  Args:
    path: the directory.
    **moved: keys of `config.data` that differ on this machine, such as
      `folder`.

  Raises:
    FileNotFoundError: `path` is no run; the message names the runs inside it.
    Refused: its config is damaged, or of a newer version.
  """
  return Run(path, **moved)
