"""One pure gradient on any number of devices: three ways to spread it.

'jit' leaves the splitting to XLA, which sees the whole batch. 'shard_map' and
'pmap' run the same function on each device's share of it, and the normalizers
see to it that groups of examples are the same ones, see `bnresearch/shards.py`.
All give the same numbers, up to the order of additions, which
`python -m bnresearch.engine.selftest` proves on the machine at hand.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from bnresearch import shards

BACKENDS = ('jit', 'shard_map', 'pmap')

# (params, collections, batch, key) -> (gradients, collections, outputs): the
# gradients of a mean over the examples, and something of each example.
Gradient = Callable[[Any, Any, Any, jax.Array], tuple[Any, Any, Any]]


def mesh(devices: int = 0) -> jax.sharding.Mesh:
  """Returns a mesh of `devices`, 0 for all; its axis is that of the batch."""
  found = jax.devices()
  if devices > len(found):
    raise ValueError(
      f'parallel.devices = {devices}: there are {len(found)} here.'
    )
  return jax.make_mesh(
    (devices or len(found),),
    (shards.AXIS,),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=found[: devices or len(found)],
  )


def spread(gradient: Gradient, backend: str) -> Gradient:
  """Returns the same function of a batch that is spread over the mesh.

  It is called with `jax.set_mesh`, inside `jax.jit`. The gradients and
  collections that it returns are the same on every device.

  Args:
    gradient: of a batch, or of a device's share of it.
    backend: one of `BACKENDS`.
  """
  if backend == 'jit':
    return gradient

  def on_a_device(params, collections, batch, key):
    # By their type, each device gets gradients of its own: of what devices
    # share, JAX would add them up by itself, and their mean would be a sum.
    own = shards.alike(params, jax.tree.leaves(batch)[0])
    gradients, collections, outputs = gradient(own, collections, batch, key)
    return _mean_over_devices(gradients), collections, outputs

  split, shared = jax.P(shards.AXIS), jax.P()
  if backend == 'shard_map':
    return jax.shard_map(
      on_a_device,
      in_specs=(shared, shared, split, shared),
      out_specs=(shared, shared, split),
    )

  def by_pmap(params, collections, batch, key):
    D = shards.count()
    mapped = jax.pmap(
      on_a_device,
      axis_name=shards.AXIS,
      in_axes=(None, None, 0, None),
      out_axes=(None, None, 0),
    )
    shares = jax.tree.map(lambda x: x.reshape(D, -1, *x.shape[1:]), batch)
    *same, outputs = mapped(params, collections, shares, key)
    return *same, jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), outputs)

  return by_pmap


def _mean_over_devices(gradients):
  """Averages over the devices, by one collective for each dtype."""
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
