"""How a run is evaluated and probed, and how its statistics are estimated."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import jax

from bnresearch import lookup
from bnresearch.assembly.data_set import DataSet
from bnresearch.assembly.images import Images
from bnresearch.assembly.network import Network
from bnresearch.assembly.training import Training
from bnresearch.data import Source
from bnresearch.evaluation import average, evaluate, measure, population
from bnresearch.evaluation.evaluate import Evaluator
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
  def probes(self) -> dict[str, measure.Probe]:
    """The probes by name, with their options."""
    group = self._config.probes
    found = {name: lookup.find('probes', name).measure for name in group.names}
    return {
      name: functools.partial(function, **lookup.keywords(function, group))
      for name, function in found.items()
    }

  @functools.cached_property
  def measure(self) -> Callable[..., dict[str, jax.Array]]:
    """The probes as a pure function of params, collections and a batch."""
    return measure.make_measure(
      self.probes,
      self._network.evaluated,
      self._images.pixels,
      self._config.probes.statistics,
    )

  def probe_batch(self) -> Examples:
    """Returns the fixed test images that are probed, on the device."""
    N = self._config.probes.examples
    found = stream.in_order(
      self._data.source('test'), self._images.crop(), N, N
    )
    return parallel.shared(next(found))

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
