"""How much memory there is."""

import os
from collections.abc import Sequence

import jax


def of_machine(devices: Sequence[jax.Device]) -> int:
  """Returns how many bytes these devices have together.

  For the cores of a CPU, one or several, it is the machine's memory.
  """
  stats = devices[0].memory_stats() or {}
  if 'bytes_limit' in stats:
    return stats['bytes_limit'] * len(devices)
  return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
