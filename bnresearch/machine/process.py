"""What a process must set before JAX starts its first computation."""

import contextlib
import ctypes
import gc
import os
import sys

import jax

from bnresearch import paths
from bnresearch.machine import hosts
from bnresearch.machine.devices import plugins

# Of XLA's pool; see `give_threads`.
_THREADS_PER_DEVICE = 4


def prepare(devices: int = 1) -> None:
  """Joins other hosts, turns cores into devices, keeps memory and programs.

  On a CPU one core is one device: XLA mostly convolves on one core only, so a
  network with convolutions splits its batches over devices, see
  `parallel.mesh`. The MLP of Figure 1 takes one device, and two runs side by
  side fill both cores.

  Args:
    devices: on a CPU, if this process is the only host.
  """
  if hosts.join():
    devices = 1
  with contextlib.suppress(RuntimeError):  # JAX has started, with its devices
    if jax.config.jax_num_cpu_devices < 1:
      jax.config.update('jax_num_cpu_devices', devices)
  give_threads(max(1, jax.config.jax_num_cpu_devices))
  calm_lapack()
  _keep_freed_memory()
  # Tracing a network makes millions of objects that stay. Scanning them at
  # every 700th new one takes 12% of the start of an Inception.
  gc.set_threshold(100_000)
  _keep_programs()


def calm_lapack() -> None:
  """Gives LAPACK one thread, before JAX loads it, unless a number is set.

  On a CPU, eigenvalues are OpenBLAS's, whose threads wait by spinning: beside
  other runs 0.5 ms became 170 ms. And digits do not depend on the cores.
  """
  os.environ.setdefault('OPENBLAS_NUM_THREADS', '1')


def give_threads(devices: int) -> None:
  """Makes XLA's pool large enough for the devices of a CPU, before JAX starts.

  A thread that waits in a collective is not free for the device that it waits
  for. With as many threads as devices, programs that are in flight together
  starve: XLA aborts the process after 40 s (two devices, two threads: 7 of 7
  runs of LeNet; 4 and 8 threads: 0 of 16).

  XLA reads the number from NPROC. A value that is already set is only raised;
  with one device, which waits for no other, it stays. The number decides in
  which order XLA adds in convolutions, so it depends on the devices alone, not
  on the machine.

  Args:
    devices: how many JAX makes of the cores.
  """
  text = os.environ.get('NPROC', '')
  given = int(text) if text.isdecimal() else 0
  if devices > 1 or not given:
    os.environ['NPROC'] = str(max(_THREADS_PER_DEVICE * devices, given))


def cores() -> int:
  """Returns how many CPU cores this process may use."""
  return (
    len(os.sched_getaffinity(0))
    if hasattr(os, 'sched_getaffinity')
    else (os.cpu_count() or 1)
  )


def runs_at_a_time() -> int:
  """Returns how many runs to train side by side, each in its own process.

  On a CPU one per core. On an accelerator one: JAX gives a process most of its
  memory. JAX is not started to find out, as it could then not be prepared;
  an installed plugin counts as an accelerator unless JAX_PLATFORMS names the
  CPU.
  """
  if chosen := jax.config.jax_platforms:
    accelerator = not chosen.startswith('cpu')
  else:
    accelerator = plugins()
  return 1 if accelerator else cores()


def _keep_programs():
  """Keeps compiled programs, where and as the user's environment says."""
  chosen = {
    'jax_persistent_cache_min_compile_time_secs': 0.2,
    'jax_persistent_cache_min_entry_size_bytes': -1,
  }
  if cache := paths.cache():
    chosen['jax_compilation_cache_dir'] = str(cache / 'xla')
  for name, value in chosen.items():
    if name.upper() not in os.environ:
      jax.config.update(name, value)


def _keep_freed_memory():
  """Makes glibc keep large freed blocks instead of returning them to Linux.

  Otherwise each call pays a page fault for every 4 KiB of its temporaries
  again: turning 10,000 MNIST images into floats takes 20 ms instead of 1.7.
  """
  if sys.platform == 'linux':
    trim_threshold, mmap_threshold, most = -1, -3, 2**30  # glibc's malloc.h
    with contextlib.suppress(AttributeError):  # another C library
      mallopt = ctypes.CDLL(None).mallopt
      mallopt(mmap_threshold, most)
      mallopt(trim_threshold, most)
