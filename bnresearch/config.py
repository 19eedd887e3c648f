"""Configs: loading, overriding, and validating all of it at once.

A config is a tree of `ml_collections.ConfigDict` whose leaves are numbers,
booleans, strings and tuples; a dotted key such as `norm.name` names a leaf.
What each leaf may be stands in `RULES`.
"""

import ast
import importlib.util
import math
import pathlib
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from bnresearch import lookup
from bnresearch.records.config_file import Config, leaves


class ConfigError(ValueError):
  """A config cannot be used; the message lists every problem found."""

  def __init__(self, problems: Iterable[str]):
    self.problems = tuple(dict.fromkeys(problems))
    n = len(self.problems)
    title = 'A problem' if n == 1 else f'{n} problems'
    super().__init__('\n  '.join([f'{title} in the config:', *self.problems]))


# Loading and overriding.


def load(path_and_arg: str) -> Config:
  """Runs `get_config(arg)` of the file in `configs/figure1.py[:arg]`.

  Raises:
    ConfigError: no such file, no `get_config` in it, or it refuses `arg`.
  """
  path, _, arg = path_and_arg.partition(':')
  file = pathlib.Path(path)
  if not file.is_file():
    nearby = sorted(str(f) for f in pathlib.Path('configs').glob('[!_]*.py'))
    hint = lookup.suggest(path, nearby)
    raise ConfigError([f'--config={path}: no such file. {hint}'])
  spec = importlib.util.spec_from_file_location(f'config_{file.stem}', file)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  if not hasattr(module, 'get_config'):
    raise ConfigError([f'--config={path}: has no function get_config(arg).'])
  try:
    return module.get_config(arg)
  except ValueError as error:
    raise ConfigError([f'--config={path_and_arg}: {error}']) from error


def override(config: Config, values: dict[str, Any]) -> list[str]:
  """Sets leaves by dotted key, in place; returns what was wrong with some.

  Args:
    config: changed where a value is right.
    values: {dotted key: value}. A text, as it comes from a command line, is
      read as the type that the leaf has.
  """
  known, problems = leaves(config), []
  for key, value in values.items():
    if key not in known:
      problems.append(f'{key}: no such key. {_nearest_key(key, known)}')
      continue
    try:
      value = _as_type_of(known[key], value)
    except (ValueError, SyntaxError, TypeError, OverflowError):
      kind = type(known[key]).__name__
      problems.append(f'{key} = {value!r}: needs {kind}, like {known[key]!r}.')
      continue
    *groups, leaf = key.split('.')
    node = config
    for group in groups:
      node = node[group]
    with node.unlocked():
      node[leaf] = value
  return problems


def _nearest_key(key, known):
  inside = [k for k in known if k.startswith(f'{key}.')]
  if inside:
    return f'It is a group; set one of {", ".join(inside)}.'
  same_leaf = [k for k in known if k.split('.')[-1] == key.split('.')[-1]]
  group = [k for k in known if k.split('.')[0] == key.split('.')[0]]
  return lookup.suggest(key, same_leaf or group or known)


def _as_type_of(example, value):
  """Converts `value`, or its text, to the type of `example`; or ValueError."""
  if isinstance(example, tuple):
    return _as_tuple_like(example, value)
  if isinstance(example, str):
    return str(value)
  if isinstance(value, str):
    literal = value.capitalize() if isinstance(example, bool) else value
    value = ast.literal_eval(literal)
  kind = type(example)
  number = isinstance(value, (int, float)) and not isinstance(value, bool)
  if isinstance(value, kind) and number != isinstance(example, bool):
    return value
  if isinstance(example, bool) or not number or kind(value) != value:
    raise ValueError
  return kind(value)


def _as_tuple_like(example, value):
  """Reads '(1, 2)', '1, 2', 'name,name' or one element as a tuple."""
  if isinstance(value, str):
    try:
      value = ast.literal_eval(value)
    except (ValueError, SyntaxError):
      value = tuple(value.split(','))
      if not all(map(str.isidentifier, value)):
        raise
  value = tuple(value) if isinstance(value, (tuple, list)) else (value,)
  if example and isinstance(example[0], float):
    return tuple(_as_type_of(example[0], element) for element in value)
  return value


# What each leaf may be.


class Rule(NamedTuple):
  """`holds(value)` says whether it may be; `needs` is that in words."""

  needs: str
  holds: Callable[[Any], bool]
  choices: tuple[str, ...] = ()


def _number(kind, low, high=math.inf, *, above=False, below=False) -> Rule:
  needs = f'{"an" if kind is int else "a"} {kind.__name__} '
  needs += f'above {low}' if above else f'of at least {low}'
  if high < math.inf:
    needs += f' and {"below" if below else "at most"} {high}'

  def holds(value):
    return (
      type(value) is kind
      and (low < value if above else low <= value)
      and (value < high if below else value <= high)
      and math.isfinite(value)
    )

  return Rule(needs, holds)


