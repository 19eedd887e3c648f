"""Euclidean norm of every parameter: does it grow, shrink or stand still?

Ioffe & Szegedy 2015, section 2: if a normalizer's statistics get no gradient,
the bias below it grows without bound.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView

SCALARS = ()


def measure(view: NetworkView) -> dict[str, jax.Array]:
  """Returns {path: sqrt(sum of squares)}, in the parameter's units.

  Paths are those in `view.params`, such as 'hidden_1/kernel'. It needs no
  images.
  """
  leaves = jax.tree_util.tree_leaves_with_path(view.params)
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): jnp.linalg.norm(
      value.astype(jnp.float32).ravel()
    )
    for path, value in leaves
  }
