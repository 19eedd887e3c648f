"""Probes of taps against closed forms and NumPy, in float64."""

import collections

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from bnresearch.probes import (
  activation_histogram,
  dead_units,
  distribution_shift,
  saturation,
)
from tests import views

V = 200


@pytest.fixture(autouse=True)
def in_float64():
  with jax.enable_x64(True):
    yield


@pytest.fixture
def x_VC():
  """Values of four channels that differ in mean, deviation and shape."""
  random = np.random.RandomState(0)
  x_VC = random.normal(size=(V, 4)) * [1, 0.1, 5, 2] + [0, 3, -1, 0.5]
  return x_VC + np.square(x_VC) * [0, 1, 0, 0.3]


# Histograms.


def test_histograms_are_numpys_and_have_every_value(x_VC, assert_close):
  found = activation_histogram.measure(views.of_tap(x_VC), bins=7)
  counts, edges = np.asarray(found['tap/counts']), found['tap/edges']
  assert_close(edges, np.linspace(x_VC.min(), x_VC.max(), 8), 1e-12)
  for c in range(4):
    expected, _ = np.histogram(x_VC[:, c], np.asarray(edges))
    assert [*counts[c]] == [*expected]
  assert [*counts.sum(1)] == [V] * 4


def test_a_value_on_an_edge_is_in_the_bin_above_it_and_the_last_in_the_last():
  x_VC = np.array([[0.0], [1.0], [1.0], [2.0], [4.0]])
  found = activation_histogram.measure(views.of_tap(x_VC), bins=4)
  assert [*found['tap/edges']] == [0, 1, 2, 3, 4]
  assert [*found['tap/counts'][0]] == [1, 2, 1, 1]


def test_a_histogram_of_one_value_reaches_half_a_unit_to_either_side():
  view = views.of_tap(np.full((5, 2), 3.0))
  found = activation_histogram.measure(view, bins=2)
  assert [*found['tap/edges']] == [2.5, 3.0, 3.5]
  assert np.asarray(found['tap/counts']).tolist() == [[0, 5], [0, 5]]


# Distribution shift.


def records(*arrays):
  """Returns what the probe finds in records of these taps, one by one."""
  found, previous = [], collections.defaultdict(lambda: jnp.nan)
  for x_VC in arrays:
    view = views.of_tap(x_VC)
    previous = distribution_shift.measure(view, previous=previous)
    found.append(previous)
  return found


def kl(mean, std, mean_e, std_e):
  moved = np.square(mean - mean_e)
  return np.log(std_e / std) + (std**2 + moved) / (2 * std_e**2) - 0.5


def test_a_first_record_has_no_distance(x_VC):
  (first,) = records(x_VC)
  assert all(np.isnan(first[name]) for name in distribution_shift.SCALARS)
  assert np.isnan(first['tap/units/wasserstein']).all()
  assert np.isfinite(first['tap/quantiles']).all()


def test_what_stands_still_has_not_shifted(x_VC):
  _, found = records(x_VC, x_VC)
  assert [float(found[name]) for name in distribution_shift.SCALARS] == [0] * 3


def test_distances_of_a_shift_are_its_size(x_VC, assert_close):
  moved_C, std_C = np.array([1.0, -2.0, 0.5, 0.25]), x_VC.std(0)
  _, found = records(x_VC, x_VC + moved_C)
  assert_close(found['tap/units/wasserstein'], np.abs(moved_C), 1e-12)
  symmetric_C = np.square(moved_C / std_C)
  assert_close(found['tap/units/symmetric_kl'], symmetric_C, 1e-9)
  expected = {
    'wasserstein': np.abs(moved_C).mean(),
    'relative': np.abs(moved_C / std_C).mean(),
    'symmetric_kl': symmetric_C.mean(),
  }
  for name, value in expected.items():
    assert_close(found[name], value, 1e-9)
    assert_close(found[f'tap/{name}'], value, 1e-9)


