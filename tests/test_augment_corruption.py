"""Corruptions of test images against SciPy and NumPy."""

import jax
import numpy as np
import pytest
import scipy.ndimage

from bnresearch.augment import corruption

IMAGES = (
  np.random.RandomState(0).randint(0, 256, (3, 12, 10, 2)).astype(np.uint8)
)


def corrupted(kind, strength, images=IMAGES, seed=0):
  made = corruption.corrupt(
    jax.random.key(seed), images, kind=kind, strength=strength
  )
  assert made.dtype == np.uint8
  return np.asarray(made, np.float64)


def in_bytes(x):
  return np.clip(np.round(x), 0, 255)


def assert_same_bytes(actual, expected):
  """A value between two bytes may go either way."""
  np.testing.assert_allclose(actual, in_bytes(expected), atol=1)
  assert (actual != in_bytes(expected)).mean() < 0.01


@pytest.mark.parametrize('strength', [1, 5])
def test_noise_has_its_deviation_and_differs_between_images(strength):
  grey = np.full((2, 64, 64, 1), 128, np.uint8)
  noise = corrupted('noise', strength, grey) - 128
  spread = 255 * corruption.AMOUNTS['noise'][strength - 1]
  expected = np.random.RandomState(0).normal(0, spread, 100_000)
  expected = np.clip(expected, -128, 127).std()
  assert noise.std() == pytest.approx(expected, rel=0.03)
  assert abs(noise.mean()) < 0.05 * spread
  assert abs(np.corrcoef(noise[0].ravel(), noise[1].ravel())[0, 1]) < 0.06


@pytest.mark.parametrize('strength', [1, 3, 5])
def test_blur_is_scipys(strength):
  sigma = corruption.AMOUNTS['blur'][strength - 1]
  expected = scipy.ndimage.gaussian_filter(
    IMAGES.astype(np.float64), (0, sigma, sigma, 0), mode='nearest'
  )
  assert_same_bytes(corrupted('blur', strength), expected)


@pytest.mark.parametrize('strength', [1, 5])
def test_contrast_shrinks_each_channel_to_its_mean(strength):
  mean = IMAGES.mean((1, 2), keepdims=True)
  factor = corruption.AMOUNTS['contrast'][strength - 1]
  expected = mean + factor * (IMAGES - mean)
  assert_same_bytes(corrupted('contrast', strength), expected)


@pytest.mark.parametrize('strength', [1, 5])
def test_rotation_is_scipys(strength):
  degrees = corruption.AMOUNTS['rotation'][strength - 1]
  expected = scipy.ndimage.rotate(
    IMAGES.astype(np.float64), degrees, (1, 2), reshape=False, order=1
  )
  made = corrupted('rotation', strength)
  # They differ in how the border fades.
  assert_same_bytes(made[:, 3:-3, 3:-3], expected[:, 3:-3, 3:-3])


@pytest.mark.parametrize('kind', corruption.AMOUNTS)
def test_strengths_move_images_more_and_more(kind):
  smooth = scipy.ndimage.gaussian_filter(
    IMAGES.astype(np.float64), (0, 1, 1, 0)
  ).astype(np.uint8)
  moved = [
    np.abs(corrupted(kind, strength, smooth) - smooth).mean()
    for strength in corruption.STRENGTHS
  ]
  assert moved[0] > 0
  assert np.all(np.diff(moved) > 0)


def test_what_there_is_not_is_refused():
  key = jax.random.key(0)
  with pytest.raises(ValueError, match=r"kind = 'fog': needs one of noise, "):
    corruption.corrupt(key, IMAGES, kind='fog', strength=1)
  for strength in (0, 6):
    with pytest.raises(
      ValueError, match=rf'strength = {strength}: needs 1, the weakest, to 5'
    ):
      corruption.corrupt(key, IMAGES, kind='blur', strength=strength)
