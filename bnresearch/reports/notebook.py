"""A notebook's kernel: its devices, in words, and how it shows figures."""

import jax

from bnresearch.machine import devices, process


def begin(cpu_devices: int = 0) -> str:
  """Prepares the kernel, and returns which devices it has, in words.

  Figures that a cell ends in are then shown, as PNG. Call it before anything
  is computed.

  Args:
    cpu_devices: on a CPU, as how many devices it shall pass; 0 for its cores,
      as on the command line. Without effect after JAX has started.
  """
  from matplotlib_inline.backend_inline import set_matplotlib_formats

  process.prepare(cpu_devices or process.cores())
  set_matplotlib_formats('png')
  lines = [
    f'This notebook runs on {devices.described()}, JAX {jax.__version__}.'
  ]
  return '\n'.join([*lines, *filter(None, [devices.unused()])])
