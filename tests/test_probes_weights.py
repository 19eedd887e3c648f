"""Probes of parameters, updates and statistics, in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.evaluation import distances
from bnresearch.probes import Batch, affine, statistics_distance, update_ratio
from tests import views


@pytest.fixture(autouse=True)
def in_float64():
  with jax.enable_x64(True):
    yield


# Updates.


def moved(w, update, dtype=np.float64):
  """Returns the numbers of a layer with a hand-made update."""
  params = {'layer': {'kernel': jnp.asarray(w, dtype)}}
  loss = lambda params, batch: 2 * params['layer']['kernel'].sum()
  by_hand = lambda *_: {'layer': {'kernel': jnp.asarray(update, dtype)}}
  return update_ratio.measure(views.by_hand(params, loss, update=by_hand))


@pytest.mark.parametrize('length', [1.0, 0.1, 1e-7])
def test_an_update_across_the_weights_turns_them(length, assert_close):
  found = moved([[3.0, 4.0]], length * np.array([[-4.0, 3.0]]))
  expected = {
    'ratio': length,
    'angle': np.arctan(length),
    'rate': 5 * length / (2 * np.sqrt(2) * 25),
    'norm': 5.0,
  }
  for name, value in expected.items():
    assert_close(found[f'layer/{name}'], value, 1e-12)
  for name in update_ratio.SCALARS:
    assert_close(found[name], expected[name], 1e-12)


def test_an_update_along_the_weights_does_not_turn_them(assert_close):
  found = moved([[3.0, 4.0]], [[-0.3, -0.4]])
  assert found['angle'] < 1e-15
  assert_close(found['ratio'], 0.1, 1e-12)
  assert_close(moved([[3.0, 4.0]], [[-6.0, -8.0]])['angle'], np.pi, 1e-12)


def test_small_angles_and_small_updates_keep_their_digits_in_float32():
  found = moved([[3.0, 4.0]], [[-4e-6, 3e-6]], np.float32)
  assert float(found['angle']) == pytest.approx(1e-6, rel=1e-5)
  found = moved([[3.0, 4.0]], [[-4e-30, 3e-30]], np.float32)
  assert float(found['ratio']) / 1e-30 == pytest.approx(1, rel=1e-5)


def descending(scale, rate):
  """Returns numbers of SGD on a loss that scale-invariant weights have."""
  w = scale * np.array([[1.0, -2.0, 0.5]])
  aim = jnp.array([[0.3, 0.1, -1.0]])

  def loss(params, batch):
    w = params['layer']['kernel']
    return (w * aim).sum() / jnp.sqrt(jnp.square(w).sum())

  update = lambda gradient, *_: jax.tree.map(lambda g: -rate * g, gradient)
  params = {'layer': {'kernel': jnp.asarray(w)}}
  return update_ratio.measure(views.by_hand(params, loss, update=update))


def test_the_effective_rate_of_sgd_is_the_rate_over_the_squared_norm(
  assert_close,
):
  assert_close(descending(2.0, 0.3)['rate'], 0.3 / (4 * 5.25), 1e-12)


def test_scale_invariant_weights_turn_alike_at_the_same_effective_rate(
  assert_close,
):
  one, other = descending(1.0, 0.1), descending(3.0, 0.9)
  for name in ('angle', 'ratio', 'rate'):
    assert_close(other[name], one[name], 1e-9)
  assert descending(3.0, 0.1)['angle'] < one['angle'] / 8


# Scale and bias.


def test_scale_and_bias_of_normalizers_are_summed_up(assert_close):
  scale, bias = np.array([1.0, -0.004, 0.5]), np.array([0.0, 0.002, -3.0])
  params = {
    'one': {
      'kernel': jnp.ones((2, 3)),
      'bias': jnp.full(3, 9.0),
      'norm': {'scale': jnp.asarray(scale), 'bias': jnp.asarray(bias)},
    },
    'two': {'norm': {'scale': jnp.full((2, 2), 2.0)}},
  }
  found = affine.measure(views.by_hand(params), near_zero=0.005)
  for kind, x in (('scale', scale), ('bias', bias)):
    expected = x.mean(), x.std(), x.min(), (np.abs(x) < 0.005).mean()
    names = ('mean', 'std', 'smallest', 'near_zero')
    for name, value in zip(names, expected):
      assert_close(found[f'one/norm/{kind}/{name}'], value, 1e-7)
  assert_close(found['scale/mean'], (scale.mean() + 2.0) / 2, 1e-12)
  assert_close(found['bias/std'], bias.std(), 1e-12)
  assert not any('one/bias' in name for name in found)
  assert float(found['two/norm/scale/std']) == 0.0


# Statistics.


EPSILON = 1e-3


def normalized(train, test, mean, var):
  """Returns the view of a network of one batch norm, of its input."""
  of_batch = lambda params, collections, x: statistics(x.mean(0), x.var(0))
  batches = (
    Batch(jnp.asarray(x), jnp.zeros(len(x), int)) for x in (train, test)
  )
  return views.by_hand(
    {},
    **dict(zip(('train', 'test'), batches)),
    collections=statistics(jnp.asarray(mean), jnp.asarray(var)),
    of_batch=of_batch,
    epsilon=EPSILON,
  )


def statistics(mean, var):
  return {'batch_stats': {'layer': {'norm': {'mean': mean, 'var': var}}}}


def by_numpy(reference, other):
  """Returns shift, spread and symmetric divergence of two (mean, var)."""
  (mean, var), (mean_e, var_e) = reference, other
  var, var_e, moved = var + EPSILON, var_e + EPSILON, np.square(mean - mean_e)
  both = (var + moved) / var_e + (var_e + moved) / var
  return {
    'shift': np.sqrt((moved / var).mean()),
    'spread': np.sqrt(np.square(np.log(var_e / var) / 2).mean()),
    'symmetric_kl': (both / 2 - 1).mean(),
  }


@pytest.mark.parametrize(('N', 'used'), [(8, 8), (11, 8), (3, 4)])
def test_distances_of_statistics_are_those_by_hand(N, used, assert_close):
  random = np.random.RandomState(0)
  train, test = random.normal(1, 2, (4, 3)), random.normal(0, 3, (N, 3))
  running = random.normal(size=3), random.gamma(2.0, size=3)
  found = statistics_distance.measure(normalized(train, test, *running))
  whole = test[np.arange(used) % N]
  of = {
    'running': running,
    'batch': (train.mean(0), train.var(0)),
    'population': (whole.mean(0), whole.var(0)),
  }
  for reference, other in statistics_distance.PAIRS:
    expected = by_numpy(of[reference], of[other])
    for name, value in expected.items():
      end = f'{other}_to_{reference}/{name}'
      assert_close(found[f'layer/norm/{end}'], value, 1e-9)
    end = f'{other}_to_{reference}/symmetric_kl'
    assert_close(found[end], expected['symmetric_kl'], 1e-9)
  assert len(found) == 9 + len(statistics_distance.SCALARS)


def test_shift_and_spread_are_those_of_an_evaluation(assert_close):
  random = np.random.RandomState(0)
  train, test = random.normal(size=(4, 3)), random.normal(size=(8, 3))
  running = random.normal(size=3), random.gamma(2.0, size=3)
  found = statistics_distance.measure(normalized(train, test, *running))
  pair = statistics(test.mean(0), test.var(0)), statistics(*running)
  distance = distances.distances(*pair, EPSILON)['layer/norm']
  assert_close(
    found['layer/norm/running_to_population/shift'], distance.shift, 1e-9
  )
  assert_close(
    found['layer/norm/running_to_population/spread'], distance.spread, 1e-9
  )


def test_statistics_that_are_the_same_have_no_distance():
  x = np.random.RandomState(0).normal(size=(4, 3))
  view = normalized(x, x, x.mean(0), x.var(0))
  found = statistics_distance.measure(view)
  assert max(abs(float(value)) for value in found.values()) < 1e-12


def test_a_network_without_running_statistics_has_no_distance():
  assert statistics_distance.measure(views.by_hand({})) == {}
