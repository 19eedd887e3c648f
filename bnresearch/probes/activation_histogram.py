"""Histograms of the inputs to each nonlinearity, of every unit.

Ioffe & Szegedy 2015, 1502.03167, section 1: their distribution is what internal
covariate shift is about. The mirrors show the histograms of layers.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView

SCALARS = ()


def measure(view: NetworkView, *, bins: int) -> dict[str, jax.Array]:
  """Returns {tap/counts: (C, bins) whole numbers, tap/edges: (bins + 1,)}.

  The bins are equally wide, in the tap's units, and reach from the smallest to
  the largest value of the layer, anew in each record, so that every value is in
  one. As in `np.histogram`, a bin includes its lower edge, the last one both,
  and if all values are equal the bins reach half a unit to either side.
  """
  result = {}
  for tap, sorted_CV in view.sorted.items():
    low, high = sorted_CV[:, 0].min(), sorted_CV[:, -1].max()
    aside = jnp.where(low == high, 0.5, 0.0).astype(low.dtype)
    edges = jnp.linspace(low - aside, high + aside, bins + 1)
    counts = jax.vmap(lambda x_V, edges=edges: _counts(x_V, edges))(sorted_CV)
    result |= {f'{tap}/counts': counts, f'{tap}/edges': edges}
  return result


def _counts(sorted_V, edges):
  inner = jnp.searchsorted(sorted_V, edges[1:-1])
  ends = jnp.array([0]), jnp.array([len(sorted_V)])
  return jnp.diff(jnp.concatenate([ends[0], inner, ends[1]]).astype(jnp.int32))
