"""Normalizers beside batch normalization where they meet another or a law."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import lookup
from bnresearch.norms import batch as batch_norm
from bnresearch.norms import (
  batch_renorm,
  evonorm_b0,
  lp,
  noisy_batch,
  switchable,
)

C = 6
SHAPES = [(24, C), (8, 4, 3, C)]
STATISTICS_ONLY = {'mutable': ['batch_stats']}
OF_BATCHES = [
  'batch_renorm',
  'evonorm_b0',
  'iterative_whitening',
  'lp',
  'noisy_batch',
  'switchable',
]


def batch(shape, seed=0):
  """Returns correlated data, each channel with its own mean and deviation."""
  random = np.random.RandomState(seed)
  mix = np.eye(C) + random.normal(0, 0.4, (C, C))
  x = random.normal(size=shape) @ mix * random.uniform(0.5, 3, C)
  return jnp.asarray(x + random.normal(2, 3, C), jnp.float32)


def variables(seed=1):
  """Returns those of batch normalization, not the initial ones."""
  random = np.random.RandomState(seed)
  values = {
    'params': {
      'scale': random.uniform(0.5, 2, C),
      'bias': random.normal(size=C),
    },
    'batch_stats': {
      'mean': random.normal(2, 3, C),
      'var': random.uniform(0.5, 9, C),
    },
  }
  return jax.tree.map(lambda value: jnp.asarray(value, jnp.float32), values)


def renormed(updates):
  v = variables()
  v['batch_stats']['updates'] = jnp.asarray(updates, jnp.int32)
  return v


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('name', OF_BATCHES)
def test_evaluation_by_one_batchs_statistics_is_training_on_it(
  name, shape, assert_close
):
  # So population statistics, which average those of batches, have a meaning.
  cls = lookup.find('norms', name).Norm
  unbiased = {} if name == 'lp' else {'running_variance': 'biased'}
  norm, x = cls(momentum=0.0, **unbiased), batch(shape)
  v = norm.init(jax.random.key(0), x, train=False)
  y, new = norm.apply(v, x, train=True, **STATISTICS_ONLY)
  assert_close(norm.apply({**v, **new}, x, train=False), y, rtol=1e-5)


@pytest.mark.parametrize(
  'cls', [batch_renorm.Norm, switchable.Norm, evonorm_b0.Norm, noisy_batch.Norm]
)
def test_pooled_groups_have_the_running_variance_of_the_batch(
  cls, assert_close
):
  x = batch((24, C)) + jnp.repeat(batch((4, C), seed=5), 6, axis=0)
  norm = cls(momentum=0.0, group_size=6, group_variance='pooled')
  v = norm.init(jax.random.key(0), x, train=False)
  _, new = norm.apply(v, x, train=True, **STATISTICS_ONLY)
  var = np.asarray(x, np.float64).var(0, ddof=1)
  assert_close(new['batch_stats']['var'], var, rtol=1e-5)


# Batch renormalization.


@pytest.mark.parametrize(
  ('options', 'updates'),
  [({'r_max': 1.0, 'd_max': 0.0}, 10**6), ({}, 0), ({}, 5000)],
)
@pytest.mark.parametrize('shape', SHAPES)
def test_renormalization_without_room_is_batch_normalization(
  shape, options, updates, assert_close
):
  x = batch(shape)
  y, new = batch_renorm.Norm(**options).apply(
    renormed(updates), x, train=True, **STATISTICS_ONLY
  )
  y_bn, new_bn = batch_norm.Norm().apply(
    variables(), x, train=True, **STATISTICS_ONLY
  )
  assert_close(y, y_bn, rtol=1e-6)
  assert new['batch_stats'].pop('updates') == updates + 1
  assert_close(new, new_bn, rtol=1e-6)


@pytest.mark.parametrize('shape', SHAPES)
def test_unclipped_renormalization_computes_what_evaluation_does(
  shape, assert_close
):
  x, norm = batch(shape), batch_renorm.Norm(r_max=1e3, d_max=1e3)
  y = norm.apply(renormed(10**6), x, train=True)
  y_bn = batch_norm.Norm().apply(variables(), x, train=False)
  assert_close(y, y_bn, rtol=1e-5)
  plain = batch_renorm.Norm().apply(renormed(0), x, train=True)
  assert jnp.abs(y - plain).max() > 0.1


@pytest.mark.parametrize(
  ('updates', 'r', 'd'),
  [
    (0, 1, 0),
    (5000, 1, 0),
    (15_000, 1 + 2 * 10 / 35, 2.5),
    (25_000, 1 + 2 * 20 / 35, 5),
    (40_000, 3, 5),
    (10**6, 3, 5),
  ],
)
def test_the_limits_grow_as_the_paper_says(updates, r, d):
  # Mean and deviation are far above the running 0 and 1, or the latter below.
  x = 100 + jnp.asarray([[10, 1e-2]]) * batch((24, C))[:, :2]
  norm = batch_renorm.Norm(epsilon=1e-12)
  v = norm.init(jax.random.key(0), x, train=False)
  v['batch_stats']['updates'] = jnp.asarray(updates, jnp.int32)
  y = norm.apply(v, x, train=True)
  np.testing.assert_allclose(y.mean(0), [d, d], rtol=1e-3, atol=1e-2)
  np.testing.assert_allclose(y.std(0), [r, 1 / r], rtol=1e-4)


def test_a_batch_normalized_network_continues_renormalized():
  x = batch((24, C))
  _, new = batch_renorm.Norm().apply(
    variables(), x, train=True, **STATISTICS_ONLY
  )
  assert new['batch_stats']['updates'] == 1


# lp.


@pytest.mark.parametrize('shape', SHAPES)
def test_the_l2_deviation_is_batch_normalization(shape, assert_close):
  x = batch(shape)
  v = {'params': variables()['params']}
  v['batch_stats'] = {'mean': jnp.zeros(C), 'deviation': jnp.ones(C)}
  y = lp.Norm(order='l2').apply(v, x, train=True)
  y_bn = batch_norm.Norm().apply(variables(), x, train=True)
  assert_close(y, y_bn, rtol=1e-6)


def test_l1_and_linf_make_their_deviation_one(assert_close):
  x = batch((8, 4, 3, C))
  l1, linf = (
    lp.Norm(order=order, epsilon=1e-12).init_with_output(
      jax.random.key(0), x, train=True
    )[0]
    for order in ('l1', 'linf')
  )
  assert_close(jnp.abs(l1).mean((0, 1, 2)), np.ones(C), rtol=1e-5)
  assert_close(jnp.abs(linf).max((0, 1, 2)), np.ones(C), rtol=1e-5)


def test_an_order_that_is_not_is_named():
  with pytest.raises(ValueError, match=r"order = 'l3': needs one of l1, l2"):
    lp.Norm(order='l3').init(jax.random.key(0), batch((24, C)), train=True)


# Batch normalization with noise.


SILENT = {'noise_shift': 0.0, 'noise_scale': 0.0, 'noise_jitter': 0.0}


@pytest.mark.parametrize(
  ('options', 'train', 'stream'),
  [(SILENT, True, True), ({}, True, False), ({}, False, True)],
)
def test_without_noise_it_is_batch_normalization(
  options, train, stream, assert_close
):
  x, rngs = batch((24, C)), {'dropout': jax.random.key(1)} if stream else {}
  norm = noisy_batch.Norm(**options)
  fresh = norm.init(jax.random.key(0), x, train=train)
  fresh_bn = batch_norm.Norm().init(jax.random.key(0), x, train=train)
  jax.tree.map(np.testing.assert_array_equal, fresh, fresh_bn)
  actual, expected = (
    n.apply(variables(), x, train=train, rngs=rngs, **STATISTICS_ONLY)
    for n in (norm, batch_norm.Norm())
  )
  assert_close(actual, expected, rtol=1e-6)


def test_the_noise_has_the_distributions_of_appendix_a():
  N, S, C = 512, 16, 1024
  norm = noisy_batch.Norm()
  v = norm.init(jax.random.key(0), jnp.zeros((2, C)), train=False)
  key = jax.random.key(3)
  # A batch of two rows of signs is normalized to itself: so y = s * sign + m.
  sign_N = 1 - 2 * (jnp.arange(N) % 2)
  x = jnp.broadcast_to(sign_N[:, None, None], (N, S, C)).astype(jnp.float32)
  y = norm.apply(v, x, train=True, rngs={'dropout': key})
  y = np.asarray(y, np.float64)
  plus, minus = y[0::2], y[1::2]
  # Over examples and positions, m has mean mu, and s has mean sigma.
  mu_C = (plus.mean((0, 1)) + minus.mean((0, 1))) / 2
  sigma_C = (plus.mean((0, 1)) - minus.mean((0, 1))) / 2
  for value_C, low, high in ((mu_C, -0.5, 0.5), (sigma_C, 1, 1.25)):
    width = high - low
    np.testing.assert_allclose(
      value_C.mean(), (low + high) / 2, atol=0.04 * width
    )
    np.testing.assert_allclose(value_C.std(), width / 12**0.5, rtol=0.1)
    assert low - 0.01 < value_C.min() < low + 0.01
    assert high - 0.01 < value_C.max() < high + 0.01
  # Var(s) + Var(m), a Gaussian and a uniform, in each channel; and every
  # activation is perturbed by itself.
  var_C = plus.var((0, 1))
  np.testing.assert_allclose(var_C, 0.1**2 + 0.2**2 / 12, rtol=0.15)
  within = plus.var(1).mean() / plus.var((0, 1)).mean()
  np.testing.assert_allclose(within, 1 - 1 / S, rtol=0.01)
  other = norm.apply(v, x, train=True, rngs={'dropout': jax.random.key(4)})
  assert np.abs(other - y).max() > 0.1


# Switchable normalization.


def switched(k, shape):
  """Returns x and its mixture that is all of kind k, with a fresh affine."""
  x, norm = batch(shape), switchable.Norm()
  v = norm.init(jax.random.key(0), x, train=False)
  weights = jnp.zeros(3).at[k].set(100)
  v['params'] |= {'mean_weights': weights, 'var_weights': weights}
  return x, norm.apply(v, x, train=True)


@pytest.mark.parametrize(
  ('k', 'theirs'),
  [
    (0, nn.InstanceNorm(epsilon=1e-5, use_fast_variance=False)),
    (
      1,
      nn.LayerNorm(
        epsilon=1e-5, reduction_axes=(1, 2, 3), use_fast_variance=False
      ),
    ),
  ],
)
def test_switched_to_instance_or_layer_it_is_that_of_flax(
  k, theirs, assert_close
):
  x, y = switched(k, SHAPES[1])
  y_theirs, _ = theirs.init_with_output(jax.random.key(0), x)
  assert_close(y, y_theirs, rtol=1e-5)


@pytest.mark.parametrize('shape', SHAPES)
def test_switched_to_the_batch_it_is_batch_normalization(shape, assert_close):
  x, y = switched(2, shape)
  norm = batch_norm.Norm()
  y_bn, _ = norm.init_with_output(jax.random.key(0), x, train=True)
  assert_close(y, y_bn, rtol=1e-5)


def test_one_position_has_no_instance_statistics_as_none_has(assert_close):
  _, y = switched(0, (24, C))
  assert jnp.abs(y).max() > 0.5
  _, among_positions = switched(0, (24, 1, 1, C))
  assert_close(among_positions.reshape(24, C), y, rtol=1e-6)
