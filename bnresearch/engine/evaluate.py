"""Exact evaluation: every example counts once, under named statistics."""

from collections.abc import Callable, Iterator
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bnresearch.data import Source
from bnresearch.engine import objective

STATISTICS = ('ema', 'population', 'pooled', 'batch')


def make_forward(
  model: nn.Module, statistics: str
) -> Callable[..., tuple[jax.Array, dict[str, jax.Array]]]:
  """Returns `forward(params, collections, x_NHWC, mask_N=None)`, pure.

  It gives `(logits_NK, taps)`; the mask says which examples enter the
  statistics of a batch.

  Args:
    model: the network, see `build.evaluated_model`.
    statistics: 'batch' normalizes by the statistics of the given examples,
      and no collection changes; the others by those in `collections`, which
      is where they differ, see `population`.
  """
  if statistics not in STATISTICS:
    raise ValueError(
      f'statistics = {statistics!r}: needs one of {", ".join(STATISTICS)}.'
    )

  def forward(params, collections, x_NHWC, mask_N=None):
    variables = {'params': params, **collections}
    train = statistics == 'batch'
    return model.apply(variables, x_NHWC, train=train, mask=mask_N)

  return forward


class Evaluator:
  """Evaluates on one source; compiled once for all calls."""

  def __init__(
    self,
    model: nn.Module,
    pixels: Callable[[jax.Array], jax.Array],
    source: Source,
    batch_size: int,
    statistics: str,
  ):
    self._forward = make_forward(model, statistics)
    self._pixels = pixels
    self._examples = len(source)
    self._batches = [
      jax.device_put(batch) for batch in _batches(source, batch_size)
    ]
    self._add_batch = jax.jit(self._add_batch)

  def sums(self, params: Any, collections: Any) -> dict[str, jax.Array]:
    """Returns the sums over all examples, on the device, without waiting."""
    sums = {
      'loss': np.float32(0),
      'correct': np.int32(0),
      'examples': np.int32(0),
    }
    for batch in self._batches:
      sums = self._add_batch(sums, params, collections, *batch)
    return sums

  def means(self, sums: dict[str, jax.Array]) -> dict[str, float]:
    """Waits for `sums`; returns mean 'loss', 'accuracy', and 'examples'.

    Raises:
      AssertionError: an example was lost or counted twice.
    """
    count = int(sums['examples'])
    assert count == self._examples, f'{count} counted of {self._examples}'
    return {
      'loss': float(sums['loss']) / count,
      'accuracy': int(sums['correct']) / count,
      'examples': count,
    }

  def _add_batch(self, sums, params, collections, images, labels_N, mask_N):
    x_NHWC = self._pixels(images)
    logits_NK, _ = self._forward(params, collections, x_NHWC, mask_N)
    loss_N = objective.cross_entropy(logits_NK, labels_N)
    correct_N = objective.correct(logits_NK, labels_N)
    return {
      'loss': sums['loss'] + jnp.where(mask_N, loss_N, 0).sum(),
      'correct': sums['correct'] + (correct_N & mask_N).sum(),
      'examples': sums['examples'] + mask_N.sum(),
    }


def _batches(
  source: Source, batch_size: int
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]:
  """Yields images, labels and a mask that is False where padded.

  The last batch is padded to the size of the others, so that one compiled
  program serves all.
  """
  for start in range(0, len(source), batch_size):
    here = slice(start, start + batch_size)
    images, labels = source.images_NHWC[here], source.labels_N[here]
    real = len(labels)
    extra = batch_size - real if start > 0 else 0
    yield (
      np.pad(images, [(0, extra), (0, 0), (0, 0), (0, 0)]),
      np.pad(labels, (0, extra)),
      np.arange(real + extra) < real,
    )
