"""Whether a run fits into memory: a lower bound, before it begins.

It counts what surely lies there at the same time. A run that it lets pass may
still be too large, as the compiler needs room of its own.
"""

from typing import Any

import jax


def problem(
  batch_size: int,
  microbatches: int,
  remat: str,
  *,
  devices: int,
  available: int,
  state: Any,
  resident: int,
  taps: Any,
) -> str:
  """Returns why a step surely takes more memory than there is, or ''.

  Args:
    batch_size, microbatches, remat: the knobs of `train`.
    devices: that share a batch; each holds the state and the data.
    available: bytes of all of them.
    state: of the run, for its shapes.
    resident: bytes of the images that live on a device.
    taps: of a part of a batch, for their shapes: each of them, or something of
      its size, is kept for the backward pass, unless it is recomputed there.
  """
  kept = [_bytes(x) for x in jax.tree.leaves(taps)]
  activations = sum(kept) if remat == 'none' else max(kept)
  gradients = _bytes(state.params)
  needed = devices * (_bytes(state) + gradients + resident) + activations
  if needed <= available:
    return ''
  of_parts = f' of one of {microbatches} parts' if microbatches > 1 else ''
  return (
    f'train.batch_size = {batch_size}: a step needs at least '
    f'{_words(needed)} of memory, and there are {_words(available)}. Of these, '
    f'{_words(activations)} are activations{of_parts}, and '
    f'{_words(resident)} images. Take fewer examples, more train.microbatches, '
    "or train.remat = 'blocks'; or data.on_device = 'never'."
  )


def _bytes(tree):
  return sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(tree))


def _words(count):
  return f'{count / 2**30:.3g} GiB'
