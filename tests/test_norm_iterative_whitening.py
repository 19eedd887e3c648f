"""Iterative whitening against the eigendecomposition it avoids."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.norms import batch as batch_norm
from bnresearch.norms import iterative_whitening

C = 6
SHAPES = [(24, C), (8, 4, 3, C)]


def batch(shape, seed=0):
  """Returns correlated data, each channel with its own mean and deviation."""
  random = np.random.RandomState(seed)
  mix = np.eye(C) + random.normal(0, 0.4, (C, C))
  x = random.normal(size=shape) @ mix * random.uniform(0.5, 3, C)
  return jnp.asarray(x + random.normal(2, 3, C), jnp.float32)


def whitened(x, **options):
  norm = iterative_whitening.Norm(**options)
  return norm.init_with_output(jax.random.key(0), x, train=True)


@pytest.mark.parametrize('shape', SHAPES)
def test_the_whitened_covariance_is_the_identity(shape):
  y, _ = whitened(batch(shape), whitening_iterations=15)
  y = np.asarray(y, np.float64).reshape(-1, C)
  np.testing.assert_allclose(y.mean(0), 0, atol=1e-5)
  np.testing.assert_allclose(y.T @ y / len(y), np.eye(C), atol=1e-2)


def zca(x, epsilon):
  centred = np.asarray(x, np.float64).reshape(-1, x.shape[-1])
  centred = centred - centred.mean(0)
  sigma = centred.T @ centred / len(centred)
  values, vectors = np.linalg.eigh(sigma + epsilon * np.eye(len(sigma)))
  return (centred @ vectors / np.sqrt(values) @ vectors.T).reshape(x.shape)


@pytest.mark.parametrize('shape', SHAPES)
def test_many_iterations_are_zca_by_eigendecomposition(shape, assert_close):
  with jax.enable_x64(True):
    x = jnp.asarray(np.asarray(batch(shape), np.float64))
    y, _ = whitened(x, whitening_iterations=30)
    assert y.dtype == jnp.float64
  assert_close(y, zca(x, 1e-5), rtol=1e-9)


def test_rounding_errors_do_not_grow_with_the_iterations(assert_close):
  # The paper's form of the iterations is NaN here, from the 15th on.
  x = batch((256, C)) * jnp.logspace(-2, 0, C)[None]
  y, _ = whitened(x, whitening_iterations=60)
  assert_close(y, zca(x, 1e-5), rtol=1e-2)


def test_blocks_divide_the_channels_and_are_whitened_apart(assert_close):
  x = batch((24, C))
  y, v = whitened(x, whitened_channels=4)
  assert v['batch_stats']['covariance'].shape == (2, 3, 3)
  apart = [whitened(x[:, s])[0] for s in (slice(3), slice(3, 6))]
  assert_close(y, jnp.concatenate(apart, 1), rtol=1e-5)


def test_blocks_of_one_channel_are_batch_normalization(assert_close):
  x = batch((24, C))
  y, _ = whitened(x, whitened_channels=1)
  y_bn, _ = batch_norm.Norm().init_with_output(jax.random.key(0), x, train=True)
  assert_close(y, y_bn, rtol=1e-5)
