"""Whether a run fits into memory: a bound from below, before it begins.

It counts what surely lies there at a time. What it lets pass may still be too
large, as the compiler needs room of its own.
"""

import os
from collections.abc import Sequence
from typing import Any

import jax

from bnresearch.knobs.tree import Config


def of_machine(devices: Sequence[jax.Device]) -> int:
  """Returns how many bytes these devices have together.

  Of a CPU, whose cores may be several, it is the machine's memory.
  """
  stats = devices[0].memory_stats() or {}
  if 'bytes_limit' in stats:
    return stats['bytes_limit'] * len(devices)
  return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')


def problem(
  config: Config,
  *,
  devices: int,
  available: int,
  state: Any,
  resident: int,
  taps: Any,
) -> str:
  """Returns why a step surely takes more memory than there is, or ''.

  Args:
    config: the complete config.
    devices: that share a batch, each of which holds the state and the data.
    available: bytes of all of them.
    state: of the run, for its shapes.
    resident: bytes of the images that live on a device.
    taps: of a part of a batch, for their shapes: each of them, or something of
      its size, is kept for the way back, unless it is made again then.
  """
  parts, kept = config.train.microbatches, [_bytes(x) for x in _leaves(taps)]
  activations = sum(kept) if config.train.remat == 'none' else max(kept)
  gradients = _bytes(state.params)
  needed = devices * (_bytes(state) + gradients + resident) + activations
  if needed <= available:
    return ''
  return (
    f'train.batch_size = {config.train.batch_size}: a step needs at least '
    f'{_words(needed)} of memory, and there are {_words(available)}. Of these, '
    f'{_words(activations)} are activations'
    f'{f" of one of {parts} parts" if parts > 1 else ""}, and '
    f'{_words(resident)} images. Take fewer examples, more train.microbatches, '
    "or train.remat = 'blocks'; or data.on_device = 'never'."
  )


def _leaves(tree):
  return jax.tree.leaves(tree)


def _bytes(tree):
  return sum(x.size * x.dtype.itemsize for x in _leaves(tree))


def _words(count):
  return f'{count / 2**30:.3g} GiB'
