"""What each knob of a config may be, and what several must be together."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from bnresearch import lookup
from bnresearch.records.config_file import Config, leaves


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
  'model.norm_position': _choice('before', 'after'),
  'model.keep_bias': _FLAG,
  'model.weight_standardization': _choice('none', 'standard', 'scaled'),
  'norm.name': _entry('norms'),
  'norm.momentum': _number(float, 0, 1, below=True),
  'norm.epsilon': _number(float, 0),
  'norm.running_variance': _choice('unbiased', 'biased'),
  'norm.debias': _FLAG,
  'norm.group_size': _number(int, 0),
  'norm.group_variance': _choice('within', 'pooled'),
  'norm.variance': _choice('two_pass', 'one_pass'),
  'norm.per_activation': _FLAG,
  'norm.stop_gradient': _FLAG,
  'norm.frozen_statistics': _FLAG,
  'norm.frozen_affine': _FLAG,
  'norm.use_scale': _FLAG,
  'norm.use_bias': _FLAG,
  'norm.initial_scale': _number(float, 0),
  'norm.backward': _choice('equations', 'autodiff'),
  'norm.r_max': _number(float, 1),
  'norm.d_max': _number(float, 0),
  'norm.renorm_start': _number(int, 0),
  'norm.r_max_at': _STEPS,
  'norm.d_max_at': _STEPS,
  'norm.channel_groups': _number(int, 1),
  'norm.whitened_channels': _number(int, 1),
  'norm.whitening_iterations': _number(int, 1),
  'norm.learn_epsilon': _FLAG,
  'norm.order': _choice('l1', 'l2', 'linf'),
  'norm.noise_shift': _number(float, 0),
  'norm.noise_scale': _number(float, 0),
  'norm.noise_jitter': _number(float, 0),
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

# (key, key): the first is a multiple of the second, unless that is 0, because a
# call of `log_every` steps is not interrupted, the best checkpoint is chosen by
# an evaluation, and groups fill the batch.
_MULTIPLES = (
  ('train.steps', 'train.log_every'),
  ('eval.every', 'train.log_every'),
  ('probes.every', 'train.log_every'),
  ('checkpoint.every', 'eval.every'),
  ('train.batch_size', 'norm.group_size'),
)


# What changes the statistics, and its value where it does not.
_OFF = {
  'norm.debias': False,
  'norm.group_variance': 'within',
  'norm.variance': 'two_pass',
  'norm.per_activation': False,
  'norm.stop_gradient': False,
  'norm.frozen_statistics': False,
}


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
  together = []
  for key, divisor in _MULTIPLES:
    if found.keys() & {key, divisor}:
      continue  # said already
    if values[divisor] and values[key] % values[divisor]:
      together.append(_not_a_multiple(key, divisor, values))
  if not any(key.startswith('norm.') for key in found):
    together += _without_effect(values)
  return [*found.values(), *together]


def _not_a_multiple(key, divisor, values):
  value, by = values[key], values[divisor]
  problem = f'{key} = {value}: must be a multiple of {divisor} = {by}.'
  if divisor != 'norm.group_size':
    return problem
  sizes = ', '.join(str(d) for d in range(1, value + 1) if value % d == 0)
  return f'{problem} Groups may be of {sizes}, or 0 for the whole batch.'


def _without_effect(values):
  """Finds what a norm that follows batches is told in vain."""
  found = []
  name = values['norm.name']
  fields = dataclasses.fields(lookup.find('norms', name).Norm)
  options = {f'norm.{field.name}' for field in fields}
  # A norm of the example alone is the baseline of a sweep over these.
  if 'norm.momentum' in options:
    found += [
      f'{key} = {values[key]!r}: norm.name = {name!r} has no such option. '
      f'Leave it at {off!r}, or choose another norm, such as batch.'
      for key, off in _OFF.items()
      if key not in options and values[key] != off
    ]
  scale = values['norm.initial_scale']
  if scale != 1 and not values['norm.use_scale']:
    found.append(
      f'norm.initial_scale = {scale}: without effect, as norm.use_scale is '
      'False.'
    )
  if scale == 0 and values['norm.frozen_affine']:
    found.append(
      'norm.initial_scale = 0.0: with norm.frozen_affine nothing ever passes.'
    )
  return found
