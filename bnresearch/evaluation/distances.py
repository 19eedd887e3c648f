"""Distances between two estimates of the same statistics."""

import re
from typing import Any, NamedTuple

import jax
import numpy as np

from bnresearch.statistics import gaussians


class Distance(NamedTuple):
  """Distance of a layer's statistics from a reference, over its channels.

  From a covariance, only the variances count.

  Attributes:
    shift: root mean square of the difference of means, in deviations of the
      reference.
    spread: root mean square of the log ratio of deviations.
    divergence: mean Kullback-Leibler divergence of the two Gaussians,
      KL(reference || estimate), in nats.
  """

  shift: float
  spread: float
  divergence: float


def distances(
  reference: Any, estimate: Any, epsilon: float
) -> dict[str, Distance]:
  """Returns each layer's distance between two estimates of its statistics.

  Layers are sorted by name, with numbers in it by value.

  Args:
    reference: collections.
    estimate: collections with the same tree.
    epsilon: added to both variances, as by the normalizer.
  """
  references, others = _gaussians(reference), _gaussians(estimate)
  found = {}
  for layer in sorted(references, key=_by_number):
    mean, var = references[layer]
    mean_e, var_e = others[layer]
    var, var_e = var + epsilon, var_e + epsilon
    moved, ratio = mean_e - mean, var / var_e
    divergence = ratio + np.square(moved) / var_e - 1 - np.log(ratio)
    found[layer] = Distance(
      shift=float(np.sqrt(np.mean(np.square(moved) / var))),
      spread=float(np.sqrt(np.mean(np.square(np.log(ratio) / 2)))),
      divergence=float(np.mean(divergence) / 2),
    )
  return found


def _by_number(layer):
  """Returns a key that sorts hidden_9 before hidden_12."""
  return [
    int(part) if part.isdecimal() else part
    for part in re.split(r'(\d+)', layer)
  ]


def _gaussians(collections):
  exact = jax.tree.map(lambda x: np.asarray(x, np.float64), collections)
  return gaussians.of_layers(exact)
