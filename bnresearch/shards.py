"""A batch that is spread over devices, as the inside of a network sees it.

There are two ways to spread one. `jax.jit` over a mesh, made known by
`jax.set_mesh`: arrays are those of the whole batch, and XLA splits them. A map,
`jax.shard_map` or `jax.pmap`: arrays are one device's share. The axis along
which the batch is split has the same name in both; where there is none, a
batch is on one device, and all here does nothing.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

AXIS = 'data'


def mapped() -> bool:
  """Returns whether arrays are one device's share of the batch."""
  try:
    jax.lax.axis_size(AXIS)
  except NameError:
    return False
  return True


def count() -> int:
  """Returns over how many devices a batch is spread."""
  if mapped():
    return jax.lax.axis_size(AXIS)
  return jax.sharding.get_abstract_mesh().shape.get(AXIS, 1)


def everywhere(x_R: jax.Array) -> jax.Array:
  """Returns the rows of all devices, on every device: one collective.

  Args:
    x_R: inside a map a device's own rows, else all rows already.
  """
  if not mapped():
    return undivided(x_R)
  axes = _varying(jax.lax.axis_index(AXIS))
  if not axes:  # types do not tell here what is the same on every device
    return jax.lax.all_gather(x_R, AXIS, tiled=True)
  return jax.lax.all_gather(_vary(x_R, axes), AXIS, tiled=True, to='invarying')


def undivided(x: jax.Array) -> jax.Array:
  """Returns `x`, held whole by every device rather than in pieces."""
  if mapped() or count() == 1:
    return x
  return jax.lax.with_sharding_constraint(x, jax.P())


def own(x_R: jax.Array) -> jax.Array:
  """Returns, of the rows of all devices, those that belong to this one."""
  if not mapped():
    return x_R
  share = x_R.shape[0] // count()
  start = jax.lax.axis_index(AXIS) * share
  return jax.lax.dynamic_slice_in_dim(x_R, start, share)


def drawn(
  draw: Callable[[Sequence[int]], jax.Array], shape: Sequence[int]
) -> jax.Array:
  """Returns random numbers for the examples that are here.

  They are those of the whole batch, so that an example gets the same ones on
  any number of devices. Inside a map each device draws for all of them.

  Args:
    draw: makes them in a shape.
    shape: of what is here, the examples first.
  """
  if not mapped():
    return draw(shape)
  return own(draw((shape[0] * count(), *shape[1:])))


def spread(batch: Any, axis: int = 0) -> Any:
  """Returns a batch split over the devices along an axis, outside a map.

  One that they do not divide stays whole.
  """
  if count() == 1 or jax.tree.leaves(batch)[0].shape[axis] % count():
    return batch
  where = jax.P(*[None] * axis, AXIS)
  split = lambda x: jax.lax.with_sharding_constraint(x, where)
  return jax.tree.map(split, batch)


def alike(tree: Any, *others: jax.Array) -> Any:
  """Returns `tree` with each array varying as any of them and `others` does.

  A function with its own gradient, or a loop that adds to what it began with,
  needs it inside a `jax.shard_map`: the gradients of what all devices share
  are then added up by JAX.
  """
  axes = frozenset().union(*map(_varying, (*jax.tree.leaves(tree), *others)))
  return jax.tree.map(lambda x: _vary(x, axes), tree)


def foreign_axes(x: jax.Array) -> str:
  """Returns the axes of a map, but for `AXIS`, along which `x` differs."""
  return ', '.join(sorted(_varying(x) - {AXIS}))


def _varying(x):
  return jax.typeof(x).manual_axis_type.varying


def _vary(x, axes):
  missing = tuple(axes - _varying(x))
  return jax.lax.pcast(jnp.asarray(x), missing, to='varying') if missing else x