@pytest.mark.parametrize('factor', [2.0, 0.5, 1.001])
def test_distances_of_a_scaling_are_those_by_hand(x_VC, factor, assert_close):
  _, found = records(x_VC, factor * x_VC)
  quantiles_QC = np.quantile(x_VC, distribution_shift.LEVELS, axis=0)
  wasserstein_C = abs(factor - 1) * np.abs(quantiles_QC).mean(0)
  assert_close(found['tap/units/wasserstein'], wasserstein_C, 1e-9)
  relative = (wasserstein_C / x_VC.std(0)).mean()
  assert_close(found['relative'], relative, 1e-9)
  one = x_VC.mean(0), x_VC.std(0)
  other = factor * one[0], factor * one[1]
  symmetric_C = kl(*one, *other) + kl(*other, *one)
  assert_close(found['tap/units/symmetric_kl'], symmetric_C, 1e-7)


def test_the_wasserstein_distance_is_scipys_up_to_the_tails(x_VC):
  moved_VC = np.random.RandomState(1).gamma(2.0, size=(V, 4))
  _, found = records(x_VC, moved_VC)
  expected_C = [
    scipy.stats.wasserstein_distance(x_VC[:, c], moved_VC[:, c])
    for c in range(4)
  ]
  np.testing.assert_allclose(
    found['tap/units/wasserstein'], expected_C, rtol=0.05
  )


def test_units_that_were_constant_have_a_distance_but_no_divergence(x_VC):
  before_VC = x_VC.copy()
  before_VC[:, 0] = 0.1
  moved_VC = x_VC + 1.0
  moved_VC[:, 1] = 0.3
  _, found = records(before_VC, moved_VC)
  assert np.isfinite(found['tap/units/wasserstein']).all()
  symmetric_C = found['tap/units/symmetric_kl']
  assert [*np.isnan(symmetric_C)] == [True, True, False, False]
  mean = np.asarray(symmetric_C)[2:].mean()
  assert float(found['symmetric_kl']) == pytest.approx(mean)


# Dead units, slopes.


def test_dead_and_rarely_active_units_of_relu_are_counted():
  x_VC = np.full((V, 4), -1.0)
  x_VC[0, 1] = 2.0  # 0.5% of the values
  x_VC[:2, 2] = 2.0  # 1%
  x_VC[::2, 3] = 2.0
  view = views.of_tap(x_VC, 'relu')
  found = dead_units.measure(view, active_slope=0.01)
  assert float(found['tap/dead']) == 1 / 4
  assert float(found['tap/rare']) == 2 / 4
  sparsity = pytest.approx(1 - (1 + 2 + V / 2) / (4 * V))
  assert float(found['tap/sparsity']) == sparsity
  assert {float(found[k] - found[f'tap/{k}']) for k in dead_units.SCALARS} == {
    0
  }


@pytest.mark.parametrize('limit', [0.01, 0.2])
def test_a_sigmoid_is_active_where_it_is_steep(x_VC, limit):
  sigmoid_VC = 1 / (1 + np.exp(-x_VC))
  active_VC = sigmoid_VC * (1 - sigmoid_VC) > limit
  assert 0 < active_VC.mean() < 1
  view = views.of_tap(x_VC, 'sigmoid')
  found = dead_units.measure(view, active_slope=limit)
  assert float(found['sparsity']) == pytest.approx(1 - active_VC.mean())
  assert float(found['dead']) == (~active_VC.any(0)).mean()


def test_the_mean_slope_is_that_of_the_nonlinearity(x_VC, assert_close):
  view = views.of_tap(x_VC, 'tanh')
  found = saturation.measure(view, saturation_threshold=1.0)
  slope = (1 - np.square(np.tanh(x_VC))).mean()
  fraction = (np.abs(x_VC) > 1).mean()
  expected = {'tap': fraction, 'tap/slope': slope}
  expected |= {'fraction': fraction, 'slope': slope}
  assert_close(found, expected, 1e-7)


@pytest.mark.parametrize('activation', ['', 'prelu', 'maxout'])
def test_without_a_function_of_single_numbers_there_is_no_slope(
  x_VC, activation
):
  view = views.of_tap(x_VC, activation)
  assert dead_units.measure(view, active_slope=0.01) == {}
  found = saturation.measure(view, saturation_threshold=1.0)
  assert found.keys() == {'tap', 'fraction'}
