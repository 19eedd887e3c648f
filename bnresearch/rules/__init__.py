"""What each knob of a config may be, and what several must be together."""

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
  return [*found.values(), *together.problems(values, found.keys())]
