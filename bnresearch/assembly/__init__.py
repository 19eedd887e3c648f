"""A config's parts: the only place that turns its names into things.

An entry of a room takes as options those knobs of its group that it has by
name, so that a new file needs no line here. What training and evaluation are
made of they get from here, as objects and numbers.
"""

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from bnresearch import lookup
from bnresearch.assembly.data_set import DataSet
from bnresearch.assembly.images import Images
from bnresearch.assembly.network import Network
from bnresearch.data import Arrays, Source
from bnresearch.evaluation import average, evaluate, measure, population
from bnresearch.evaluation.evaluate import Evaluator
from bnresearch.knobs import Config
from bnresearch.training import (
  feed,
  objective,
  optimizer,
  parallel,
  state,
  step,
  stream,
)
from bnresearch.training.loop import Plan
from bnresearch.training.order import Order
from bnresearch.training.state import State
from bnresearch.training.stream import Examples, Host


def assemble(
  config: Config,
  like: 'Parts | None' = None,
  sources: Mapping[str, Arrays] | None = None,
) -> 'Parts':
  """Returns the parts of a run.

  Args:
    config: complete.
    like: parts of another config, which share their data set if it is the same.
    sources: {split: images} in place of those of `config.data`.
  """
  if like and not sources and like.data.is_of(config):
    return Parts(config, like.data)
  data = DataSet(config.data, dry_run=config.dry_run, sources=sources)
  return Parts(config, data)


