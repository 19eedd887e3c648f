"""How many runs of one kind are trained at a time, and the program for them."""

import resource
from collections.abc import Sequence

import jax

from bnresearch.assembly import Parts
from bnresearch.machine import memory
from bnresearch.sweeps.vectorized.program import Program

_MEMORY = 0.5  # the share of it that the members may take
# Members per CPU core: of the network of Figure 1, each of 2 to 4 takes 0.28 ms
# a step, each of 16 takes 0.44 ms, because they do not fit into the cache.
_OF_A_CORE = 4


def program(
  parts: Parts, runs: int, devices: Sequence[jax.Device], at_once: int = 0
) -> Program:
  """Returns a program that trains these runs, in few and equal rounds.

  A round has no more runs than fit into the devices' memory, by what a step, or
  the evaluation of a batch, of a single run takes. On a CPU it has no more than
  fit into the cores' caches.

  Args:
    parts: of any of the runs.
    runs: how many there are.
    devices: that share the members.
    at_once: no more than this; 0 for no limit.
  """
  # A run that is being saved has about five files open.
  files = resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 8
  most = min(at_once or runs, files)
  if devices[0].platform == 'cpu':
    most = min(most, _OF_A_CORE * len(devices))
  made = Program(parts, _of_a_round(runs, most), devices)
  known = memory.of_machine(devices)
  fit = max(len(devices), int(_MEMORY * known) // made.bytes_of_one())
  if fit >= made.runs or not known:
    return made
  return Program(parts, _of_a_round(runs, fit), devices)


def _of_a_round(runs, most):
  rounds = -(-runs // most)
  return -(-runs // rounds)
