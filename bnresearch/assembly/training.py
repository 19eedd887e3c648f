"""How a run is trained: batches, step, feed, and what is due when."""

import functools

import jax
import jax.numpy as jnp
import optax

from bnresearch.assembly.data_set import DataSet
from bnresearch.assembly.images import Images
from bnresearch.assembly.network import Network
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
from bnresearch.training.stream import Host


class Training:
  """By the knobs of `train`, `objective`, `optim`, `parallel` and others."""

  def __init__(
    self, config: Config, data: DataSet, images: Images, network: Network
  ):
    self._config, self._data = config, data
    self._images, self._network = images, network

  @functools.cached_property
  def order(self) -> Order:
    """Which examples make which training batch."""
    config = self._config
    return Order(
      len(self._data.source('train')),
      config.train.batch_size,
      config.seed,
      config.data.shuffle,
      config.data.shards,
    )

  def batches(self, steps: range, host: Host = stream.ALONE) -> stream.Batches:
    """Yields the training batches at `steps`, this host's part of each."""
    return stream.training(
      self._data.source('train'),
      self.order,
      self._images.random_crop,
      steps,
      self._config.data.workers,
      host,
    )

  @functools.cached_property
  def plan(self) -> Plan:
    """What is due when."""
    config = self._config
    return Plan(
      steps=config.train.steps,
      call=config.train.log_every,
      evaluate=config.eval.every,
      save=config.checkpoint.every,
      average=config.train.average > 0,
      probes=len(config.probes.names) > 0,
      probe=config.probes.every,
      probe_at=config.probes.steps,
    )

  @functools.cached_property
  def passes(self) -> objective.Passes:
    """The passes of a step, see `objective.passes`."""
    own, heads = self._config.objective, 1
    if self._config.model.auxiliary_heads:
      heads = objective.count_heads(
        self._network.model, self._network.input_shape
      )
    return objective.passes(heads, own.auxiliary, own.auxiliary_weight)

  @functools.cached_property
  def optimizer(self) -> optax.GradientTransformation:
    """The optimizer, its schedule included."""
    config = self._config
    return optimizer.make(config.train.steps, len(self.passes), **config.optim)

  @functools.cached_property
  def train_step(self) -> step.TrainStep:
    """The training step, pure."""
    train, own = self._config.train, self._config.objective
    return step.make_train_step(
      self._network.model,
      self.optimizer,
      self._images.inputs,
      self.passes,
      self._config.parallel.backend,
      cut=objective.is_cut(own.auxiliary),
      microbatches=train.microbatches,
      average=train.average,
    )

  def initial_batch(self) -> jax.Array:
    """Returns the batch of the network's input that initializers get.

    Only 'lsuv' looks at it; for the others it is one example of zeros.
    """
    own = self._config.model
    sites = {site.rpartition('=')[2] for site in own.init_sites}
    if 'lsuv' not in {own.initializer, *sites}:
      return jnp.zeros((1, *self._network.input_shape))
    N, train_set = self._config.train.batch_size, self._data.source('train')
    found, _ = next(stream.in_order(train_set, self._images.crop(), N, N))
    return self._images.pixels(found)

  def fresh_state(self) -> State:
    """Returns the state before the first update."""
    return state.create(
      self._network.model,
      self.optimizer,
      self._network.input_shape,
      self._config.seed,
      self.initial_batch(),
      averaged=self._config.train.average > 0,
    )

  def shapes(self) -> State:
    """Returns the shapes of the run's states; nothing is computed."""
    create = functools.partial(
      state.traceable,
      self._network.model,
      self.optimizer,
      averaged=self._config.train.average > 0,
    )
    image_shape = self._network.input_shape
    x_NHWC = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    return jax.eval_shape(create, jax.random.key(0), x_NHWC)

  def device_count(self, there: int, platform: str) -> int:
    """Returns how many devices share a batch, see `parallel.count`."""
    config = self._config
    return parallel.count(
      self._network.model,
      config.train.batch_size // config.train.microbatches,
      there,
      platform,
      devices=config.parallel.devices,
      backend=config.parallel.backend,
      group_size=config.norm.group_size,
    )

  def mesh(self) -> jax.sharding.Mesh:
    """Returns the devices here that share a batch."""
    found = jax.devices()
    count = self.device_count(len(found), found[0].platform)
    return parallel.mesh_of(found[:count])

  def is_resident(self) -> bool:
    """Returns whether the training split lives on the device.

    Raises:
      ValueError: it should, and cannot.
    """
    return feed.is_resident(
      self._data.source('train'), self._config.data.on_device
    )

  def feed(self, now: State) -> feed.Resident | feed.Stream:
    """Returns what makes steps, on the mesh in use; `now` is for its shapes."""
    if not self.is_resident():
      return feed.Stream(
        self.train_step, self.batches, self._config.train.steps
      )
    return feed.Resident(
      self.train_step,
      self._data.source('train'),
      self.order,
      now,
      self._config.train.scan,
      self.plan.call,
    )