def _choice(*choices: str) -> Rule:
  return Rule(f'one of {", ".join(choices)}', choices.__contains__, choices)


def _entry(room: str) -> Rule:
  return _choice(*lookup.names(room))


def _each(rule: Rule, *, some: bool) -> Rule:
  """A tuple of what `rule` allows; with `some`, not an empty one."""
  return Rule(
    f'a tuple, each element {rule.needs}',
    lambda value: (
      type(value) is tuple
      and all(map(rule.holds, value))
      and (len(value) > 0 or not some)
    ),
  )


_FLAG = Rule('True or False', lambda value: type(value) is bool)
_STEPS = _number(int, 1)
_STATISTICS = _choice('ema', 'batch')

RULES = {
  'seed': _number(int, 0, 2**32 - 1),
  'dry_run': _FLAG,
  'sweep': Rule(
    'a tuple of {"dotted.key": value}',
    lambda v: type(v) is tuple and all(isinstance(p, dict) for p in v),
  ),
  'data.name': _entry('data'),
  'data.binarize': _FLAG,
  'data.binarize_threshold': _number(float, 0, 1, below=True),
  'data.examples': _number(int, 1),
  'model.name': _entry('models'),
  'model.features': _each(_number(int, 1), some=True),
  'model.activation': _choice(
    'sigmoid', 'tanh', 'relu', 'relu6', 'elu', 'gelu', 'silu', 'softplus'
  ),
  'model.init_std': _number(float, 0, above=True),
  'norm.name': _entry('norms'),
  'norm.momentum': _number(float, 0, 1, below=True),
  'norm.epsilon': _number(float, 0),
  'norm.running_variance': _choice('unbiased', 'biased'),
  'norm.use_scale': _FLAG,
  'norm.use_bias': _FLAG,
  'train.steps': _STEPS,
  'train.batch_size': _number(int, 1),
  'train.log_every': _STEPS,
  'train.scan': _choice('auto', 'always', 'never'),
  'optim.name': _choice(
    'sgd', 'adam', 'adamw', 'adagrad', 'lamb', 'lion', 'nadam', 'rmsprop'
  ),
  'optim.learning_rate': _number(float, 0, above=True),
  'optim.momentum': _number(float, 0, 1, below=True),
  'optim.nesterov': _FLAG,
  'optim.weight_decay': _number(float, 0),
  'optim.l2': _number(float, 0),
  'optim.schedule': _choice('constant', 'cosine', 'exponential', 'step'),
  'optim.warmup_steps': _number(int, 0),
  'optim.decay_rate': _number(float, 0, 1, above=True),
  'optim.decay_steps': _STEPS,
  'eval.every': _STEPS,
  'eval.batch_size': _number(int, 1),
  'eval.statistics': _STATISTICS,
  'eval.population_batches': _number(int, 1),
  'probes.names': _each(_entry('probes'), some=False),
  'probes.every': _STEPS,
  'probes.examples': _number(int, 1),
  'probes.statistics': _STATISTICS,
  'probes.percentiles': _each(_number(float, 0, 100), some=True),
  'probes.saturation_threshold': _number(float, 0, above=True),
  'checkpoint.every': _STEPS,
  'checkpoint.keep': _number(int, 1),
}

# (key, key): the first is a multiple of the second, because a call of
# `log_every` steps is not interrupted, and the best checkpoint is chosen by
# an evaluation.
_MULTIPLES = (
  ('train.steps', 'train.log_every'),
  ('eval.every', 'train.log_every'),
  ('probes.every', 'train.log_every'),
  ('checkpoint.every', 'eval.every'),
)


def problems(config: Config) -> list[str]:
  """Returns everything that is wrong with the values of a config."""
  values, found = leaves(config), []
  for key, rule in RULES.items():
    if key not in values:
      found.append(f'{key}: missing. configs/default.py has every key.')
    elif not rule.holds(values[key]):
      value = values[key]
      near = rule.choices and lookup.suggest(str(value), rule.choices)
      hint = near.rpartition('Known')[0].strip() if near else ''
      found.append(f'{key} = {value!r}: needs {rule.needs}. {hint}'.strip())
  if found:
    return found
  for key, divisor in _MULTIPLES:
    if values[key] % values[divisor]:
      found.append(
        f'{key} = {values[key]}: must be a multiple of {divisor} = '
        f'{values[divisor]}.'
      )
  return found


def tiny(config: Config) -> Config:
  """Returns a config for a dry run: two steps of everything, on few images."""
  small = config.copy_and_resolve_references()
  override(
    small,
    {
      'dry_run': True,
      'train.steps': 2,
      'train.log_every': 1,
      'train.batch_size': 8,
      'eval.every': 1,
      'eval.batch_size': 8,
      'eval.population_batches': 2,
      'probes.every': 1,
      'probes.examples': 8,
      'checkpoint.every': 1,
    },
  )
  return small.lock()
