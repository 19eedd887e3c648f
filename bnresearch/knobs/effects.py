"""Refuses knobs that are set in vain: they would have no effect.

In the table, `needs` says what a knob needs of others, `shown_by` what only the
network or the data shows. A knob with neither always has an effect;
`tests/test_knobs.py` proves both for every knob.
"""

from collections.abc import Collection

from bnresearch.knobs import conditions
from bnresearch.knobs.conditions import Values
from bnresearch.knobs.table import KNOBS


def without_effect(
  values: Values, known: Collection[str] = ()
) -> dict[str, str]:
  """Returns {key: problem} of the knobs that are set in vain.

  Args:
    values: see `Values`.
    known: keys already reported, because their values alone are wrong.
  """
  choosers = {room.chooser for room in conditions.ROOMS.values()}
  found = {}
  if {'norm.sites', *choosers} & {*known}:
    return found
  for key, knob in KNOBS.items():
    if values[key] == knob.default or key in known:
      continue
    for condition in knob.needs:
      if why := condition.obstacle(key, values):
        found[key] = refusal(key, values, why, condition.remedy(key, values))
        break
  return found


def refusal(key: str, values: Values, why: str, remedy: str = '') -> str:
  """Returns the problem of a knob that is set in vain."""
  other = f', or {remedy}' if remedy else ''
  return (
    f'{key} = {values[key]!r}: {why}. Leave it at {KNOBS[key].default!r}'
    f'{other}.'
  )


def are_set(values: Values, *shown_by: str) -> list[str]:
  """Returns the knobs of some `shown_by` that differ from their default."""
  return [
    key
    for key, knob in KNOBS.items()
    if knob.shown_by in shown_by and values[key] != knob.default
  ]
