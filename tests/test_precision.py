"""Formats of few bits against NumPy's."""

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from bnresearch.ops import precision

X = np.concatenate(
  [
    np.random.RandomState(0).normal(0, 3, 500),
    [0, 6, 7.97, 8, 9, 1e-9, 65504, 7e4, -7e4],
  ]
).astype(np.float32)


@pytest.mark.parametrize(
  ('dtype', 'theirs'),
  [('float16', np.float16), ('bfloat16', ml_dtypes.bfloat16)],
)
def test_floats_are_rounded_as_by_numpy_even_if_compiled(dtype, theirs):
  found = jax.jit(lambda x: precision.floating(x, dtype))(X)
  with np.errstate(over='ignore'):
    expected = X.astype(theirs).astype(np.float32)
  normal = np.abs(X) > 1e-4  # below, float16 has fewer digits
  np.testing.assert_array_equal(np.asarray(found)[normal], expected[normal])


def test_fixed_point_has_even_steps_up_to_its_bound():
  even = np.append(X, np.arange(0, 8, 0.05, np.float32))
  np.testing.assert_array_equal(
    np.unique(precision.fixed_point(even, 3, 2)), np.arange(32) / 4
  )
  found = np.asarray(precision.fixed_point(X, 3, 2))
  inside = (X > 0) & (X < 7.75)
  assert np.abs(found - X)[inside].max() <= 1 / 8
  assert (found[X >= 7.75] == 7.75).all()
  assert (found[X <= 0] == 0).all()
  assert precision.fixed_point(jnp.float32(6), 3, 5) == 6


def test_even_levels_reach_from_zero_to_the_largest():
  small = X[X < 9.5]
  found = np.asarray(precision.up_to_largest(small, 3))
  np.testing.assert_allclose(np.unique(found), 9 * np.arange(8) / 7, rtol=1e-6)
  inside = small >= 0
  assert np.abs(found - small)[inside].max() <= 9 / 14 * (1 + 1e-6)
  np.testing.assert_array_equal(precision.up_to_largest(-(X[:1] ** 2), 8), [0])


def test_another_float_is_refused():
  with pytest.raises(
    ValueError, match=r"dtype = 'float8': needs one of float16, bfloat16"
  ):
    precision.floating(X, 'float8')
