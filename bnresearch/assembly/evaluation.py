"""How a run is evaluated and probed, and how its statistics are estimated."""

import contextlib
import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any

import jax
import numpy as np

from bnresearch import lookup
from bnresearch.assembly.data_set import DataSet
from bnresearch.assembly.images import Images
from bnresearch.assembly.network import Network
from bnresearch.assembly.training import Training
from bnresearch.data import Source
from bnresearch.evaluation import average, evaluate, population
from bnresearch.evaluation.evaluate import Evaluator
from bnresearch.evaluation.measure import (
  Batches,
  Measure,
  Probe,
  functions_of,
)
from bnresearch.knobs import Config
from bnresearch.training import parallel, stream
from bnresearch.training.state import State
from bnresearch.training.stream import Examples


class Evaluation:
  """Evaluation by the knobs of `eval`, `probes` and others."""

  def __init__(
    self,
    config: Config,
    data: DataSet,
    images: Images,
    network: Network,
    training: Training,
  ):
    self._config, self._data, self._images = config, data, images
    self._network, self._training = network, training

  def add_batch(self, statistics: str = '') -> Callable[..., dict]:
    """Returns the pure function that adds a batch to the sums.

    It uses `config.eval.statistics` unless others are given.
    """
    return evaluate.make_add_batch(
      self._network.evaluated,
      self._images.pixels,
      statistics or self._config.eval.statistics,
      self._config.train.microbatches,
    )

  def evaluator(
    self,
    source: Source,
    add_batch: Callable[..., dict],
    batch_size: int = 0,
    members: tuple[int, ...] = (),
  ) -> Evaluator:
    """Returns the `Evaluator` of a split.

    `batch_size` is `config.eval.batch_size` unless given.
    """
    config = self._config
    return Evaluator(
      add_batch,
      source,
      self._images.crop(),
      self._data.spec.image_shape,
      batch_size or config.eval.batch_size,
      microbatches=config.train.microbatches,
      workers=config.data.workers,
      members=members,
    )

  def evaluators(
    self, add_batch: Callable[..., dict], members: tuple[int, ...] = ()
  ) -> dict[str, Evaluator]:
    """Returns an evaluator for each split that is not trained on."""
    return {
      split: self.evaluator(source, add_batch, members=members)
      for split, source in self._data.sources.items()
      if split != 'train'
    }

  @functools.cached_property
  def probes(self) -> dict[str, Probe]:
    """The probes by name, with their options."""
    group = self._config.probes
    return {name: _probe(name, group) for name in group.names}

  @functools.cached_property
  def measure(self) -> Measure:
    """What measures a state with the probes."""
    group, network = self._config.probes, self._network
    functions = functions_of(
      network.whole,
      network.model,
      self._training.optimizer,
      # Of several passes, the one of the network's own head.
      max(self._training.passes, key=lambda weights: weights[0]),
      group.statistics,
      group.gradient_statistics,
    )
    return Measure(
      self.probes,
      functions,
      network.order,
      self._images.pixels,
      epsilon=self._config.norm.epsilon,
      statistics=group.statistics,
      frozen=group.gradient_statistics == 'frozen',
      split=group.gradient_split,
    )

  def probe_batches(self) -> Batches:
    """Returns the fixed examples that are probed, on the device.

    The training examples are the first part of the first batch of seed 0,
    whatever the run's own seed.
    """
    config, source = self._config, self._data.source
    n, N = self._part_size, config.probes.examples
    order = self._training.order._replace(batch_size=n, seed=0)
    crop, random_crop = self._images.crop(), self._images.random_crop
    trained = stream.training(source('train'), order, random_crop, range(1))
    with contextlib.closing(trained):
      train = next(trained)
    test = next(stream.in_order(source('test'), crop, N, N))
    return parallel.shared(Batches(train, test))

  @property
  def _part_size(self):
    """The training examples that go through the network together."""
    return self._config.train.batch_size // self._config.train.microbatches

  def probed_shapes(self) -> Batches:
    """Returns the shapes of `probe_batches`; no image is read."""
    counts = self._part_size, self._config.probes.examples
    shape = self._data.spec.image_shape
    return Batches(
      *(
        Examples(
          jax.ShapeDtypeStruct((count, *shape), np.uint8),
          jax.ShapeDtypeStruct((count,), np.int32),
        )
        for count in counts
      )
    )

  def estimate(
    self,
    state: State,
    estimator: str = 'population',
    progress: Callable[[Iterable], Iterable] = iter,
    *,
    averaged: bool = False,
  ) -> Any:
    """Returns `state.collections` with population statistics of the network.

    Args:
      state: the batches are those after its step.
      estimator: see `population_statistics`.
      progress: wraps the batches, to show how far it is.
      averaged: whether the parameters are averaged ones.
    """
    config, changed = self._config, average.OF_ITS_NORMS if averaged else {}
    return population.estimate(
      self._network.with_norms(**changed),
      self._images.inputs,
      state,
      self._training.batches,
      self._training.order,
      config.eval.population_batches,
      estimator=estimator,
      microbatches=config.train.microbatches,
      group_size=config.norm.group_size,
      progress=progress,
    )


def _probe(name, options):
  entry = lookup.find('probes', name)
  own = lookup.keywords(entry.measure, options)
  return Probe(
    functools.partial(entry.measure, **own),
    walks=getattr(entry, 'WALKS', False),
    compares='previous' in inspect.signature(entry.measure).parameters,
  )