class Parts:
  """What a run is made of; each part is made when first asked for, and once.

  Attributes:
    config: the run's.
    data: its data set.
    images: what is made of the images.
    network: the network, for training and for evaluation.
  """

  def __init__(self, config: Config, data: DataSet):
    self.config, self.data = config, data
    self.images = Images(config, data)
    self.network = Network(config, data)

  @property
  def order(self) -> Order:
    """Which examples make which training batch."""
    config = self.config
    return Order(
      len(self.data.source('train')),
      config.train.batch_size,
      config.seed,
      config.data.shuffle,
      config.data.shards,
    )

  def batches(
    self, steps: range, host: Host = stream.ALONE
  ) -> Iterator[Examples]:
    """Yields the training batches at `steps`, this host's part of each."""
    return stream.training(
      self.data.source('train'),
      self.order,
      self.images.random_crop,
      steps,
      self.config.data.workers,
      host,
    )

  # Training.

  @property
  def plan(self) -> Plan:
    """What is due when."""
    config = self.config
    return Plan(
      steps=config.train.steps,
      call=config.train.log_every,
      evaluate=config.eval.every,
      probe=config.probes.every if config.probes.names else 0,
      save=config.checkpoint.every,
      average=config.train.average > 0,
    )

  @functools.cached_property
  def passes(self) -> objective.Passes:
    """The passes of a step, see `objective.passes`."""
    own, heads = self.config.objective, 1
    if self.config.model.auxiliary_heads:
      heads = objective.count_heads(
        self.network.model, self.data.spec.image_shape
      )
    return objective.passes(heads, own.auxiliary, own.auxiliary_weight)

  @property
  def optimizer(self) -> optax.GradientTransformation:
    """The optimizer, its schedule included."""
    config = self.config
    return optimizer.make(config.train.steps, len(self.passes), **config.optim)

  @property
  def train_step(self) -> step.TrainStep:
    """The training step, pure."""
    train = self.config.train
    return step.make_train_step(
      self.network.model,
      self.optimizer,
      self.images.inputs,
      self.passes,
      self.config.parallel.backend,
      microbatches=train.microbatches,
      average=train.average,
    )

  def initial_batch(self) -> jax.Array:
    """Returns the batch of the network's input that initializers get.

    Of all but 'lsuv', which looks at it, it is one example of zeros.
    """
    if self.config.model.initializer != 'lsuv':
      return jnp.zeros((1, *self.data.spec.image_shape))
    N, train_set = self.config.train.batch_size, self.data.source('train')
    found, _ = next(stream.in_order(train_set, self.images.crop(), N, N))
    return self.images.pixels(found)

  def fresh_state(self) -> State:
    """Returns the state before the first update."""
    return state.create(
      self.network.model,
      self.optimizer,
      self.data.spec.image_shape,
      self.config.seed,
      self.initial_batch(),
      averaged=self.config.train.average > 0,
    )

  def device_count(self, there: int, platform: str) -> int:
    """Returns how many devices share a batch, see `parallel.count`."""
    config = self.config
    return parallel.count(
      self.network.model,
      config.train.batch_size // config.train.microbatches,
      there,
      platform,
      devices=config.parallel.devices,
      backend=config.parallel.backend,
      group_size=config.norm.group_size,
    )

  def mesh(self) -> jax.sharding.Mesh:
    """Returns the devices that share a batch, of those that there are."""
    found = jax.devices()
    count = self.device_count(len(found), found[0].platform)
    return parallel.mesh_of(found[:count])

  def is_resident(self) -> bool:
    """Returns whether the training split lives on the device.

    Raises:
      ValueError: it is to, and cannot.
    """
    return feed.is_resident(
      self.data.source('train'), self.config.data.on_device
    )

  def feed(self, now: State) -> feed.Resident | feed.Stream:
    """Returns what makes steps, on the mesh in use; `now` is for its shapes."""
    if not self.is_resident():
      return feed.Stream(self.train_step, self.batches, self.config.train.steps)
    return feed.Resident(
      self.train_step,
      self.data.source('train'),
      self.order,
      now,
      self.config.train.scan,
    )

  # Evaluation.

  def add_batch(self, statistics: str = '') -> Callable[..., dict]:
    """Returns the pure function by which evaluation adds a batch to sums.

    By `config.eval.statistics`, unless others are given.
    """
    return evaluate.make_add_batch(
      self.network.evaluated,
      self.images.pixels,
      statistics or self.config.eval.statistics,
      self.config.train.microbatches,
    )

  def evaluator(
    self,
    source: Source,
    add_batch: Callable[..., dict],
    batch_size: int = 0,
    members: tuple[int, ...] = (),
  ) -> Evaluator:
    """Returns what evaluates on a split, see `Evaluator`.

    `batch_size` is `config.eval.batch_size` unless given.
    """
    config = self.config
    return Evaluator(
      add_batch,
      source,
      self.images.crop(),
      self.data.spec.image_shape,
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
      for split, source in self.data.sources.items()
      if split != 'train'
    }

  @property
  def probes(self) -> dict[str, measure.Probe]:
    """The probes by name, with their options."""
    group = self.config.probes
    found = {name: lookup.find('probes', name).measure for name in group.names}
    return {
      name: functools.partial(function, **lookup.keywords(function, group))
      for name, function in found.items()
    }

  @property
  def measure(self) -> Callable[..., dict[str, jax.Array]]:
    """The probes as a pure function of params, collections and a batch."""
    return measure.make_measure(
      self.probes,
      self.network.evaluated,
      self.images.pixels,
      self.config.probes.statistics,
    )

  def probe_batch(self) -> Examples:
    """Returns the fixed test images that are probed, on the device."""
    N = self.config.probes.examples
    found = stream.in_order(self.data.source('test'), self.images.crop(), N, N)
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
      state: from a step on.
      estimator: see `population.estimate`.
      progress: wraps the batches, to show how far it is.
      averaged: whether the parameters are averaged ones.
    """
    config, changed = self.config, average.OF_ITS_NORMS if averaged else {}
    return population.estimate(
      self.network.with_norms(**changed, **population.of_one_batch(estimator)),
      self.images.inputs,
      state,
      self.batches,
      self.order,
      config.eval.population_batches,
      estimator=estimator,
      microbatches=config.train.microbatches,
      group_size=config.norm.group_size,
      progress=progress,
    )
