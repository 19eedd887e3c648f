"""Programs as they are lowered for a platform, which need not be here."""

import collections
import functools
import re
from collections.abc import Callable
from typing import Any

import jax

PLATFORMS = ('cuda', 'tpu')


def lowered(function: Callable, *inputs: Any, platform: str = 'cpu') -> str:
  """Returns the StableHLO of a function of arrays or their shapes."""
  traced = jax.jit(function).trace(*inputs)
  return traced.lower(lowering_platforms=(platform,)).as_text()


def operations(text: str) -> collections.Counter:
  """Counts the operations of a program, each as often as it is called."""
  pieces = re.split(r'func\.func \w+ @([\w.]+)', text)
  bodies = dict(zip(pieces[1::2], pieces[2::2]))

  @functools.cache
  def of(name):
    body = bodies[name]
    total = collections.Counter(re.findall(r'stablehlo\.(\w+)', body))
    for called in re.findall(r'(?<!custom_)call @([\w.]+)', body):
      total += of(called)
    return total

  return of('main')
