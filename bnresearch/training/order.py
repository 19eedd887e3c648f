"""The order of the examples: a pure function of seed and step."""

import functools
from typing import NamedTuple

import numpy as np


class Order(NamedTuple):
  """Which examples make which batch.

  Each epoch orders all `length` examples; the batches cut this endless stream
  into pieces, so no example is dropped where `batch_size` does not divide
  `length`. Nothing is remembered from call to call: a resumed run sees the
  batches of an uninterrupted one.

  Attributes:
    length: of the training split.
    batch_size: N.
    seed: of the run.
    shuffle: the order of an epoch. 'full' shuffles all examples anew. 'none' is
      the same in every epoch and for every seed, so the same examples always
      meet in a batch; it is the order of one shuffle, as TFDS stores its
      records. 'within_shard', a modification of Ioffe & Szegedy 2015, section
      4.2.1, cuts the stored order into `shards` pieces; they come in a new
      order, each shuffled in itself.
    shards: how many pieces.
  """

  length: int
  batch_size: int
  seed: int
  shuffle: str = 'full'
  shards: int = 16

  def indices(self, steps: range) -> np.ndarray:
    """Returns which examples make the batches at T steps, int32 (T, N)."""
    T, N = len(steps), self.batch_size
    positions_TN = np.asarray(steps, np.int64)[:, None] * N + np.arange(
      N, dtype=np.int64
    )
    epochs_TN, offsets_TN = np.divmod(positions_TN, self.length)
    indices_TN = np.empty((T, N), np.int32)
    for epoch in np.unique(epochs_TN):
      here = epochs_TN == epoch
      order = _epoch(
        self.length, self.seed, int(epoch), self.shuffle, self.shards
      )
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
