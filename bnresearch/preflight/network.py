"""What a run would stumble over in its network, on the devices at hand."""

import functools
import math
import re
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from bnresearch import knobs
from bnresearch.assembly import Parts, assemble
from bnresearch.config import ConfigError, changed
from bnresearch.evaluation.measure import network_of
from bnresearch.models import AUXILIARY
from bnresearch.preflight import Machine, memory, sites
from bnresearch.training import parallel
from bnresearch.training.state import State

_ADDRESS = re.compile(r'0x[0-9a-f]+')


def check_network(
  parts: Parts,
  machine: Machine,
  resident: int = 0,
  swept: Collection[str] = (),
) -> None:
  """Raises what training would raise about network, batch and devices.

  Args:
    parts: of the run; its data is there, see `check_images`.
    machine: where it will run.
    resident: bytes of images on each device, see there.
    swept: the knobs in which the points of its sweep differ. If another knob of
      the network is among them, a knob without effect here may have one at
      another point.

  Raises:
    ConfigError: the network cannot be made, applied to a batch, or split over
      the devices; a pattern or a knob changes nothing in it; or it surely does
      not fit into memory.
  """
  try:
    found = [*_problems(parts, machine, resident, {*swept})]
  except ValueError as error:
    raise ConfigError(str(error)) from error
  if found:
    raise ConfigError(found)


def _problems(parts, machine, resident, swept):
  config, values = parts.config, knobs.leaves(parts.config)
  devices = parts.training.device_count(machine.devices, machine.platform)
  fresh = parts.training.shapes()
  sites.check(parts)
  sites.check_initializers(parts, fresh.params)
  sites.check_trained(parts, fresh.params)
  logits_NK, taps = _forward(parts, fresh, devices)

  if devices == 1:
    for key in knobs.are_set(values, 'devices'):
      why = 'without effect, as this run has one device only'
      yield knobs.refusal(key, values, why)
  for key in knobs.are_set(values, 'heads'):
    if not any(name.startswith(AUXILIARY) for name in taps):
      yield knobs.refusal(key, values, 'this network has no place for any')
  lenient = {key for key in swept if key.startswith(('model.', 'norm.'))}
  for key in knobs.are_set(values, 'network'):
    if not lenient - {key} and _is_in_vain(key, parts):
      yield knobs.refusal(key, values, 'is without effect in this network')
  if not config.dry_run and config.probes.names:
    yield from _unseen(parts, fresh, values)
  if why := memory.problem(
    config.train.batch_size,
    config.train.microbatches,
    config.train.remat,
    devices=devices,
    available=machine.memory or math.inf,
    state=fresh,
    resident=resident,
    taps={'logits': logits_NK, **taps},
  ):
    yield why


def _forward(parts, fresh, devices):
  """Returns shapes of logits and taps of a part of a batch, in training."""

  def forward(params, collections, x_NHWC, key):
    outputs, new = parts.network.model.apply(
      {'params': params, **collections},
      x_NHWC,
      train=True,
      mutable=list(collections),
      rngs={'dropout': key},
    )
    return params, new, outputs

  # pmap gives devices the same shares, but needs real devices.
  config = parts.config
  backend = 'jit' if config.parallel.backend == 'jit' else 'shard_map'
  mapped = parallel.distributed(forward, backend)
  N = config.train.batch_size // config.train.microbatches
  shape = parts.network.input_shape
  x_NHWC = jax.ShapeDtypeStruct((N, *shape), jnp.float32)
  mesh = parallel.abstract_mesh(devices)
  with jax.sharding.use_abstract_mesh(mesh):
    *_, outputs = jax.eval_shape(
      mapped, fresh.params, fresh.collections, x_NHWC, jax.random.key(0)
    )
  return outputs


def _is_in_vain(key, parts):
  """Says whether the network is the same whatever a knob is.

  Naming the architecture's own value is not in vain: another value changes the
  network.
  """
  default, here = knobs.KNOBS[key].default, _fingerprint(parts)
  others = knobs.KNOBS[key].rule.choices if default == 'own' else (default,)

  def is_the_same(other):
    config = changed(parts.config, {key: other})
    try:
      return _fingerprint(assemble(config, parts)) == here
    except ValueError:  # one of the two cannot be made
      return False

  return all(map(is_the_same, others))


def _fingerprint(parts):
  """Returns the initial training pass as text, equal for equal networks."""
  config, shape = parts.config, parts.network.input_shape
  init = functools.partial(parts.network.model.init_with_output, train=True)
  keys = {'params': jax.random.key(0), 'dropout': jax.random.key(1)}
  N = config.train.batch_size // config.train.microbatches
  x_NHWC = jax.ShapeDtypeStruct((N, *shape), jnp.float32)
  return _ADDRESS.sub('', str(jax.make_jaxpr(init)(keys, x_NHWC)))


def _unseen(parts: Parts, fresh: State, values: Mapping[str, Any]):
  """Finds knobs of what no probe looks at."""
  if not knobs.are_set(values, 'taps', 'gradients', 'examples'):
    return  # which saves the tracing of all probes
  evaluation, group = parts.evaluation, parts.config.probes
  asked = evaluation.measure.asks_for(
    network_of(fresh), evaluation.probed_shapes()
  )
  gradients = bool(asked & {'loss', 'gradient', 'curvature'})
  taps = bool(asked & {'forward', 'layers'})
  tested = group.gradient_split == 'test'
  for shown_by, what, is_looked_at in (
    ('taps', 'taps', taps),
    ('gradients', 'losses or gradients', gradients),
    ('examples', 'test images', taps or (gradients and tested)),
  ):
    for key in () if is_looked_at else knobs.are_set(values, shown_by):
      why = f'none of probes.names = {group.names} looks at {what}'
      yield knobs.refusal(key, values, why)
