"""What momentum, epsilon and variance mean in other frameworks and in ours.

Every framework of `frameworks.py` normalizes by `sqrt(var + epsilon)` with the
biased variance of the batch (Ioffe & Szegedy 2015, Algorithm 1, 1502.03167).
They differ in what they average for evaluation, and in whether the average's
parameter weighs the old value or the new one.

  python -m bnresearch.conventions --help
"""

import math
from collections.abc import Collection
from typing import Any, NamedTuple

import numpy as np

from bnresearch.conventions.frameworks import FRAMEWORKS, Framework


class Values(NamedTuple):
  """A layer's settings and running statistics, in a framework's conventions.

  Attributes:
    momentum: the parameter of the running average, whatever it is called.
    epsilon: added to the variance.
    var: running variance, a number or an array; None if not needed.
    mean: running mean, likewise.
  """

  momentum: float
  epsilon: float
  var: Any = None
  mean: Any = None


def convert(
  values: Values,
  source: Framework,
  target: Framework,
  count: int | None = None,
  steps: int | None = None,
) -> Values:
  """Converts values from the conventions of `source` to those of `target`.

  After t updates, a running variance without debiasing is `momentum**t * 1 +
  (1 - momentum**t) * average`, where momentum weighs the old value. The factor
  (m-1)/m or m/(m-1) applies only to the average. A debiased running variance is
  the average alone. The same holds for the mean, with initial value 0. See
  `Framework.debias` for Equinox.

  Args:
    values: values in the conventions of `source`.
    source: a framework, such as `FRAMEWORKS['pytorch']`.
    target: likewise.
    count: m, the values per channel of each batch, N * H * W or N; needed if
      the variance is biased in one framework and unbiased in the other.
    steps: the updates made; None for enough to forget the initial mean and
      variance.

  Raises:
    ValueError: a value is out of range, or `count` is missing.
  """
  old = _weight_of_old(values.momentum, source)
  _check('epsilon', values.epsilon, 0)
  if steps is not None and steps < 1:
    raise ValueError(f'steps = {steps}: needs at least 1, or none given.')
  initial = 0.0 if steps is None else old**steps
  mean, var = values.mean, values.var
  if mean is not None:
    mean = _moved(mean, 0, initial, 1, source, target)
  if var is not None:
    least, _ = _weights(initial, source)
    _check('var', var, least, ', what is left of the initial 1' * (least > 0))
    factor = _factor(source, target, count)
    var = _moved(var, 1, initial, factor, source, target)
  momentum = old if target.weighs == 'old' else 1 - old
  return Values(momentum, values.epsilon, var, mean)


def forgotten(momentum: float, share: float = 0.01) -> float:
  """Returns the number of updates until a value keeps `share` of its weight.

  Args:
    momentum: weight of the old value, in [0, 1).
    share: 0.01 for 99% forgotten, 0.5 for the half-life.
  """
  return math.log(share) / math.log(momentum) if momentum else 0.0


def describe(norm: Any, options: Collection[str]) -> str:
  """Returns the conventions of a run's norm in one line.

  Args:
    norm: the group `config.norm`, or an object with its attributes.
    options: names of this norm's options; a norm without momentum keeps no
      running statistics.
  """
  if 'momentum' not in options:
    epsilon = f'; epsilon {norm.epsilon:g}' if 'epsilon' in options else ''
    return f'{norm.name}: no running statistics{epsilon}'
  parts = [
    f"momentum {norm.momentum:.12g} weighs the old statistics (PyTorch's "
    f'{1 - norm.momentum:.12g}), 99% forgotten after '
    f'{forgotten(norm.momentum):,.0f} updates'
  ]
  if 'epsilon' in options:
    parts.append(f'epsilon {norm.epsilon:g} inside the root')
  if 'running_variance' in options:
    kind = norm.running_variance
    name = 'unbiased, m/(m-1)' if kind == 'unbiased' else kind
    alike = ', '.join(_names(running_variance=kind))
    parts.append(f'running variance {name}, as in {alike}')
  if 'debias' in options:
    alike = f', as in {", ".join(_names(debias="yes"))}'
    parts.append(f'debiased{alike}' if norm.debias else 'not debiased')
  if _frozen(norm, options):
    parts.append('frozen: training neither uses nor follows its batches')
  return f'{norm.name}: {"; ".join(parts)}'


