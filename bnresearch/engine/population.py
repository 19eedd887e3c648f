"""Population statistics. Ioffe & Szegedy 2015, Algorithm 2, 1502.03167.

The parameters frozen, several training batches are processed, and their
statistics averaged: `E[x] = mean(mu)` and `Var[x] = mean(m/(m-1) * var)`.
"""

from typing import Any

import jax
import numpy as np

from bnresearch import build
from bnresearch.data import Source
from bnresearch.engine.order import batch_indices
from bnresearch.engine.state import State
from bnresearch.records.config_file import Config


def estimate(config: Config, state: State, source: Source) -> Any:
  """Returns `state.collections` with population statistics.

  They are those of `config.eval.population_batches` batches of
  `config.train.batch_size`, the ones that training would see next.
  """
  # An average that forgets the old value at once is the batch's own.
  model = build.model(
    config,
    len(source.class_names),
    momentum=0.0,
    running_variance='unbiased',
  )
  pixels = build.pixels(config)

  @jax.jit
  def batch_statistics(images):
    _, collections = model.apply(
      {'params': state.params, **state.collections},
      pixels(images),
      train=True,
      mutable=list(state.collections),
    )
    return collections

  first, count = int(state.step), config.eval.population_batches
  indices_TN = batch_indices(
    len(source),
    config.train.batch_size,
    config.seed,
    range(first, first + count),
  )
  total = None
  for indices_N in indices_TN:
    new = batch_statistics(source.images_NHWC[indices_N])
    total = new if total is None else jax.tree.map(np.add, total, new)
  return jax.tree.map(lambda x: x / count, total)
