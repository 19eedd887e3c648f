"""Loops of probes that walk."""

from collections.abc import Callable
from typing import Any

import jax
from jax.core import Tracer

from bnresearch.ops import scanning


def repeated(body: Callable[[Any, Any], Any], start: Any, times: int) -> Any:
  """Returns `start` after `start = body(k, start)` for k below `times`.

  The loop is Python's, so each function that `body` calls is compiled once.
  Where all is traced, for a vectorized run, it would be compiled `times` times:
  then it is a loop of XLA's, unless this would be slow.

  Args:
    body: keeps shapes and dtypes. It must not be the first to ask a view for
      what the view then keeps.
    start: a tree of arrays.
    times: how often.
  """
  traced = any(isinstance(x, Tracer) for x in jax.tree.leaves(start))
  if traced and not scanning.is_slow(body, 0, start):
    return jax.lax.fori_loop(0, times, body, start)
  for k in range(times):
    start = body(k, start)
  return start
