"""Every problem of the values of a config, all at once."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from bnresearch import lookup
from bnresearch.knobs import effects, together
from bnresearch.knobs.table import KNOBS
from bnresearch.knobs.tree import Config, leaves


def problems(config: Config) -> list[str]:
  """Returns everything that is wrong with the values of a config."""
  return of_all([config])


def wrong(config: Config) -> list[str]:
  """Returns the same, without knobs that are only set in vain."""
  values = leaves(config)
  alone = _alone(values)
  if not values.keys() >= KNOBS.keys():
    return [*alone.values()]
  return [*alone.values(), *together.problems(values, {*alone})]


def of_all(configs: Sequence[Config]) -> list[str]:
  """Returns everything that is wrong with the points of a sweep.

  A knob that one point sets in vain is no problem if the same value has an
  effect at another point. The former is a baseline, such as no normalizer in a
  sweep of group sizes.
  """
  found, in_vain, effective = [], {}, set()
  needy = {knob.key for knob in KNOBS.values() if knob.needs}
  for config in configs:
    values = leaves(config)
    found += wrong(config)
    if not values.keys() >= KNOBS.keys():
      continue
    here = effects.without_effect(values, _alone(values).keys())
    in_vain |= {(key, values[key]): problem for key, problem in here.items()}
    effective |= {(key, values[key]) for key in needy - here.keys()}
  found += [why for knob, why in in_vain.items() if knob not in effective]
  return list(dict.fromkeys(found))


def without_effect(config: Config) -> dict[str, str]:
  """Returns {key: problem} of what a valid config has set in vain."""
  return effects.without_effect(leaves(config))


def _alone(values: dict[str, Any]) -> dict[str, str]:
  """Returns {key: problem} of values that are wrong whatever the others are."""
  found = {}
  for key, knob in KNOBS.items():
    rule = knob.rule
    if key not in values:
      found[key] = f'{key}: missing. Begin with bnr.default_config().'
    elif not rule.holds(values[key]):
      value = values[key]
      near = lookup.suggest(str(value), rule.choices)
      hint = near.rpartition('Known')[0].strip()
      found[key] = f'{key} = {value!r}: needs {rule.needs}. {hint}'.strip()
    elif beyond := _beyond_32_bits(values[key]):
      found[key] = f'{key} = {values[key]!r}: {beyond}'
  return found


def _beyond_32_bits(value: Any) -> str:
  """Says why a number, or one of a tuple, is not the same in 32 bits."""
  if isinstance(value, tuple):
    return next(filter(None, map(_beyond_32_bits, value)), '')
  if type(value) is int and not -(2**31) <= value < 2**32:
    return 'does not fit into 32 bits.'
  if type(value) is not float or not value:
    return ''
  float32 = np.finfo(np.float32)
  most, least = float(float32.max), float(float32.tiny)
  if abs(value) > most:
    return f'is infinite in float32, whose numbers are at most {most:.4g}.'
  if abs(value) < least:
    return f'is 0 in float32, whose numbers are at least {least:.4g}.'
  return ''
