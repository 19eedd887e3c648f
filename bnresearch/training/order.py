"""The order of the examples: a pure function of seed and step."""

import functools
from typing import NamedTuple

import numpy as np


class Order(NamedTuple):
  """Which examples make which batch; see `batch_indices`.

  Attributes:
    length: of the training split.
    batch_size: N.
    seed: of the run.
    shuffle, shards: the order of an epoch.
  """

  length: int
  batch_size: int
  seed: int
  shuffle: str = 'full'
  shards: int = 16

  def indices(self, steps: range) -> np.ndarray:
    """Returns which examples make the batches at T steps, int32 (T, N)."""
    length, batch_size, seed, shuffle, shards = self
    return batch_indices(length, batch_size, seed, steps, shuffle, shards)


def batch_indices(
  length: int,
  batch_size: int,
  seed: int,
  steps: range,
  shuffle: str = 'full',
  shards: int = 16,
) -> np.ndarray:
  """Returns which examples make the batches at `steps`, int32 (T, N).

  Each epoch orders all `length` examples; the batches cut this endless stream
  into pieces, so no example is dropped where `batch_size` does not divide
  `length`. Nothing is remembered from call to call: a resumed run sees the
  batches of an uninterrupted one.

  Args:
    length: of the data set.
    batch_size: N.
    seed: of the run.
    steps: a range of T steps.
    shuffle: the order of an epoch. 'full': all examples, shuffled anew.
      'none': the same in every epoch and for every seed, so the same examples
      always meet in a batch; it comes from one shuffle, as TFDS stores its
      records. 'within_shard', a modification of Ioffe & Szegedy 2015, section
      4.2.1: the stored order is cut into `shards` pieces; these come in a new
      order, and each is shuffled.
    shards: pieces of 'within_shard'.
  """
  T, N = len(steps), batch_size
  positions_TN = np.asarray(steps, np.int64)[:, None] * N + np.arange(
    N, dtype=np.int64
  )
  epochs_TN, offsets_TN = np.divmod(positions_TN, length)
  indices_TN = np.empty((T, N), np.int32)
  for epoch in np.unique(epochs_TN):
    here = epochs_TN == epoch
    order = _epoch(length, seed, int(epoch), shuffle, shards)
    indices_TN[here] = order[offsets_TN[here]]
  return indices_TN


@functools.lru_cache(maxsize=4)
def _epoch(length, seed, epoch, shuffle, shards):
  """Shuffles by `RandomState`, whose stream NumPy promises never to change."""
  random = np.random.RandomState([seed, epoch])
  if shuffle == 'full':
    return random.permutation(length)
  stored = np.random.RandomState(0).permutation(length)
  if shuffle == 'none':
    return stored
  pieces = np.array_split(stored, shards)
  return np.concatenate(
    [random.permutation(pieces[k]) for k in random.permutation(shards)]
  )
