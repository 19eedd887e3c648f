"""The machine's rate for a matrix product, the reference for networks."""

import time

import jax


def gflops(dtype: str = 'float32') -> float:
  """Returns the best of ten products of square matrices, in GFLOP/s.

  They have 2048 rows on a CPU, with the cores that XLA was given, see NPROC;
  elsewhere 8192, whose product takes much longer than its start.
  """
  n, times = 2048 if jax.default_backend() == 'cpu' else 8192, []
  a = jax.random.normal(jax.random.key(0), (n, n), dtype)
  product = jax.jit(lambda a: a @ a)
  product(a).block_until_ready()
  for _ in range(10):
    began = time.perf_counter()
    product(a).block_until_ready()
    times.append(time.perf_counter() - began)
  return 2 * n**3 / min(times) / 1e9
