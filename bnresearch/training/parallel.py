"""One pure gradient on any number of devices: three ways to split it.

'jit' leaves that to XLA, which sees the whole batch. 'shard_map' and 'pmap'
run the same function on each device's share of it, and the normalizers keep
the groups of examples the same, see `statistics/shards.py`. All give the same
numbers, up to the order of additions; `python -m bnresearch.selftest` proves
it on the machine at hand.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bnresearch import models
from bnresearch.statistics import shards
from bnresearch.training.stream import Host

BACKENDS = ('jit', 'shard_map', 'pmap')

# (params, collections, batch, key) -> (gradients, collections, outputs): the
# gradients of a mean over the examples, and something per example.
Gradient = Callable[[Any, Any, Any, jax.Array], tuple[Any, Any, Any]]


def count(
  model: nn.Module,
  examples: int,
  there: int,
  platform: str,
  *,
  devices: int = 0,
  backend: str = 'jit',
  group_size: int = 0,
) -> int:
  """Returns how many devices share the batches of a run.

  The default is as many as divide the batch. On a CPU, whose cores are devices
  here (see `machine/process.py`), it is one for a network without convolutions,
  which gains nothing from more: XLA runs many convolutions on one core only.

  Args:
    model: the network.
    examples: N that the devices share at a time.
    there: how many devices there are.
    platform: of these, 'cpu' or another.
    devices: how many are asked for; 0 for the default.
    backend: one of `BACKENDS`.
    group_size: examples that share statistics; 0 for all.

  Raises:
    ValueError: there are fewer devices, or they do not divide the batch.
      Several hosts must use all of theirs, and cannot use 'pmap'.
  """
  N, wanted = examples, devices
  if jax.process_count() > 1:
    if wanted not in (0, there):
      raise ValueError(
        f'parallel.devices = {wanted}: {jax.process_count()} hosts use all '
        f'their {there} devices. Leave it at 0.'
      )
    if backend == 'pmap':
      raise ValueError(
        f"parallel.backend = 'pmap': {jax.process_count()} hosts need jit or "
        'shard_map.'
      )
    wanted = there
  if not wanted:
    alone = platform == 'cpu' and not models.convolves(model)
    wanted = 1 if alone else _most(there, N, group_size)
  if wanted > there:
    raise ValueError(f'parallel.devices = {wanted}: there are {there} here.')
  if N % wanted:
    raise ValueError(
      f'train.batch_size / train.microbatches = {N}: must be a multiple of the '
      f'{wanted} devices that share these examples. Choose another one, or '
      'other parallel.devices.'
    )
  return wanted


@contextlib.contextmanager
def on_devices(
  *networks: nn.Module, examples: int = 0, group_size: int = 0
) -> Iterator[None]:
  """Lets the body use a mesh: the one in use, or all devices of this host.

  On a CPU that is one device where no network has convolutions, see `count`.

  Args:
    *networks: those that run.
    examples: how many the devices must divide; 0 if any number will do.
    group_size: examples that share statistics; 0 for all.
  """
  if shards.AXIS in jax.sharding.get_mesh().axis_names:
    yield
    return
  found = jax.local_devices()
  if found[0].platform == 'cpu' and not any(map(models.convolves, networks)):
    found = found[:1]
  if examples:
    found = found[: _most(len(found), examples, group_size)]
  with jax.set_mesh(mesh_of(found)):
    yield


def host() -> Host:
  """Returns this host's place among those that share the mesh in use."""
  mesh = jax.sharding.get_mesh()
  if mesh.empty:
    return Host()
  indices = sorted({device.process_index for device in mesh.devices.flat})
  return Host(indices.index(jax.process_index()), len(indices))


def mesh_of(devices: Sequence[jax.Device]) -> jax.sharding.Mesh:
  """Returns the mesh of these devices."""
  return jax.make_mesh(
    (len(devices),),
    (shards.AXIS,),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=devices,
  )


def abstract_mesh(devices: int) -> jax.sharding.AbstractMesh:
  """Returns a mesh for tracing, whose devices need not exist."""
  return jax.sharding.AbstractMesh(
    (devices,), (shards.AXIS,), axis_types=(jax.sharding.AxisType.Auto,)
  )


def _most(devices, N, group_size):
  """Returns the most devices that batch and groups split over evenly."""
  groups = N // (group_size or N)
  return max(
    d
    for d in range(1, devices + 1)
    if N % d == 0 and (groups % d == 0 or d % groups == 0)
  )


def distributed(gradient: Gradient, backend: str) -> Gradient:
  """Returns the same function of a batch that is split over the mesh.

  Call it under `jax.set_mesh`, inside `jax.jit`. It returns the same gradients
  and collections on every device.

  Args:
    gradient: of a batch, or of a device's share of it.
    backend: one of `BACKENDS`.
  """
  if backend == 'jit':
    return gradient

  def on_a_device(params, collections, batch, key):
    # This type gives each device gradients of its own. JAX adds up those of
    # shared parameters by itself, and their mean would be a sum.
    own = shards.alike(params, jax.tree.leaves(batch)[0])
    gradients, collections, outputs = gradient(own, collections, batch, key)
    return _mean_over_devices(gradients), collections, outputs

  mapped = {'shard_map': _by_shard_map, 'pmap': _by_pmap}[backend](on_a_device)

  def on_the_mesh(*arguments):
    function = gradient if shards.count() == 1 else mapped
    return function(*arguments)

  return on_the_mesh


def _by_shard_map(on_a_device):
  split, shared = jax.P(shards.AXIS), jax.P()
  return jax.shard_map(
    on_a_device,
    in_specs=(shared, shared, split, shared),
    out_specs=(shared, shared, split),
  )


def _by_pmap(on_a_device):
  mapped = jax.pmap(
    on_a_device,
    axis_name=shards.AXIS,
    in_axes=(None, None, 0, None),
    out_axes=(None, None, 0),
  )

  def function(params, collections, batch, key):
    D = shards.count()
    shares = jax.tree.map(lambda x: x.reshape(D, -1, *x.shape[1:]), batch)
    *same, outputs = mapped(params, collections, shares, key)
    return *same, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)

  return function


def _mean_over_devices(gradients):
  """Averages over the devices, with one collective per dtype."""
  leaves, tree = jax.tree.flatten(gradients)
  result = list(leaves)
  for dtype in {leaf.dtype for leaf in leaves}:
    of_dtype = [k for k, leaf in enumerate(leaves) if leaf.dtype == dtype]
    packed = jnp.concatenate([leaves[k].ravel() for k in of_dtype])
    mean = jax.lax.pmean(packed, shards.AXIS)
    start = 0
    for k in of_dtype:
      size = leaves[k].size
      result[k] = mean[start : start + size].reshape(leaves[k].shape)
      start += size
  return tree.unflatten(result)


def shared(tree: Any) -> Any:
  """Returns the same arrays on every device of the mesh in use, whole."""
  return _placed(tree, jax.P())


def split(batch: Any) -> Any:
  """Returns arrays of examples, split over the mesh.

  Args:
    batch: this host's share of it, as `stream` makes it.
  """
  return _placed(batch, jax.P(shards.AXIS))


def _placed(tree, spec):
  mesh = jax.sharding.get_mesh()
  if mesh.empty:
    return jax.device_put(tree)
  sharding = jax.NamedSharding(mesh, spec)
  if sharding.is_fully_addressable:
    return jax.device_put(tree, sharding)
  make = jax.make_array_from_process_local_data
  return jax.tree.map(lambda x: make(sharding, np.asarray(x)), tree)
