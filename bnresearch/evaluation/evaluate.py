"""Exact evaluation: every example counts once, under named statistics."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bnresearch.data import Source
from bnresearch.statistics import shards
from bnresearch.training import accumulation, objective, parallel, stream

STATISTICS = ('ema', 'population', 'pooled', 'batch')


def check_constant(statistics: str, why: str) -> None:
  """Refuses statistics that are none, or depend on the batch.

  Args:
    statistics: one of `STATISTICS`, perhaps.
    why: they must be constant; it ends the sentence that lists them.

  Raises:
    ValueError: names those that are constant, and says why.
  """
  known = [name for name in STATISTICS if name != 'batch']
  if statistics not in known:
    raise ValueError(
      f'statistics = {statistics!r}: needs one of {", ".join(known)}{why}'
    )


def make_forward(
  model: nn.Module, statistics: str
) -> Callable[..., tuple[jax.Array, dict[str, jax.Array]]]:
  """Returns `forward(params, collections, x_NHWC, mask_N=None)`, pure.

  It returns `(logits_NK, taps)`; the mask says which examples enter the batch
  statistics.

  Args:
    model: the network, see `Network.evaluated`.
    statistics: 'batch' normalizes by the statistics of the given examples, and
      changes no collection; the others normalize by `collections`, and differ
      in how these were made, see `population`.
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


def make_add_batch(
  model: nn.Module,
  pixels: Callable[[jax.Array], jax.Array],
  statistics: str,
  microbatches: int = 1,
) -> Callable[..., dict[str, jax.Array]]:
  """Returns a pure function that adds a batch's results to sums.

  `add_batch(sums, params, collections, images, labels_N, mask_N) -> sums`.

  Args:
    model: see `make_forward`.
    pixels: turns images into the network's input.
    statistics: see `make_forward`.
    microbatches: number of parts in which to evaluate a batch; ignored if the
      statistics are the batch's.
  """
  forward = make_forward(model, statistics)
  parts = 1 if statistics == 'batch' else microbatches

  def add_batch(sums, params, collections, *batch):
    if parts == 1:
      return add(sums, params, collections, *shards.split(batch))
    split = [accumulation.split(x, parts) for x in batch]
    carry = lambda sums, part: (add(sums, params, collections, *part), None)
    return jax.lax.scan(carry, sums, split)[0]

  def add(sums, params, collections, images, labels_N, mask_N):
    logits, _ = forward(params, collections, pixels(images), mask_N)
    logits_NK = objective.of_examples(logits)
    loss_N = objective.cross_entropy(logits_NK, labels_N)
    correct_N = objective.correct(logits_NK, labels_N)
    added = {
      'loss': jnp.where(mask_N, loss_N, 0).sum(),
      'correct': (correct_N & mask_N).sum(),
      'examples': mask_N.sum(),
    }
    if 'top5' in sums:
      added['top5'] = (objective.in_top5(logits_NK, labels_N) & mask_N).sum()
    return {name: sums[name] + value for name, value in added.items()}

  return add_batch


def no_sums(
  class_count: int, members: tuple[int, ...] = ()
) -> dict[str, np.ndarray]:
  """Returns the sums before the first batch, each of the shape `members`.

  They include 'top5' if there are more than five classes.
  """
  counts = ('correct', 'examples', *['top5'] * (class_count > 5))
  return {
    'loss': np.zeros(members, np.float32),
    **{name: np.zeros(members, np.int32) for name in counts},
  }


class Evaluator:
  """Evaluates on one source; compiles once for all calls."""

  def __init__(
    self,
    add_batch: Callable[..., dict[str, jax.Array]],
    source: Source,
    crop: stream.Crop,
    image_shape: tuple[int, int, int],
    batch_size: int,
    *,
    microbatches: int = 1,
    workers: int = 0,
    members: tuple[int, ...] = (),
  ):
    """Makes an evaluator.

    Args:
      add_batch: compiled, see `make_add_batch`; its arguments between the sums
        and the batch are those of `sums`.
      source: the split. Its images stay on the device unless there are too
        many; then each evaluation makes them again. They are split over the
        mesh in use.
      crop: see `stream.in_order`.
      image_shape: (H, W, C) of the crops.
      batch_size: greatest N per call.
      microbatches: number of parts of a batch, which divide it evenly.
      workers: see `stream.in_order`.
      members: (R,) for R networks at once; the shape of each sum.
    """
    self._add_batch, self._source, self._members = add_batch, source, members
    self._crop, self._workers = crop, workers
    self._batch_size = min(batch_size, len(source))
    self._microbatches = microbatches
    self._resident = None
    if len(source) * math.prod(image_shape) <= stream.RESIDENT_BYTES:
      self._resident = [parallel.split(batch) for batch in self._batches()]

  def sums(self, *network: Any) -> dict[str, jax.Array]:
    """Returns the sums over all examples, on the device.

    Does not wait for the device, unless the images do not stay on it: then at
    most two batches are under way.

    Args:
      *network: params and collections.
    """
    sums = before = no_sums(len(self._source.class_names), self._members)
    for batch in self._resident or map(parallel.split, self._batches()):
      if not self._resident:
        jax.block_until_ready(before)
      before = sums
      sums = self._add_batch(sums, *network, *batch)
    return sums

  def evaluate(self, *network: Any) -> Callable[[], dict[str, float]]:
    """Starts an evaluation; returns a function that waits for `means`."""
    sums = self.sums(*network)
    return lambda: self.means(sums)

  def means(self, sums: dict[str, jax.Array]) -> dict[str, float]:
    """Waits for `sums`; returns mean 'loss', 'accuracy', and 'examples'.

    Also 'top5_accuracy' if there are more than five classes.

    Raises:
      AssertionError: an example was lost or counted twice.
    """
    count = int(sums['examples'])
    assert count == len(self._source), f'{count} of {len(self._source)}'
    return {
      'loss': float(sums['loss']) / count,
      'accuracy': int(sums['correct']) / count,
      **(
        {'top5_accuracy': int(sums['top5']) / count} if 'top5' in sums else {}
      ),
      'examples': count,
    }

  def _batches(self):
    """Yields images, labels and a mask that is False for padding.

    Yields this host's rows of each batch. All are padded to one size, divisible
    among devices and microbatches, so that one compiled program serves all.
    """
    N, host = self._batch_size, parallel.host()
    even = shards.count() * self._microbatches
    share = -(-N // even) * even // host.count
    rows = range(share * host.index, share * (host.index + 1))
    made = stream.in_order(
      self._source, self._crop, N, workers=self._workers, rows=rows
    )
    for start, (images, labels_N) in zip(range(0, len(self._source), N), made):
      count = min(N, len(self._source) - start) - rows.start
      extra = share - len(labels_N)
      yield (
        np.pad(images, [(0, extra), (0, 0), (0, 0), (0, 0)]),
        np.pad(labels_N, (0, extra)),
        np.arange(share) < count,
      )
