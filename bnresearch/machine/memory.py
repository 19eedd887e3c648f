"""How much memory there is."""

import os
from collections.abc import Sequence

import jax


def of_machine(devices: Sequence[jax.Device]) -> int:
  """Returns how many bytes JAX may take of these devices; 0 if unknown.

  For the cores of a CPU, one or several, it is the machine's memory. For others
  it is what XLA_PYTHON_CLIENT_MEM_FRACTION leaves to this process; the
  allocator 'platform' has no limit that it tells.
  """
  if devices[0].platform != 'cpu':
    stats = devices[0].memory_stats() or {}
    return stats.get('bytes_limit', 0) * len(devices)
  return os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
