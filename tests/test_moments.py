"""Means, variances and running averages, against NumPy in float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import moments


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


def test_the_unbiased_variance_is_bessels():
  x = np.random.RandomState(0).normal(2, 3, (60, 7))
  np.testing.assert_allclose(
    moments.unbiased(np.var(x, 0), 60), np.var(x, 0, ddof=1), rtol=1e-12
  )


@pytest.mark.parametrize('count', [0, 1])
def test_one_value_has_no_unbiased_variance(count):
  message = rf'^count = {count}: .*at least 2 values.*batch.*running_variance'
  with pytest.raises(ValueError, match=message):
    moments.unbiased(jnp.zeros(3), count)


def test_momentum_is_the_weight_of_the_old_value():
  assert moments.running(10.0, 20.0, 0.9) == pytest.approx(11)
  assert moments.running(10.0, 20.0, 0.0) == 20
