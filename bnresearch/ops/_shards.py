"""Arrays inside a `jax.shard_map`, which may differ between its devices."""

from typing import Any

import jax


def alike(tree: Any, *others: jax.Array) -> Any:
  """Returns `tree` with each array varying as any of them and `others` does.

  A function with its own gradient, or a loop that adds to what it began with,
  needs it: the gradients of what all devices share are then added up by JAX.
  """
  axes = frozenset().union(*map(_varying, (*jax.tree.leaves(tree), *others)))
  return jax.tree.map(lambda x: _vary(x, axes), tree)


def _varying(x):
  """Returns the mesh axes of a shard_map along which `x` differs."""
  return jax.typeof(x).manual_axis_type.varying


def _vary(x, axes):
  missing = tuple(axes - _varying(x))
  return jax.lax.pcast(x, missing, to='varying') if missing else x
