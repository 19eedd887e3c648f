"""Probes of gradients against closed forms and finite differences, float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.probes import Batch, gradient_norm, gradient_shift
from tests import views


@pytest.fixture(autouse=True)
def in_float64():
  with jax.enable_x64(True):
    yield


def linear(depth, gain, width=3):
  """Returns the view of `depth` multiples of the identity; loss = sum(y)."""
  params = {
    f'layer_{k}': {'kernel': gain * jnp.eye(width)} for k in range(depth)
  }
  x_NC = jnp.asarray(np.random.RandomState(0).normal(size=(5, width)))

  def loss(params, batch):
    y = batch.images_NHWC
    for layer in params.values():
      y = y @ layer['kernel']
    return y.sum()

  return views.by_hand(params, loss, train=Batch(x_NC, jnp.zeros(5, int)))


@pytest.mark.parametrize('gain', [0.5, 1.0, 3.0])
def test_gradients_of_a_linear_network_are_those_by_hand(gain, assert_close):
  # d loss / d W_k = gain^(depth - 1) x^T 1 for every layer.
  view = linear(depth=4, gain=gain)
  x_NC = np.asarray(view.train.images_NHWC)
  norm = gain**3 * np.linalg.norm(x_NC.T @ np.ones((5, 3)))
  found = gradient_norm.measure(view)
  assert_close(found['norm'], 2 * norm, 1e-12)
  assert_close(found['growth'], 1.0, 1e-12)
  for k in range(4):
    assert_close(found[f'layer_{k}/kernel'], norm, 1e-12)


def test_growth_is_the_lowest_layer_over_the_highest(assert_close):
  # loss = sum(3 a) + sum(2 b), so the gradients are 3 and 2 everywhere.
  params = {
    'low': {'kernel': jnp.zeros((4, 1)), 'norm': {'scale': jnp.zeros(7)}},
    'high': {'kernel': jnp.zeros((1, 1)), 'bias': jnp.zeros(3)},
  }

  def loss(params, batch):
    low, high = params['low'], params['high']
    sums = 3 * low['kernel'].sum(), 2 * high['kernel'].sum()
    return sum(sums) + 2 * high['bias'].sum() + 9 * low['norm']['scale'].sum()

  found = gradient_norm.measure(views.by_hand(params, loss))
  assert_close(found['growth'], 6.0 / 4.0, 1e-12)


def two_layers(rate, a=2.0, b=-3.0):
  """Returns the view of loss = (a b - 1)^2 / 2, with SGD of a rate."""

  def loss(params, batch):
    product = params['low']['kernel'] * params['high']['kernel']
    return (product.sum() - 1) ** 2 / 2

  params = {
    'low': {'kernel': jnp.full((1, 1), a)},
    'high': {'kernel': jnp.full((1, 1), b)},
  }
  update = lambda gradient, *_: jax.tree.map(lambda g: -rate * g, gradient)
  return views.by_hand(params, loss, update=update)


@pytest.mark.parametrize('rate', [0.1, 0.01])
def test_the_shift_of_two_layers_is_that_by_hand(rate, assert_close):
  a, b = 2.0, -3.0
  moved = a - rate * (a * b - 1) * b
  before, after = (a * b - 1) * a, (moved * b - 1) * moved
  found = gradient_shift.measure(two_layers(rate, a, b))
  assert set(found) == {
    *('cosine', 'relative'),
    *(f'high/{name}' for name in ('norm', 'relative', 'cosine')),
  }
  assert_close(found['high/norm'], abs(after - before), 1e-12)
  assert_close(found['high/relative'], abs(after - before) / abs(before), 1e-12)
  assert_close(found['high/cosine'], np.sign(after * before), 1e-12)
  assert_close(found['relative'], found['high/relative'], 1e-12)


def test_there_is_no_shift_if_the_layers_below_stand_still():
  found = gradient_shift.measure(two_layers(rate=0.0))
  assert found['high/norm'] == found['relative'] == 0.0
  assert found['cosine'] == 1.0


def test_only_what_is_below_a_layer_moves(assert_close):
  # Each layer's gradient is the sum of what is below it, and itself.
  names = ['a', 'b', 'c']
  params = {
    name: {'kernel': jnp.ones((1, 1)), 'norm': {'scale': jnp.ones(1)}}
    for name in names
  }

  def loss(params, batch):
    total, below = 0.0, 0.0
    for name in names:
      own = params[name]['kernel'].sum()
      total += own * jax.lax.stop_gradient(below) + own
      below += own + 10 * params[name]['norm']['scale'].sum()
    return total

  update = lambda gradient, *_: jax.tree.map(jnp.ones_like, gradient)
  found = gradient_shift.measure(views.by_hand(params, loss, update=update))
  assert_close(found['b/norm'], 11.0, 1e-12)  # a's kernel and scale
  assert_close(found['c/norm'], 22.0, 1e-12)
