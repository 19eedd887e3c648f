"""What a process must set before JAX starts its first computation."""

import os

import jax
import platformdirs


def prepare() -> None:
  """Gives a run on the CPU one core, and keeps what was compiled.

  One core a run: networks of this size gain nothing from two (0.77 ms a step
  on two cores, 0.57 on one), two runs side by side fill both, and the digits
  of a result do not depend on how many cores there are, because a threaded
  product adds in another order. XLA reads the number from NPROC; one that is
  set already stays.
  """
  os.environ.setdefault('NPROC', '1')
  cache = platformdirs.user_cache_path('bnresearch') / 'xla'
  jax.config.update('jax_compilation_cache_dir', str(cache))
  jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.2)
  jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
