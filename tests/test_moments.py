"""Means, variances and running averages, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.statistics import moments
from bnresearch.statistics.groups import grouped


@pytest.mark.parametrize(
  ('shape', 'axes'),
  [
    ((60, 7), (0,)),
    ((60, 7), range(1)),
    ((8, 5, 4, 3), (0, 1, 2)),
    ((8, 5, 4, 3), (1, 2)),
    ((8, 5, 4, 3), (0, 3)),
    ((1, 3), (0,)),
  ],
)
@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'float16'])
def test_moments_are_those_of_float64(shape, axes, dtype, assert_close):
  x = jnp.asarray(np.random.RandomState(0).normal(2, 3, shape), dtype)
  mean, var = moments.moments(x, axes)
  assert mean.dtype == var.dtype == jnp.float32
  exact = np.asarray(x, np.float64)
  assert_close(mean, exact.mean(tuple(axes)), rtol=1e-6)
  assert_close(var, exact.var(tuple(axes)), rtol=1e-6)


def test_float64_stays_float64():
  with jax.enable_x64(True):
    x = jnp.asarray(np.random.RandomState(0).normal(2, 3, (60, 7)))
    mean, var = moments.moments(x, (0,))
    assert mean.dtype == var.dtype == jnp.float64
    np.testing.assert_allclose(var, np.var(x, 0), rtol=1e-14)


@pytest.mark.parametrize('compiled', [False, True])
def test_a_mean_far_from_zero_does_not_cost_the_variance(compiled):
  # The one-pass form, E[x^2] - E[x]^2, gives 0 or less than nothing here.
  x = np.random.RandomState(0).normal(1e4, 1, (256, 5))
  x = jnp.asarray(x, jnp.float32)
  function = lambda x: moments.moments(x, (0,))
  _, var = (jax.jit(function) if compiled else function)(x)
  np.testing.assert_allclose(var, np.asarray(x, np.float64).var(0), rtol=0.01)
  one_pass = jnp.square(x).mean(0) - jnp.square(x.mean(0))
  assert np.abs(one_pass - 1).max() > 0.1, 'the data tests nothing'


def test_a_constant_has_no_variance():
  mean, var = moments.moments(jnp.full((10, 2), 0.1), (0,))
  np.testing.assert_allclose(mean, 0.1, rtol=1e-6)
  np.testing.assert_array_less(var, 1e-14)


def test_one_pass_is_the_ablation_that_loses_the_variance(assert_close):
  x = jnp.asarray(np.random.RandomState(0).normal(0, 1, (256, 5)), jnp.float32)
  _, var = moments.moments(x, (0,), variance='one_pass')
  assert_close(var, np.asarray(x, np.float64).var(0), rtol=1e-5)
  _, var = moments.moments(x + 1e4, (0,), variance='one_pass')
  assert np.abs(var - 1).max() > 0.1
  assert var.min() >= 0
  with pytest.raises(ValueError, match="'welford': needs one of two_pass, one"):
    moments.moments(x, (0,), variance='welford')


@pytest.mark.parametrize('masked', [False, True])
def test_the_variance_per_image_lacks_that_of_the_images_means(masked):
  random = np.random.RandomState(0)
  x = random.normal(size=(8, 5, 3)) + random.normal(0, 2, (8, 1, 3))
  counted = np.arange(8) % 3 != 1 if masked else np.ones(8, bool)
  where = counted.reshape(8, 1, 1) if masked else None
  with jax.enable_x64(True):
    found = moments.moments(jnp.asarray(x), (0, 1), where, 'per_image')
  mean, var = map(np.asarray, found)
  x = x[counted]
  np.testing.assert_allclose(mean, x.mean((0, 1)), rtol=1e-13)
  np.testing.assert_allclose(var, x.var(1).mean(0), rtol=1e-13)
  # The law of total variance.
  between = x.mean(1).var(0)
  np.testing.assert_allclose(var + between, x.var((0, 1)), rtol=1e-13)
  assert between.min() > 0.5, 'no difference'


def test_the_variance_per_image_needs_several_values_an_image():
  message = r'per_image.* input of shape \(6, 1, 3\) has one value .*two_pass'
  with pytest.raises(ValueError, match=message):
    moments.moments(jnp.ones((6, 1, 3)), (0, 1), variance='per_image')
  with pytest.raises(ValueError, match=r'shape \(6, 3\) has one value'):
    moments.moments(jnp.ones((6, 3)), (0,), variance='per_image')


def test_what_does_not_count_is_not_there(assert_close):
  x = np.random.RandomState(0).normal(2, 3, (8, 5, 3))
  where = np.arange(8) % 3 != 1
  mean, var = moments.moments(
    jnp.asarray(x, jnp.float32), (0, 1), where.reshape(8, 1, 1)
  )
  assert_close(mean, x[where].mean((0, 1)), rtol=1e-6)
  assert_close(var, x[where].var((0, 1)), rtol=1e-6)
  spoilt = jnp.asarray(np.where(where.reshape(8, 1, 1), x, np.nan), jnp.float32)
  gradient = jax.grad(
    lambda x: sum(
      jnp.square(m).sum()
      for m in moments.moments(x, (0, 1), where.reshape(8, 1, 1))
    )
  )
  assert jnp.isfinite(gradient(spoilt)).all()
  np.testing.assert_array_equal(gradient(spoilt)[~where], 0)
  nothing = moments.moments(jnp.asarray(x), (0, 1), np.zeros((8, 1, 1), bool))
  np.testing.assert_array_equal(nothing, np.zeros((2, 3)))


# Groups.


def test_groups_are_consecutive_examples():
  x = np.arange(2 * 6 * 2 * 2 * 3.0).reshape(12, 2, 2, 3)
  groups = grouped(x, None, 4)
  assert groups.x_PMSC.shape == (3, 4, 4, 3)
  np.testing.assert_array_equal(groups.x_PMSC[1, 0, 3], x[4, 1, 1])
  np.testing.assert_array_equal(groups.count_G, [16, 16, 16])
  per_activation = grouped(x, None, 0, per_activation=True)
  assert per_activation.x_PMSC.shape == (1, 12, 1, 12)
  mean_GC, var_GC = per_activation.moments()
  np.testing.assert_allclose(mean_GC[0].reshape(2, 2, 3), x.mean(0))
  np.testing.assert_allclose(var_GC[0].reshape(2, 2, 3), x.var(0), rtol=1e-6)


def test_a_group_without_examples_has_mean_zero_and_variance_one():
  x = np.random.RandomState(0).normal(2, 3, (6, 5, 3)).astype(np.float32)
  mask_N = np.array([True, False, True, False, False, False])
  groups = grouped(x, mask_N, 3)
  np.testing.assert_array_equal(groups.count_G, [10, 0])
  mean_GC, var_GC = groups.moments()
  np.testing.assert_allclose(mean_GC[0], x[mask_N].mean((0, 1)), rtol=1e-5)
  np.testing.assert_array_equal(mean_GC[1], 0)
  np.testing.assert_array_equal(var_GC[1], 1)


@pytest.mark.parametrize(
  ('x', 'mask', 'message'),
  [
    (np.zeros((60, 3)), None, 'group_size = 7 does not divide .* 60 examples'),
    (np.zeros((70, 3)), np.ones(60, bool), r'shape \(60,\): needs \(70,\)'),
    (np.zeros((70, 3)), np.ones((70, 1), bool), r'shape \(70, 1\): needs'),
    (np.zeros((70, 3), int), None, 'x is int64: needs floating'),
  ],
)
def test_what_makes_no_groups_is_refused(x, mask, message):
  with pytest.raises(ValueError, match=message):
    grouped(x, mask, 7)


COUNTS = [[5, 5, 5], [2, 9, 4], [1, 0, 7], [1, 1, 1]]


@pytest.mark.parametrize('counts', COUNTS, ids=str)
@pytest.mark.parametrize('unbiased', [False, True])
def test_merged_groups_are_the_whole(counts, unbiased, assert_close):
  """The law of total variance, with counts; the mean of variances is less."""
  random = np.random.RandomState(0)
  parts = [random.normal(random.normal(0, 3), 1, (m, 4)) for m in counts]
  mean_GC = np.stack([p.mean(0) if len(p) else np.zeros(4) for p in parts])
  var_GC = np.stack([p.var(0) if len(p) else np.ones(4) for p in parts])
  mean, var, enough = moments.combine(
    jnp.asarray(mean_GC),
    jnp.asarray(var_GC),
    jnp.asarray(counts),
    pooled=True,
    unbiased=unbiased,
  )
  whole = np.concatenate(parts)
  assert enough
  assert_close(mean, whole.mean(0), rtol=1e-6)
  assert_close(var, whole.var(0, ddof=unbiased), rtol=1e-6)
  assert np.all(var_GC.mean(0) < 0.95 * np.asarray(var)), 'no difference'


def test_the_variance_within_groups_is_algorithm_2s(assert_close):
  x = np.random.RandomState(0).normal(2, 3, (3, 20, 4))
  mean_GC, var_GC = x.mean(1), x.var(1)
  for unbiased in (False, True):
    mean, var, _ = moments.combine(
      *map(jnp.asarray, (mean_GC, var_GC, [20, 20, 20])),
      pooled=False,
      unbiased=unbiased,
    )
    assert_close(mean, x.mean((0, 1)), rtol=1e-6)
    bessel = 20 / 19 if unbiased else 1
    assert_close(var, bessel * var_GC.mean(0), rtol=1e-6)


@pytest.mark.parametrize(
  ('counts', 'pooled', 'unbiased', 'enough'),
  [
    ([0, 0], False, False, False),
    ([0, 0], True, True, False),
    ([1, 1], False, True, False),
    ([1, 1], False, False, True),
    ([1, 1], True, True, True),
    ([1, 0], True, True, False),
    ([1, 2], False, True, True),
  ],
)
def test_too_few_values_are_noticed(counts, pooled, unbiased, enough):
  ones = jnp.ones((2, 3))
  *found, said = moments.combine(
    ones, ones, jnp.asarray(counts), pooled=pooled, unbiased=unbiased
  )
  assert bool(said) == enough
  assert np.isfinite(found).all()


def test_momentum_is_the_weight_of_the_old_value():
  assert moments.running(10.0, 20.0, 0.9) == pytest.approx(11)
  assert moments.running(10.0, 20.0, 0.0) == 20
