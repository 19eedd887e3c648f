"""A knob in words: for `--explain`, and for the page of all knobs."""

from bnresearch import lookup
from bnresearch.knobs import together, tree
from bnresearch.knobs.knob import SHOWN_BY, Knob
from bnresearch.knobs.table import GROUPS, KNOBS


def explain(key: str) -> str:
  """Returns all that is known of a knob, or of a group's knobs, as lines.

  Args:
    key: of a knob, as 'norm.momentum', or a group, as 'norm'.

  Raises:
    lookup.Unknown: it is neither; the message names the nearest ones.
  """
  if key in GROUPS:
    inside = [k for k in KNOBS.values() if k.key.rpartition('.')[0] == key]
    return '\n'.join([GROUPS[key], *map(_line, inside)])
  if key not in KNOBS:
    raise lookup.Unknown(f'{key}: no such knob. {_nearest(key)}')
  knob = KNOBS[key]
  needed = needs(knob)
  lines = [_line(knob), f'It may be {allowed(knob)}.']
  lines += [f'It {predicate}.' for predicate in needed]
  if needed:
    lines += [f'Otherwise it is refused, unless it is {knob.default!r}.']
  else:
    lines += ['It always has an effect.']
  if knob.before is not None:
    lines += [f'A run older than this knob opens with {knob.before!r}.']
  return '\n'.join(lines)


def allowed(knob: Knob) -> str:
  """Returns what a knob may be."""
  divisors = [by for key, by in together.MULTIPLES if key == knob.key]
  multiple = f', a multiple of {" and ".join(divisors)}' if divisors else ''
  return f'{knob.rule.needs}{multiple}'


def needs(knob: Knob) -> list[str]:
  """Returns what a knob needs to have an effect, as predicates."""
  shown = [SHOWN_BY[knob.shown_by]] if knob.shown_by else []
  return [*(condition.words(knob.key) for condition in knob.needs), *shown]


def _line(knob):
  return f'{knob.key} = {knob.default!r}  # {knob.comment}'


def _nearest(key):
  leaves = {known.rpartition('.')[2] for known in KNOBS}
  if '.' in key or key in leaves:
    return tree.nearest(key, KNOBS)
  alone = [known for known in KNOBS if '.' not in known]
  return lookup.suggest(key, [*filter(None, GROUPS), *alone])
