"""Parameters, gradients and updates as vectors, and the layers they lie in."""

from collections.abc import Iterable, Sequence
from typing import Any

import jax
import jax.numpy as jnp


def by_path(tree: Any) -> dict[str, jax.Array]:
  """Returns the leaves of a tree of parameters: {'hidden_1/kernel': array}."""
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {name(path): leaf for path, leaf in leaves}


def name(path: tuple[Any, ...]) -> str:
  """Returns 'hidden_1/kernel' for a path of JAX's."""
  return jax.tree_util.keystr(path, simple=True, separator='/')


def layers(parameters: Iterable[str]) -> dict[str, list[str]]:
  """Returns {layer: paths of its own parameters}, from the bottom up.

  A layer is what has a kernel. The parameters of its normalizer are not its
  own.

  Args:
    parameters: paths in the order of the forward pass.
  """
  found: dict[str, list[str]] = {}
  for path in parameters:
    found.setdefault(path.rpartition('/')[0], []).append(path)
  return {
    layer: paths
    for layer, paths in found.items()
    if any(path.rpartition('/')[2] == 'kernel' for path in paths)
  }


@jax.jit
def norms(tree: Any) -> dict[str, jax.Array]:
  """Returns {path: Euclidean norm of the leaf}."""
  return {path: jnp.linalg.norm(x.ravel()) for path, x in by_path(tree).items()}


@jax.jit
def dots(a: Any, b: Any) -> dict[str, jax.Array]:
  """Returns {path: scalar product of two trees' leaves}."""
  products = jax.tree.map(lambda x, y: jnp.vdot(x, y), a, b)
  return by_path(products)


@jax.jit
def dot(a: Any, b: Any) -> jax.Array:
  """Returns the scalar product of two trees."""
  return sum(jax.tree.leaves(jax.tree.map(jnp.vdot, a, b)))


@jax.jit
def norm(tree: Any) -> jax.Array:
  """Returns the Euclidean norm of all leaves together."""
  return jnp.sqrt(dot(tree, tree))


@jax.jit
def moved(params: Any, direction: Any, length: Any) -> Any:
  """Returns `params + length * direction`.

  Args:
    params: a tree.
    direction: another one.
    length: a number.
  """
  return jax.tree.map(lambda x, d: x + length * d, params, direction)


@jax.jit
def moved_in(params: Any, direction: Any, chosen: dict[str, jax.Array]) -> Any:
  """Returns `params + direction` in the chosen leaves, the others as they are.

  Args:
    params: a tree.
    direction: another one.
    chosen: {path: whether}, of all leaves.
  """
  shifted = moved(params, direction, 1)
  tree = jax.tree.structure(params)
  flags = tree.unflatten([chosen[path] for path in by_path(params)])
  return jax.tree.map(jnp.where, flags, shifted, params)


def gaussian(key: jax.Array, like: jax.Array) -> jax.Array:
  """Returns standard normal numbers in an array like another.

  They are drawn as a vector: XLA compiles `jax.random.normal` of four axes up
  to 20 times as long, on a CPU.
  """
  return jax.random.normal(key, (like.size,), like.dtype).reshape(like.shape)


def together(values: dict[str, jax.Array], paths: Sequence[str]) -> jax.Array:
  """Returns the sum of some leaves' values."""
  return jnp.stack([values[path] for path in paths]).sum()
