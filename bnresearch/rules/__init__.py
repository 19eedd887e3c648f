"""What each knob of a config may be, and what several must be together."""

from typing import Any

import numpy as np

from bnresearch import lookup
from bnresearch.records.config_file import Config, leaves
from bnresearch.rules import together
from bnresearch.rules.values import RULES


def problems(config: Config) -> list[str]:
  """Returns everything that is wrong with the values of a config."""
  values, found = leaves(config), {}
  for key, rule in RULES.items():
    if key not in values:
      found[key] = f'{key}: missing. configs/default.py has every key.'
    elif not rule.holds(values[key]):
      value = values[key]
      near = rule.choices and lookup.suggest(str(value), rule.choices)
      hint = near.rpartition('Known')[0].strip() if near else ''
      found[key] = f'{key} = {value!r}: needs {rule.needs}. {hint}'.strip()
    elif wrong := _beyond_float32(values[key]):
      found[key] = f'{key} = {values[key]!r}: {wrong}'
  return [*found.values(), *together.problems(values, found.keys())]


def _beyond_float32(value: Any) -> str:
  """Says why a number, or one of a tuple, is another one in float32."""
  if isinstance(value, tuple):
    return next(filter(None, map(_beyond_float32, value)), '')
  if type(value) is not float or not value:
    return ''
  float32 = np.finfo(np.float32)
  most, least = float(float32.max), float(float32.tiny)
  if abs(value) > most:
    return f'is infinite in float32, whose numbers are at most {most:.4g}.'
  if abs(value) < least:
    return f'is 0 in float32, whose numbers are at least {least:.4g}.'
  return ''
