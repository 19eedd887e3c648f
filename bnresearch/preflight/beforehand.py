"""What a run would stumble over, found before its directory is touched.

Networks are traced only, for their shapes: nothing is compiled.
"""

import functools
import math
import re
from collections.abc import Collection
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from bnresearch import build
from bnresearch import config as configs
from bnresearch.config import ConfigError
from bnresearch.data import Spec
from bnresearch.evaluation import evaluate
from bnresearch.knobs import RULES, effects
from bnresearch.knobs.tree import Config, leaves
from bnresearch.machine import memory
from bnresearch.models import AUXILIARY
from bnresearch.preflight import sites
from bnresearch.probes import Batch, NetworkView
from bnresearch.runs import splits, start
from bnresearch.training import feed, optimizer, parallel, state, stream

_ADDRESS = re.compile(r'0x[0-9a-f]+')


class Machine(NamedTuple):
  """Where runs will be.

  Attributes:
    devices: of a run, at most.
    platform: 'cpu' or another.
    memory: bytes of all devices; 0 where that is not known here.
  """

  devices: int
  platform: str
  memory: int


def this_machine() -> Machine:
  """Returns that of this process, with the other hosts if there are any."""
  devices = jax.devices()
  local = memory.of_machine(jax.local_devices())
  hosts = jax.process_count()
  return Machine(len(devices), devices[0].platform, local * hosts)


# Of the data.


def check_data(config: Config) -> int:
  """Raises what training would soon, of the data and of what is to start from.

  Returns how many bytes of images live on each device.

  Raises:
    MissingData, DamagedData: the data cannot be trained on.
    FileNotFoundError: there is nothing to start from.
    ConfigError: the images do not suit what they are to go through, or there
      are fewer than a batch has; a knob has no effect on this data.
  """
  source, spec = build.source(config, 'train'), build.spec(config)
  if config.start.path:
    start.check(config)
  stream.check_shared_memory(config, source, spec.image_shape)
  N = config.train.batch_size
  if len(source) < N:
    raise ConfigError(
      [
        f'train.batch_size = {N}: is more than the {len(source)} training '
        f'examples of data.name = {config.data.name!r}. Take as many or fewer.'
      ]
    )
  images = jax.ShapeDtypeStruct((N, *spec.image_shape), np.uint8)
  labels_N = jax.ShapeDtypeStruct((N,), np.int32)
  try:
    resident = feed.is_resident(config, source)
    inputs = build.inputs(config, source)
    jax.eval_shape(inputs, jax.random.key(0), images, labels_N)
  except ValueError as error:
    raise ConfigError([str(error)]) from error
  found = [*_of_this_data(config, spec, resident)]
  if found:
    raise ConfigError(found)
  return len(source) * math.prod(spec.image_shape) if resident else 0


def _of_this_data(config, spec, resident):
  """Yields which knobs have no effect on the data that there is."""
  values = leaves(config)
  if spec.image_shape[-1] == 1:
    for key in effects.are_set(values, 'colours'):
      yield effects.refusal(
        key, values, f'the images of data.name = {config.data.name!r} are grey'
      )
  if not resident:
    for key in effects.are_set(values, 'resident'):
      why = 'without effect, as the training images do not live on the device'
      yield effects.refusal(key, values, why)
  if config.dry_run:
    return  # its data is synthetic
  for key in effects.are_set(values, 'split'):
    other = _without(config, key)
    if all(
      build.source(other, split).digest == build.source(config, split).digest
      for split in splits.of(config)
    ):
      why = 'without effect, as the data set has a test split of its own'
      yield effects.refusal(key, values, why)


# Of the network.


def check_network(
  config: Config,
  machine: Machine,
  resident: int = 0,
  swept: Collection[str] = (),
) -> None:
  """Raises what training would, of network, batch and devices together.

  Args:
    config: complete; its data is there, see `check_data`.
    machine: where it will run.
    resident: bytes of images on each device, see `check_data`.
    swept: in what the points of its sweep differ. Where that is another knob
      of the network, one without an effect may have it at another point.

  Raises:
    ConfigError: the network cannot be made, applied to a batch, or spread over
      the devices; a pattern or a knob changes nothing of it; or it surely does
      not fit into memory.
  """
  try:
    spec = build.spec(config)
    found = [*_of_this_network(config, spec, machine, resident, {*swept})]
  except ValueError as error:
    raise ConfigError([str(error)]) from error
  if found:
    raise ConfigError(found)


