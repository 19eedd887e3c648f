"""Many hosts: processes of `jax.distributed` that train one run together.

Each runs the same program on its shards of every batch. The first of them
writes; all read the same files, so the run directory must be on a disk that
they share. With one process only, nothing here has an effect.
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

import jax
import numpy as np
from jax.experimental import multihost_utils

from bnresearch.statistics import shards
from bnresearch.terminal import ConfigError, Refused, UserError, say

_VARIABLES = (
  'JAX_COORDINATOR_ADDRESS',
  'JAX_NUM_PROCESSES',
  'JAX_PROCESS_ID',
)
# A host that is silent for this long is lost, and the others end. In seconds.
_LOST_AFTER = 30
# A host that waits this long for the others to start says so. In seconds.
_TOLD_AFTER = 10
# Errors of a host itself, not of the loss of another.
_OWN = ('RESOURCE_EXHAUSTED', 'INVALID_ARGUMENT', 'UNIMPLEMENTED')


class Lost(UserError, RuntimeError):
  """Another host no longer answers."""


def join() -> bool:
  """Joins the other hosts, before JAX is used; returns whether there are any.

  Either SLURM's variables, which `srun` sets for each task, say where they are,
  or JAX_COORDINATOR_ADDRESS (host:port of the first one), JAX_NUM_PROCESSES and
  JAX_PROCESS_ID do.

  Raises:
    ConfigError: only some of these last variables are set, or they contradict
      each other.
  """
  if any(map(os.environ.get, _VARIABLES)):
    options = _given()
  elif _tasks_of_slurm() > 1:
    options = {}
  else:
    return False
  # That service would take SIGTERM, which asks our runs to save themselves.
  jax.config.update('jax_enable_preemption_service', False)
  where = options.get('coordinator_address', 'the first task of SLURM')
  told = threading.Timer(
    _TOLD_AFTER, _print, [f'Waiting for the other hosts, at {where}.']
  )
  told.daemon = True
  told.start()
  jax.distributed.initialize(
    **options,
    heartbeat_timeout_seconds=_LOST_AFTER,
    shutdown_timeout_seconds=_LOST_AFTER,
  )
  told.cancel()
  return True


def _tasks_of_slurm():
  """Returns how many processes `srun` has started, this one included.

  An interactive shell is the only one, however many tasks its job has.
  """
  if 'SLURM_STEP_NODELIST' not in os.environ:
    return 1
  names = ('SLURM_STEP_NUM_TASKS', 'SLURM_NTASKS')
  counts = [os.environ.get(name, '') for name in names]
  return next((int(count) for count in counts if count.isdecimal()), 1)


def _given():
  """Returns what the variables say, as options of `initialize`."""
  values = [os.environ.get(name) for name in _VARIABLES]
  missing = [name for name, value in zip(_VARIABLES, values) if not value]
  if missing:
    raise ConfigError(
      f'{", ".join(missing)}: not set. A process that is one of several '
      f'needs {", ".join(_VARIABLES)}.'
    )
  address, count, index = values
  if not (count.isdecimal() and index.isdecimal() and int(index) < int(count)):
    raise ConfigError(
      f'JAX_PROCESS_ID = {index!r}, JAX_NUM_PROCESSES = {count!r}: need '
      'integers, the former of at least 0 and below the latter.'
    )
  return {
    'coordinator_address': address,
    'num_processes': int(count),
    'process_id': int(index),
  }


def first() -> bool:
  """Returns whether this host is the one that writes."""
  return jax.process_index() == 0


def of_first(value: int) -> int:
  """Returns the value of the first host; all hosts call it."""
  if jax.process_count() == 1:
    return value
  return int(multihost_utils.broadcast_one_to_all(np.int32(value)))


@contextlib.contextmanager
def all_or_none() -> Iterator[None]:
  """Lets no host go on alone: if the body raises on one host, it ends on all.

  Raises:
    Refused: the body has raised on another host, which says why.
  """
  mine = None
  try:
    yield
  except Exception as error:
    mine = error
  if jax.process_count() > 1:
    with watched():
      wrong = multihost_utils.process_allgather(np.asarray(mine is not None))
    if mine is None and wrong.any():
      raise Refused(
        f'Host {np.argmax(wrong)} of {len(wrong)} cannot go on, and tells why.'
      )
  if mine is not None:
    raise mine


@contextlib.contextmanager
def watched() -> Iterator[None]:
  """Turns the failure of a collective into `Lost`, on several hosts."""
  try:
    yield
  except jax.errors.JaxRuntimeError as error:
    if jax.process_count() == 1 or str(error).startswith(_OWN):
      raise
    raise Lost(
      f'A host is lost ({str(error).splitlines()[0]}). The same command on all '
      'hosts, or on other ones, continues from the last checkpoint.'
    ) from error


def leave(message: str) -> NoReturn:
  """Ends this process, without waiting for hosts that may be lost."""
  _print(message)
  if first():
    time.sleep(1)  # the others end with this one, and may have something to say
  os._exit(1)


def _print(message):
  sys.stdout.flush()
  say(message, sys.stderr)


class Agreement:
  """Makes the wish of any host the decision of all, without waiting for them.

  All hosts call it at the same points of their program. A call returns what was
  wished at the call before, so that no host waits for its device. With one host
  only, the wish is the decision.
  """

  def __init__(self, mesh: jax.sharding.Mesh):
    self._mesh, self._before = mesh, None
    shared = jax.NamedSharding(mesh, jax.P())
    self._any = jax.jit(lambda flags: flags.any(), out_shardings=shared)

  def __call__(self, wish: bool) -> bool:
    """Returns whether any host wished it at the call before."""
    if jax.process_count() == 1:
      return wish
    before = self._before
    split = jax.NamedSharding(self._mesh, jax.P(shards.AXIS))
    here = np.full(len(self._mesh.local_devices), wish)
    self._before = self._any(
      jax.make_array_from_process_local_data(split, here)
    )
    return before is not None and bool(before)
