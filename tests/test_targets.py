"""Steps to a target, in a series and as columns of a sweep's tables."""

import numpy as np
import pytest

from bnresearch.reports import targets
from bnresearch.runs.logbook import Series


def series(*values):
  return Series(np.arange(len(values)) * 100, np.asarray(values))


@pytest.mark.parametrize(
  ('values', 'steps'),
  [
    ((0.1, 0.5, 0.7, 0.9), 150),  # half-way between two rows
    ((0.1, 0.6, 0.7), 100),  # in a row
    ((0.6, 0.7), 0),  # before the first update
    ((0.1, 0.8, 0.2, 0.9), 500 / 7),  # the first time
    ((0.1, np.nan, 0.7), 200),  # nothing to interpolate with
    ((0.1, 0.5, np.nan), np.inf),
  ],
)
def test_the_first_step_that_reaches_it_is_interpolated(values, steps):
  assert targets.steps_to(series(*values), 0.6) == pytest.approx(steps)


def test_a_loss_is_to_fall_and_a_run_without_the_metric_never_gets_there():
  metrics = {'test/loss': series(2.0, 1.0, 0.5)}
  loss, accuracy = map(targets.parse, ('test/loss=1.5', 'test/accuracy=0.9'))
  assert targets.steps_to_target(metrics, loss) == 50
  assert targets.steps_to_target(metrics, accuracy) == np.inf


def test_the_scalar_of_a_probe_reaches_a_value_from_where_it_began():
  target = targets.parse('probe/gradient_shift/cosine=0.5')
  name = target.metric
  assert name == 'probe/gradient_shift/cosine'
  for values in ((0.9, 0.7, 0.3), (0.1, 0.3, 0.7), (np.nan, 0.9, 0.1)):
    assert targets.steps_to_target({name: series(*values)}, target) == 150
  assert targets.steps_to_target({name: series(0.9, 0.6)}, target) == np.inf


@pytest.mark.parametrize(
  'text',
  [
    '',
    '0.9',
    'accuracy=0.9',
    'test/loss=low',
    'test/acuracy=0.9',
    'probe/moments/hidden_1=0.5',
    'probe/gradient_shift/hidden_2/cosine=0.5',
    'probe/saturation/cosine=0.5',
  ],
)
def test_what_is_no_target_is_refused(text):
  with pytest.raises(
    ValueError, match=r'needs METRIC=VALUE, such as .* test/loss'
  ):
    targets.parse(text)
