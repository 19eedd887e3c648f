"""Statistics of layers as Gaussians, and how far two of these are apart.

Arrays are NumPy's or JAX's, as those that come in.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import jax


class Gaussian(NamedTuple):
  """Means and variances of a layer's channels; a mean that is not kept is 0."""

  mean: Any
  var: Any


def of_layers(collections: Mapping[str, Any]) -> dict[str, Gaussian]:
  """Returns {layer: Gaussian} of all layers that have statistics.

  Of a covariance only the variances count.
  """
  nodes: dict[str, dict] = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(collections):
    *layer, name = (key.key for key in path)
    nodes.setdefault('/'.join(layer[1:]), {})[name] = leaf
  return {
    layer: Gaussian(node.get('mean', 0.0), _variance(node))
    for layer, node in nodes.items()
    if node.keys() & {'var', 'covariance', 'deviation'}
  }


def symmetric_kl(one: Gaussian, other: Gaussian) -> Any:
  """Returns KL(one || other) + KL(other || one) of each channel, in nats.

  `((a/b - b/a)**2 + moved**2 (1/a**2 + 1/b**2)) / 2` for deviations a, b:
  Jeffreys 1946. Written so, it keeps its digits where both are nearly equal. It
  is infinite or NaN where a variance is 0.
  """
  a, b = one.var**0.5, other.var**0.5
  moved, ratio = one.mean - other.mean, (a - b) * (a + b) / (a * b)
  return (ratio**2 + (moved / a) ** 2 + (moved / b) ** 2) / 2


def _variance(node):
  if 'var' in node:
    return node['var']
  if 'covariance' in node:
    diagonal = node['covariance'].diagonal(axis1=-2, axis2=-1)
    return diagonal.reshape(*diagonal.shape[:-2], -1)
  return node['deviation'] ** 2
