"""The order of the examples: a pure function of seed and step."""

import functools

import numpy as np


def batch_indices(
  length: int, batch_size: int, seed: int, steps: range
) -> np.ndarray:
  """Returns which examples make the batches at `steps`, int32 (T, N).

  Epoch after epoch is a full shuffle of all `length` examples; the batches
  cut that endless stream into pieces, so that none is dropped where
  `batch_size` does not divide `length`. Nothing is remembered from call to
  call: a resumed run sees the batches of an uninterrupted one.
  """
  T, N = len(steps), batch_size
  positions_TN = np.asarray(steps, np.int64)[:, None] * N + np.arange(
    N, dtype=np.int64
  )
  epochs_TN, offsets_TN = np.divmod(positions_TN, length)
  indices_TN = np.empty((T, N), np.int32)
  for epoch in np.unique(epochs_TN):
    here = epochs_TN == epoch
    shuffled = _permutation(length, seed, int(epoch))
    indices_TN[here] = shuffled[offsets_TN[here]]
  return indices_TN


@functools.lru_cache(maxsize=4)
def _permutation(length, seed, epoch):
  """Shuffles by `RandomState`, whose stream NumPy promises never to change."""
  return np.random.RandomState([seed, epoch]).permutation(length)
