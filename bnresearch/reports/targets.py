"""Steps to a target: when a metric of a run is first as good as a value."""

from typing import NamedTuple

import numpy as np

from bnresearch import lookup
from bnresearch.runs.logbook import Series

# Metrics with one value per step, by their names in the logbook.
METRICS = tuple(
  f'{of}/{what}'
  for of in ('validation', 'test', 'average', 'train')
  for what in ('accuracy', 'top5_accuracy', 'loss')
)


class Target(NamedTuple):
  """A value that a metric is to reach.

  A loss reaches it from above, an accuracy from below, and what a probe has
  measured from where it began.
  """

  metric: str
  value: float

  def __str__(self) -> str:
    return f'{self.metric}={self.value:g}'


def parse(text: str) -> Target:
  """Reads 'test/accuracy=0.9'.

  Raises:
    ValueError: it is not METRIC=VALUE, with one of `METRICS`, or a scalar of a
      probe.
  """
  metric, _, value = text.rpartition('=')
  try:
    target = Target(metric, float(value))
  except ValueError:
    target = Target('', np.nan)
  known = is_scalar(metric) or metric in METRICS
  if not known or not np.isfinite(target.value):
    raise ValueError(
      f'{text!r}: needs METRIC=VALUE, such as test/accuracy=0.9. Metrics are '
      f'{", ".join(METRICS)}, and the scalars of probes, such as '
      'probe/gradient_shift/cosine.'
    )
  return target


def is_scalar(metric: str) -> bool:
  """Returns whether a metric is one number of a probe: 'probe/NAME/SCALAR'."""
  group, _, rest = metric.partition('/')
  probe, _, scalar = rest.partition('/')
  if group != 'probe' or probe not in lookup.names('probes'):
    return False
  return scalar in lookup.find('probes', probe).SCALARS


def steps_to(
  series: Series | None, value: float, *, falling: bool = False
) -> float:
  """Returns the step at which a metric first reaches `value`, inf if never.

  It is interpolated linearly between the two rows of the logbook around it.

  Args:
    series: of one metric, values (T,); None for a run without it.
    value: to be reached from below.
    falling: from above instead.
  """
  if series is None:
    return np.inf
  above_T = (series.values - value) * (-1 if falling else 1)
  reached_T = np.flatnonzero(above_T >= 0)
  if not len(reached_T):
    return np.inf
  k = reached_T[0]
  if k == 0 or not np.isfinite(above_T[k - 1]):
    return float(series.steps[k])
  return float(
    np.interp(0.0, above_T[k - 1 : k + 1], series.steps[k - 1 : k + 1])
  )


def steps_to_target(metrics: dict[str, Series], target: Target) -> float:
  """Returns the step at which a run reaches a target, inf if it does not.

  Args:
    metrics: of a run, as `logbook.read` gives them.
    target: see `Target`.
  """
  series = metrics.get(target.metric)
  falling = target.metric.endswith('loss')
  if series is not None and is_scalar(target.metric):
    known = series.values[np.isfinite(series.values)]
    falling = len(known) > 0 and bool(known[0] > target.value)
  return steps_to(series, target.value, falling=falling)
