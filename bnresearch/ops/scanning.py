"""Where XLA runs a loop much slower than what is in it."""

from collections.abc import Callable
from typing import Any

import jax
from jax.extend.core import primitives

from bnresearch.ops import programs


def is_slow(body: Callable, *example: Any, platform: str = '') -> bool:
  """Returns whether a loop of `body`, a gradient, would be slow.

  XLA runs the gradient of a convolution about 50 times slower inside a loop, on
  a CPU.

  Args:
    body: any function.
    *example: its arguments, for their shapes.
    platform: that it will be lowered for; '' for this process's.
  """
  if (platform or jax.default_backend()) != 'cpu':
    return False
  return _convolves(jax.make_jaxpr(body)(*example).jaxpr)


def _convolves(program):
  """Returns whether XLA convolves in a program on a CPU."""
  return any(
    equation.primitive is primitives.conv_general_dilated_p
    or any(map(_convolves, programs.inside(equation)))
    for equation in program.eqns
  )