def warnings(norm: Any, steps: int, options: Collection[str]) -> list[str]:
  """Returns a warning if a run is too short for its running statistics.

  Args:
    norm: the group `config.norm`, or an object with its attributes.
    steps: updates of the whole run.
    options: as in `describe`.
  """
  debias = 'debias' in options and norm.debias
  if 'momentum' not in options or debias or _frozen(norm, options):
    return []
  weight = norm.momentum**steps
  if weight <= 0.01:
    return []
  most = math.floor(1e4 * 0.01 ** (1 / steps)) / 1e4
  ways = [
    f'train.steps of {math.ceil(forgotten(norm.momentum)):,} or more',
    f'norm.momentum of {most:g} or less',
    *(['norm.debias=True'] if 'debias' in options else []),
    'population statistics (--mode=eval)',
  ]
  return [
    f'norm.momentum = {norm.momentum:.12g} over {steps:,} updates: the '
    f'initial mean 0 and variance 1 keep {weight:.1%} of the weight in the '
    f'running statistics, more than 1%. Use {", ".join(ways[:-1])}, or '
    f'{ways[-1]}.'
  ]


def header(norm: Any, steps: int, options: Collection[str]) -> list[str]:
  """Returns the first lines of a run: its conventions, and any warning."""
  notes = [f'Warning: {text}' for text in warnings(norm, steps, options)]
  return [describe(norm, options), *notes]


def _weight_of_old(momentum, framework):
  """Returns the weight of the old value; refuses one out of range."""
  old = framework.weighs == 'old'
  if not (0 <= momentum < 1 if old else 0 < momentum <= 1):
    allowed = 'of at least 0 and below 1' if old else 'above 0 and at most 1'
    raise ValueError(
      f'{framework.parameter} = {momentum}: {framework.layer} needs a number '
      f'{allowed}, the weight of the {framework.weighs} value.'
    )
  return momentum if old else 1 - momentum


def _check(name, value, least, why=''):
  """Raises unless a number, or a whole array, is finite and large enough."""
  if not (least <= np.min(value) and np.max(value) < math.inf):
    raise ValueError(
      f'{name} = {value}: needs to be finite and at least {least:.6g}{why}.'
    )


def _factor(source, target, count):
  """Returns the factor on the average variance."""
  if source.running_variance == target.running_variance:
    return 1.0
  if count is None:
    raise ValueError(
      f'count is missing: the running variance of {source.layer} is '
      f'{source.running_variance}, that of {target.layer} '
      f'{target.running_variance}. Give the number of values per channel of '
      'each batch: N * H * W, or N after a dense layer.'
    )
  if count < 2:
    raise ValueError(
      f'count = {count}: an unbiased variance needs at least 2 values.'
    )
  bessel = count / (count - 1)
  return bessel if target.running_variance == 'unbiased' else 1 / bessel


def _weights(initial, framework):
  """Returns the weights of the initial value and of the batches' average.

  `initial` is the initial value's weight without debiasing.
  """
  if framework.debias == 'no':
    return initial, 1 - initial
  return initial / (1 - initial) * (framework.debias == 'mean'), 1.0


def _moved(value, start, initial, factor, source, target):
  """Returns a running statistic with its average multiplied by `factor`.

  `start` is its value before the first update; `initial` is as in `_weights`.
  """
  if factor == 1 and source.debias == target.debias:
    return value  # exact to the last bit
  left, weight = _weights(initial, source)
  average = factor * (value - left * start) / weight
  left, weight = _weights(initial, target)
  return left * start + weight * average


def _names(**convention):
  """Returns the names of other frameworks with a convention."""
  return [
    name
    for name, framework in FRAMEWORKS.items()
    if name != 'bnresearch'
    and all(getattr(framework, k) == v for k, v in convention.items())
  ]


def _frozen(norm, options):
  return 'frozen_statistics' in options and norm.frozen_statistics
