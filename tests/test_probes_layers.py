"""Probes of layers' channels and features against closed forms, in float64."""

import jax
import numpy as np
import pytest

from bnresearch.probes import (
  channel_correlation,
  class_separability,
  signal_propagation,
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


# Correlation and rank.


def apart(stds):
  """Returns uncorrelated channels of these deviations, (4, C), C <= 3."""
  signs = np.array([[1, 1, -1, -1], [1, -1, 1, -1], [1, -1, -1, 1]])
  return (signs[: len(stds)] * np.array(stds)[:, None]).T + 7.0


def ranks(x_VC, cap=256):
  view = views.of_tap(x_VC)
  return channel_correlation.measure(view, correlated_channels=cap)


def test_ranks_of_uncorrelated_channels_are_those_by_hand(assert_close):
  found = ranks(apart([3.0, 1.0]))
  entropy = -0.9 * np.log(0.9) - 0.1 * np.log(0.1)
  assert_close(found['effective_rank'], np.exp(entropy), 1e-12)
  assert_close(found['participation'], 100 / 82, 1e-12)
  assert abs(found['correlation']) < 1e-12


@pytest.mark.parametrize('C', [1, 2, 3])
def test_channels_that_vary_alike_and_apart_have_full_rank(C, assert_close):
  found = ranks(apart([2.0] * C))
  assert_close(found['effective_rank'], C, 1e-12)
  assert_close(found['participation'], C, 1e-12)
  assert np.isnan(found['correlation']) == (C == 1)


def test_multiples_of_one_channel_have_rank_1_and_correlation_1(assert_close):
  x_V1 = np.random.RandomState(0).normal(size=(V, 1))
  found = ranks(x_V1 * [1.0, -2.0, 1e-3] + [5.0, 0.0, 1.0])
  for name in channel_correlation.SCALARS:
    assert_close(found[name], 1.0, 1e-9)


def test_correlations_and_ranks_are_numpys(x_VC, assert_close):
  x_VC = x_VC @ np.random.RandomState(2).normal(size=(4, 4))
  found = ranks(x_VC)
  correlation = np.abs(np.corrcoef(x_VC.T))[~np.eye(4, dtype=bool)].mean()
  share_C = np.linalg.eigvalsh(np.cov(x_VC.T))
  share_C /= share_C.sum()
  assert_close(found['correlation'], correlation, 1e-9)
  rank = np.exp(-(share_C * np.log(share_C)).sum())
  assert_close(found['effective_rank'], rank, 1e-9)
  assert_close(found['participation'], 1 / np.square(share_C).sum(), 1e-9)
  assert found['participation'] <= found['effective_rank'] <= 4


def test_a_constant_channel_changes_neither_rank_nor_correlation(
  x_VC, assert_close
):
  constant_VC = np.tile([0.1, 1.0], (V, 1))
  more_VC = np.concatenate([x_VC, constant_VC], axis=1)
  assert_close(ranks(more_VC), ranks(x_VC), 1e-9)


def test_a_wide_layer_is_measured_on_channels_at_equal_distances(
  x_VC, assert_close
):
  assert_close(ranks(x_VC, cap=2), ranks(x_VC[:, [0, 2]]), 1e-12)


# Signal propagation.


def test_signal_propagation_is_that_of_the_paper(x_VC, assert_close):
  found = signal_propagation.measure(views.of_tap(x_VC))
  squared = np.square(x_VC.mean(0)).mean()
  variance = x_VC.var(0).mean()
  assert_close(found['tap/squared_mean'], squared, 1e-9)
  assert_close(found['tap/variance'], variance, 1e-9)
  assert_close(found['mean_share'], squared / (squared + variance), 1e-9)


def test_growth_is_the_variance_at_the_top_over_that_at_the_bottom(
  x_VC, assert_close
):
  gain = 3.0
  view = views.by_hand(
    {},
    taps=lambda params, x: {'b': x, 'a': gain * x, 'c': gain**2 * x},
    test=views.of_tap(x_VC).test,
    sites=['b', 'a', 'c'],
  )
  assert_close(signal_propagation.measure(view)['growth'], gain**4, 1e-9)


# Class separability.


def by_numpy(x_NC, labels_N):
  """Returns accuracy of the nearest class mean, and variability."""
  rank_N = np.array([(labels_N[:n] == k).sum() for n, k in enumerate(labels_N)])
  fits_N, seen = rank_N % 2 == 0, np.unique(labels_N)
  means = np.stack([x_NC[fits_N & (labels_N == k)].mean(0) for k in seen])
  distances = np.linalg.norm(x_NC[~fits_N, None] - means[None], axis=2)
  accuracy = (seen[distances.argmin(1)] == labels_N[~fits_N]).mean()
  own = np.stack([x_NC[labels_N == k].mean(0) for k in labels_N])
  within = np.square(x_NC - own).sum()
  return accuracy, within / np.square(own - x_NC.mean(0)).sum()


def test_class_separability_is_numpys(assert_close):
  random = np.random.RandomState(0)
  labels_N = random.randint(0, 5, 61)
  x_NC = random.normal(size=(61, 4)) + random.normal(size=(5, 4))[labels_N]
  view = views.of_tap(x_NC, labels=labels_N)
  found = class_separability.measure(view)
  accuracy, variability = by_numpy(x_NC, labels_N)
  assert 0.2 < accuracy < 1
  assert_close(found['accuracy'], accuracy, 1e-7)
  assert_close(found['variability'], variability, 1e-9)


def test_examples_of_each_class_make_means_and_are_told_in_turn():
  # Class 1 is at 9; 2 has one example, whose mean is nearest to another's.
  labels_N = np.array([0, 1, 0, 1, 2, 0, 0, 3])
  x_NC = np.array([-1.0, 9, -1, 9, 4, -3, 4, 50])[:, None]
  found = class_separability.measure(views.of_tap(x_NC, labels=labels_N))
  assert float(found['tap/accuracy']) == pytest.approx(2 / 3)


def test_a_class_without_examples_is_never_told():
  # Its mean would be that of all, 0, next to those that are told.
  labels_N, x_N = np.array([0, 0, 2, 2]), np.array([-1.0, -0.1, 1.0, 0.1])
  view = views.of_tap(x_N[:, None], labels=labels_N)
  assert float(class_separability.measure(view)['accuracy']) == 1.0


def test_collapsed_classes_vary_by_nothing():
  labels_N = np.arange(12) % 3
  found = class_separability.measure(
    views.of_tap(np.eye(3)[labels_N], labels=labels_N)
  )
  assert float(found['accuracy']) == 1.0
  assert float(found['variability']) < 1e-30


def test_features_of_a_map_are_its_mean_over_positions(assert_close):
  random = np.random.RandomState(0)
  x_NHWC, labels_N = random.normal(size=(20, 2, 3, 4)), random.randint(0, 3, 20)
  one, other = (
    class_separability.measure(views.of_tap(x, labels=labels_N))
    for x in (x_NHWC, x_NHWC.mean((1, 2)))
  )
  assert_close(one, other, 1e-9)


def test_a_common_offset_leaves_classes_apart_in_float32():
  labels_N = np.arange(40) % 2
  x_NC = (
    1e4 + labels_N[:, None] + np.random.RandomState(0).uniform(0, 0.1, (40, 3))
  )
  view = views.of_tap(x_NC.astype(np.float32), labels=labels_N)
  assert float(class_separability.measure(view)['accuracy']) == 1.0
