"""A batch in shards, one a device, as the inside of a network sees it.

There are two ways to shard it. In `jax.jit` over a mesh, set by `jax.set_mesh`,
arrays are those of the whole batch, and XLA splits them. In a map,
`jax.shard_map` or `jax.pmap`, arrays are one device's shard. The axis along
which the batch is split has a name. Without an axis of that name, the batch is
on one device, and nothing here has an effect.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

AXIS = 'data'  # along which batches are split, unless another one is named
RUNS = 'members'  # devices have runs of their own along it; it splits no batch


def mapped(axis: str | None = AXIS) -> bool:
  """Returns whether arrays are one device's shard of the batch."""
  if axis is None:
    return False
  try:
    jax.lax.axis_size(axis)
  except NameError:
    return False
  return True


def count(axis: str | None = AXIS) -> int:
  """Returns how many shards a batch has, one a device."""
  if mapped(axis):
    return jax.lax.axis_size(axis)
  return jax.sharding.get_abstract_mesh().shape.get(axis, 1)


def everywhere(
  values: Sequence[jax.Array], axis: str | None = AXIS
) -> list[jax.Array]:
  """Returns the rows of all devices, on every device, by one collective.

  Args:
    values: arrays (rows, ...) of equally many rows, whose other axes may
      differ: inside a map a device's own rows, otherwise already all rows.
    axis: along which the batch is split.
  """
  if any(map(typed, values)):  # typed arrays cannot be packed
    return [undivided(x, axis) for x in values]
  rows = values[0].shape[0]
  packed = _everywhere(
    jnp.concatenate([x.reshape(rows, -1) for x in values], axis=1), axis
  )
  ends = np.cumsum([math.prod(x.shape[1:]) for x in values])[:-1]
  return [
    piece.reshape(-1, *x.shape[1:])
    for piece, x in zip(jnp.split(packed, ends, axis=1), values)
  ]


def _everywhere(x, axis):
  if not mapped(axis):
    return undivided(x, axis)
  axes = _varying(jax.lax.axis_index(axis))
  if not axes:  # types here do not tell what all devices share
    return jax.lax.all_gather(x, axis, tiled=True)
  return jax.lax.all_gather(_vary(x, axes), axis, tiled=True, to='invarying')


def undivided(x: jax.Array, axis: str | None = AXIS) -> jax.Array:
  """Returns `x`, held whole by every device rather than in pieces."""
  if mapped(axis) or count(axis) == 1:
    return x
  if typed(x):
    return jax.sharding.reshard(x, _placed(x, ()))
  return jax.lax.with_sharding_constraint(x, jax.P())


def own(x: jax.Array, axis: str | None = AXIS) -> jax.Array:
  """Returns this device's rows of `x`, which has the rows of all devices."""
  if not mapped(axis):
    return x
  rows = x.shape[0] // count(axis)
  start = jax.lax.axis_index(axis) * rows
  return jax.lax.dynamic_slice_in_dim(x, start, rows)


def reshaped(
  x: jax.Array, shape: Sequence[int], like: jax.Array | None = None
) -> jax.Array:
  """Returns `x` in another shape, even if its type says how it is split.

  The type does on a mesh of Explicit axes, where `jnp.reshape` asks how to
  split the result. That is split as `like`; or, without `like`, along its first
  or second axis as `x` is along its first, if the devices divide that axis.
  """
  if not typed(x) and (like is None or not typed(like)):
    return jnp.reshape(x, shape)
  if like is not None:
    return jax.lax.reshape(x, shape, out_sharding=jax.typeof(like).sharding)
  sharding = jax.typeof(x).sharding
  first = sharding.spec[0]
  names = first if isinstance(first, tuple) else (first,) if first else ()
  pieces = math.prod(sharding.mesh.shape[name] for name in names)
  place = next((k for k in (0, 1) if shape[k] and shape[k] % pieces == 0), None)
  # A split second axis needs a first axis of size 1.
  if place == 1 and shape[0] != 1:
    place = None
  spec = () if place is None else (*[None] * place, first)
  return jax.lax.reshape(x, shape, out_sharding=_placed(x, spec))


def drawn(
  draw: Callable[[Sequence[int]], jax.Array],
  shape: Sequence[int],
  axis: str | None = AXIS,
) -> jax.Array:
  """Returns random numbers for the examples that are here.

  The numbers are drawn for the whole batch, so that an example gets the same
  ones on any number of devices. Inside a map each device draws for all.

  Args:
    draw: makes random numbers of a shape.
    shape: of what is here, the examples first.
    axis: along which the batch is split.
  """
  if not mapped(axis):
    return draw(shape)
  return own(draw((shape[0] * count(axis), *shape[1:])), axis)


def split(batch: Any, axis: int = 0) -> Any:
  """Returns a batch split over the devices along an axis, outside a map.

  A batch that they do not divide stays whole.
  """
  if count() == 1 or jax.tree.leaves(batch)[0].shape[axis] % count():
    return batch
  where = jax.P(*[None] * axis, AXIS)
  return jax.tree.map(
    lambda x: jax.lax.with_sharding_constraint(x, where), batch
  )


def typed(x: jax.Array) -> bool:
  """Returns whether `x` is split, and its type says so: by Explicit axes."""
  return any(jax.typeof(x).sharding.spec)


def first_axis_of(x: jax.Array) -> jax.NamedSharding:
  """Returns a sharding that splits a first axis as that of a typed `x`."""
  return _placed(x, jax.typeof(x).sharding.spec[:1])


def alike(tree: Any, *others: jax.Array) -> Any:
  """Returns `tree`, each array varying as any of them or of `others` does.

  Inside a `jax.shard_map`, a function with its own gradient needs this, and so
  does a loop that adds to its initial value: JAX then adds up the gradients of
  what all devices share.
  """
  axes = frozenset().union(*map(_varying, (*jax.tree.leaves(tree), *others)))
  return jax.tree.map(lambda x: _vary(x, axes), tree)


def foreign_axes(x: jax.Array, axis: str | None = AXIS) -> list[str]:
  """Returns the axes of a map, other than `axis`, that may split the batch.

  The type of `x` says along which axes it differs. Where types do not tell, as
  inside `jax.pmap`, these are all axes, or none if `axis` is among them.

  Args:
    x: an array of the batch.
    axis: along which it is split; None if `x` is of the whole batch.
  """
  if axis is None:
    return []
  manual = jax.sharding.get_abstract_mesh().manual_axes
  differs = _varying(x)
  told = any(_varying(jax.lax.axis_index(name)) for name in manual)
  if not told and axis not in manual:
    differs = frozenset(manual)
  return sorted(differs - {axis, RUNS})


def _placed(x, spec):
  return jax.NamedSharding(jax.typeof(x).sharding.mesh, jax.P(*spec))


def _varying(x):
  return jax.typeof(x).manual_axis_type.varying


def _vary(x, axes):
  missing = tuple(axes - _varying(x))
  return jax.lax.pcast(jnp.asarray(x), missing, to='varying') if missing else x
