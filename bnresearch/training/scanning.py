"""Where XLA runs a loop much slower than what is in it."""

from collections.abc import Callable
from typing import Any

import jax


def is_slow(body: Callable, *example: Any) -> bool:
  """Returns whether a loop of `body`, a gradient, would be slow.

  It is where XLA runs the gradient of a convolution on a CPU, which inside a
  loop is about 50 times slower.

  Args:
    body: any function.
    *example: its arguments, for their shapes.
  """
  if jax.default_backend() != 'cpu':
    return False
  return 'conv_general_dilated' in str(jax.make_jaxpr(body)(*example))