def _of_this_network(config, spec, machine, resident, swept):
  K, shape = len(spec.class_names), spec.image_shape
  model = build.model(config, K)
  devices = parallel.count(config, model, machine.devices, machine.platform)
  fresh = _fresh(config, model, shape)
  sites.check(config, model, shape)
  logits_NK, taps = _forward(config, model, fresh, shape, devices)
  values = leaves(config)

  if devices == 1:
    for key in effects.are_set(values, 'devices'):
      why = 'without effect, as this run has one device only'
      yield effects.refusal(key, values, why)
  for key in effects.are_set(values, 'heads'):
    if not any(name.startswith(AUXILIARY) for name in taps):
      yield effects.refusal(key, values, 'this network has no place for any')
  lenient = {key for key in swept if key.startswith(('model.', 'norm.'))}
  for key in effects.are_set(values, 'network'):
    if not lenient - {key} and _is_in_vain(key, config, spec):
      yield effects.refusal(key, values, 'is without effect in this network')
  if not config.dry_run and not _look(config, fresh, spec):
    for key in effects.are_set(values, 'probes'):
      yield effects.refusal(
        key,
        values,
        f'none of probes.names = {config.probes.names} looks at images',
      )
  if why := memory.problem(
    config,
    devices=devices,
    available=machine.memory or math.inf,
    state=fresh,
    resident=resident,
    taps={'logits': logits_NK, **taps},
  ):
    yield why


def _without(config, key):
  """Returns a config in which a knob has its default."""
  return _with(config, key, effects.KNOBS[key].default)


def _with(config, key, value):
  other = config.copy_and_resolve_references()
  configs.override(other, {key: value})
  return other.lock()


def _fresh(config, model, shape):
  """Returns the state before the first update, for its shapes."""
  updates = optimizer.make(config.optim, config.train.steps)
  create = functools.partial(
    state.traceable, model, updates, averaged=config.train.average > 0
  )
  x_NHWC = jax.ShapeDtypeStruct((2, *shape), jnp.float32)
  return jax.eval_shape(create, jax.random.key(0), x_NHWC)


def _forward(config, model, fresh, shape, devices):
  """Returns shapes of logits and taps of a part of a batch, in training."""

  def forward(params, collections, x_NHWC, key):
    outputs, new = model.apply(
      {'params': params, **collections},
      x_NHWC,
      train=True,
      mutable=list(collections),
      rngs={'dropout': key},
    )
    return params, new, outputs

  # By pmap, devices have the same shares, but it wants real ones.
  backend = 'jit' if config.parallel.backend == 'jit' else 'shard_map'
  spread = parallel.spread(forward, backend)
  N = config.train.batch_size // config.train.microbatches
  x_NHWC = jax.ShapeDtypeStruct((N, *shape), jnp.float32)
  mesh = parallel.abstract_mesh(devices)
  with jax.sharding.use_abstract_mesh(mesh):
    *_, outputs = jax.eval_shape(
      spread, fresh.params, fresh.collections, x_NHWC, jax.random.key(0)
    )
  return outputs


def _is_in_vain(key, config, spec):
  """Says whether the network is the same whatever a knob is.

  To name what is the architecture's own is not in vain: another value changes
  the network.
  """
  default, here = effects.KNOBS[key].default, _fingerprint(config, spec)
  others = RULES[key].choices if default == 'own' else (default,)

  def is_the_same(other):
    try:
      return _fingerprint(_with(config, key, other), spec) == here
    except ValueError:  # one of the two cannot be made
      return False

  return all(map(is_the_same, others))


def _fingerprint(config, spec):
  """Returns what is the same for networks that are: initial and in training."""
  model = build.model(config, len(spec.class_names))
  init = functools.partial(model.init_with_output, train=True)
  keys = {'params': jax.random.key(0), 'dropout': jax.random.key(1)}
  N = config.train.batch_size // config.train.microbatches
  x_NHWC = jax.ShapeDtypeStruct((N, *spec.image_shape), jnp.float32)
  return _ADDRESS.sub('', str(jax.make_jaxpr(init)(keys, x_NHWC)))


def _look(config: Config, fresh: state.State, spec: Spec) -> bool:
  """Says whether a probe applies the network to images."""
  if not config.probes.names:
    return True
  asked = []
  model = build.evaluated_model(config, len(spec.class_names))
  forward = evaluate.make_forward(model, config.probes.statistics)

  def noted(*arguments):
    asked.append(True)
    return forward(*arguments)

  def measure(params, collections, x_NHWC, labels_N):
    view = NetworkView(params, collections, noted)
    return build.probes(config)(view, Batch(x_NHWC, labels_N))

  x_NHWC = jax.ShapeDtypeStruct((2, *spec.image_shape), jnp.float32)
  labels_N = jax.ShapeDtypeStruct((2,), jnp.int32)
  jax.eval_shape(measure, fresh.params, fresh.collections, x_NHWC, labels_N)
  return bool(asked)
