"""Euclidean norm of every parameter: what grows, shrinks or stands still.

Ioffe & Szegedy 2015, section 2: a bias below a normalizer whose statistics
get no gradient grows without bound.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import Batch, NetworkView


def measure(view: NetworkView, batch: Batch) -> dict[str, jax.Array]:
  """Returns {path: sqrt(sum of squares)}, in the parameter's units.

  The path is that in `view.params`, as 'hidden_1/kernel'. No image is looked
  at.
  """
  del batch
  leaves = jax.tree_util.tree_leaves_with_path(view.params)
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): jnp.linalg.norm(
      value.astype(jnp.float32).ravel()
    )
    for path, value in leaves
  }
