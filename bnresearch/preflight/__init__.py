"""What a run would stumble over, found before its directory is touched.

Networks are traced only, for their shapes: nothing is compiled.
"""

from typing import NamedTuple

import jax

from bnresearch.machine.memory import of_machine


class Machine(NamedTuple):
  """The machine that runs will use.

  Attributes:
    devices: most that a run can have.
    platform: 'cpu' or another.
    memory: bytes of all devices; 0 if that is not known here.
  """

  devices: int
  platform: str
  memory: int


def this_machine() -> Machine:
  """Returns the machine of this process, with the other hosts if any."""
  devices = jax.devices()
  local = of_machine(jax.local_devices())
  hosts = jax.process_count()
  return Machine(len(devices), devices[0].platform, local * hosts)
