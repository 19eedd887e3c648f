"""What a knob may be: rules, in code and in words."""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from bnresearch import lookup, paths

WITH_STD = ('normal', 'truncated_normal')
INITIALIZERS = ('own', 'xavier', 'kaiming', 'orthogonal', *WITH_STD, 'lsuv')


class Rule(NamedTuple):
  """`holds(value)` says if a value is allowed; `needs` is that in words."""

  needs: str
  holds: Callable[[Any], bool]
  choices: tuple[str, ...] = ()


def whole(low: int, high: float = math.inf) -> Rule:
  """Allows an int from `low` to `high`."""
  return _number(int, low, high)


def real(
  low: float = -math.inf,
  high: float = math.inf,
  *,
  above: bool = False,
  below: bool = False,
) -> Rule:
  """Allows a finite float from `low` to `high`, or only `above` or `below`."""
  return _number(float, low, high, above=above, below=below)


def _number(kind, low, high, *, above=False, below=False):
  needs = f'{"an" if kind is int else "a"} {kind.__name__}'
  if low > -math.inf:
    needs += f' above {low}' if above else f' of at least {low}'
  if high < math.inf:
    needs += f' and {"below" if below else "at most"} {high}'

  def holds(value):
    return (
      type(value) is kind
      and (low < value if above else low <= value)
      and (value < high if below else value <= high)
      and (kind is int or math.isfinite(value))
    )

  return Rule(needs, holds)


def choice(*choices: str) -> Rule:
  """Allows one of some words."""
  return Rule(f'one of {", ".join(choices)}', choices.__contains__, choices)


def entry(room: str) -> Rule:
  """Allows the name of a file of a room, or of what is added later."""
  files = lookup.names(room)
  return Rule(
    choice(*files).needs,
    lambda value: value in files or value in lookup.names(room),
    files,
  )


def each(rule: Rule, *, some: bool = False) -> Rule:
  """Allows a tuple of what `rule` allows; with `some`, not an empty one."""
  return Rule(
    f'a tuple, each element {rule.needs}',
    lambda value: (
      type(value) is tuple
      and all(map(rule.holds, value))
      and (len(value) > 0 or not some)
    ),
  )


def _is_site(value: Any) -> bool:
  if type(value) is not str:
    return False
  pattern, _, norm = value.rpartition('=')
  return bool(pattern) and norm in lookup.names('norms')


def _is_init_site(value: Any) -> bool:
  if type(value) is not str:
    return False
  pattern, _, init = value.rpartition('=')
  name, colon, std = init.partition(':')
  if colon:
    number = re.fullmatch(r'\d+(\.\d+)?(e-?\d+)?', std)
    return bool(pattern and number and float(std)) and name in WITH_STD
  return bool(pattern) and name in INITIALIZERS


def _is_option(value: Any) -> bool:
  name = value.partition('=')[0] if type(value) is str else ''
  return name.replace('-', '').isalnum() and not name.startswith('-')


FLAG = Rule('True or False', lambda value: type(value) is bool)
TEXT = Rule('a text', lambda value: type(value) is str)
PATH = Rule(
  'a path on this machine',
  lambda value: type(value) is str and paths.is_here(value),
)
SEED = whole(0, 2**32 - 1)
# Each for one knob.
SWEEP = Rule(
  'a tuple of {"dotted.key": value}',
  lambda v: (
    type(v) is tuple
    and all(isinstance(p, dict) and {*map(type, p)} <= {str} for p in v)
  ),
)
LABEL = Rule(
  'letters, digits, _, -, + and .',
  lambda value: (
    type(value) is str and bool(re.fullmatch(r'([\w+-][\w.+-]*)?', value))
  ),
)
RANGE = Rule(
  'two floats above 0, the smaller one first',
  lambda v: (
    type(v) is tuple
    and [type(x) for x in v] == [float] * 2
    and 0 < v[0] <= v[1] < math.inf
  ),
)
PART = Rule(f'{RANGE.needs}, at most 1', lambda v: RANGE.holds(v) and v[1] <= 1)
DROPOUT = Rule(
  'a float of at least 0 and below 1, or -1',
  lambda v: type(v) is float and (0 <= v < 1 or v == -1),
)
SITES = Rule(
  "a tuple of 'PATTERN=NORM', the norm one of "
  f'{", ".join(lookup.names("norms"))}',
  lambda v: type(v) is tuple and all(map(_is_site, v)),
)
INIT_SITES = Rule(
  "a tuple of 'PATTERN=INITIALIZER', one of those of model.initializer, or "
  f"'PATTERN=INITIALIZER:STD' for {' and '.join(WITH_STD)}",
  lambda v: type(v) is tuple and all(map(_is_init_site, v)),
)
CHECKPOINT = Rule(
  'best, latest or a step',
  lambda v: v in ('best', 'latest') or (type(v) is str and v.isdecimal()),
)
SBATCH = Rule(
  "a tuple of 'NAME=VALUE' or 'NAME', long options of sbatch without --",
  lambda v: type(v) is tuple and all(map(_is_option, v)),
)
