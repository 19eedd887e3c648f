"""Programs as they are lowered for a platform, which need not be here."""

from collections.abc import Callable
from typing import Any

import jax

PLATFORMS = ('cuda', 'tpu')


def lowered(function: Callable, *inputs: Any, platform: str = 'cpu') -> str:
  """Returns the StableHLO of a function of arrays or their shapes."""
  traced = jax.jit(function).trace(*inputs)
  return traced.lower(lowering_platforms=(platform,)).as_text()
