"""Colours change as in HSV and by slim, as much and as often as they say."""

import colorsys
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image, ImageEnhance

from bnresearch.augment import colour

REACH = {'brightness': 0.125, 'contrast': 0.5, 'saturation': 0.5, 'hue': 0.2}


def split(image):
  return [image[..., c] for c in range(image.shape[-1])]


def changed(function, image, amount):
  """Returns the image changed by a function of planes."""
  return np.asarray(jnp.stack(function(split(jnp.asarray(image)), amount), -1))


def colours(count=200):
  """Returns an image of random colours, the first ones grey, black, white."""
  image = np.random.RandomState(0).uniform(size=(count, 1, 3))
  image[:4, 0] = [[0.4] * 3, [0] * 3, [1] * 3, [0.5, 0.5, 0.2]]
  return image.astype(np.float32)


def by_colorsys(image, change):
  pixels = [
    colorsys.hsv_to_rgb(*change(*colorsys.rgb_to_hsv(*map(float, pixel))))
    for pixel in image.reshape(-1, 3)
  ]
  return np.array(pixels).reshape(image.shape)


@pytest.mark.parametrize('factor', [0.0, 0.5, 1.0, 1.7, 50.0])
def test_saturation_is_that_of_hsv(factor, assert_close):
  change = lambda h, s, v: (h, min(1, s * factor), v)
  actual = changed(colour.saturate, colours(), factor)
  assert_close(actual, by_colorsys(colours(), change), rtol=1e-5)


@pytest.mark.parametrize('delta', [-0.5, -0.13, 0.0, 0.2, 1 / 3, 1.0])
def test_hue_is_that_of_hsv(delta, assert_close):
  change = lambda h, s, v: ((h + delta) % 1, s, v)
  actual = changed(colour.turn_hue, colours(), delta)
  assert_close(actual, by_colorsys(colours(), change), rtol=1e-5)


def test_what_is_darker_than_black_has_no_saturation():
  dark = colours() - 1.1
  grey = dark.max(-1, keepdims=True).repeat(3, -1)
  np.testing.assert_array_equal(changed(colour.saturate, dark, 0.7), grey)


def test_hue_keeps_what_is_beyond_black_and_white():
  image = 3 * colours() - 1
  turned = changed(colour.turn_hue, image, 0.4)
  assert abs(turned - image).max() > 1
  for extreme in (np.min, np.max):
    np.testing.assert_allclose(
      extreme(turned, -1), extreme(image, -1), atol=1e-6
    )


@pytest.mark.parametrize('factor', [0.0, 0.4, 1.5])
def test_contrast_of_grey_is_pillows(factor):
  """Whose mean is rounded: this image's is a whole number."""
  image = np.array([[90, 110, 130], [70, 100, 100]], np.uint8)
  pillows = ImageEnhance.Contrast(Image.fromarray(image)).enhance(factor)
  actual = changed(colour.contrast, image[..., None].astype(np.float32), factor)
  assert abs(actual[..., 0] - np.asarray(pillows)).max() < 1


def test_contrast_is_about_each_channels_mean(assert_close):
  image = colours()
  mean = image.astype(float).mean((0, 1))
  actual = changed(colour.contrast, image, 1.4)
  assert_close(actual, mean + 1.4 * (image - mean), rtol=1e-5)


@pytest.mark.parametrize('change', [colour.saturate, colour.turn_hue])
def test_grey_has_no_hue_and_no_saturation(change):
  grey = colours()[..., :1]
  np.testing.assert_array_equal(changed(change, grey, 0.3), grey)
  rgb = grey.repeat(3, -1)
  np.testing.assert_array_equal(changed(change, rgb, 0.3), rgb)


CHANGES = {
  'B': ('brightness', colour.brighten),
  'C': ('contrast', colour.contrast),
  'S': ('saturation', colour.saturate),
  'H': ('hue', colour.turn_hue),
}


def one_by_one(key, image, orders, photometric):
  """Returns the image in each order of changes, by the amounts of `distort`."""
  reach = {name: photometric * value for name, value in REACH.items()}
  amounts = colour._amounts(jax.random.split(key)[0], reach)
  images = []
  for letters in orders:
    planes = split(image)
    for letter in letters:
      name, change = CHANGES[letter]
      planes = change(planes, amounts[name])
    images.append(jnp.clip(jnp.stack(planes, -1), 0, 1))
  return jnp.stack(images)


def of_keys(function, count, image, *options):
  """Returns what `count` keys make of the image."""
  keys = jax.random.split(jax.random.key(0), count)
  one = jax.jit(
    jax.vmap(lambda key, image: function(key, image, *options), (0, None))
  )
  return np.asarray(one(keys, image))


@pytest.mark.parametrize(
  ('mode', 'channels', 'orders'),
  [
    ('four', 3, ('BSHC', 'SBCH', 'CHBS', 'HSCB')),
    ('fast', 3, ('BS', 'SB')),
    ('four', 1, ('BC', 'CB')),
  ],
)
def test_colours_change_in_one_of_slims_orders(
  mode, channels, orders, assert_close
):
  image = colours(40)[..., :channels]
  knobs = {**REACH, 'photometric': 1.5, 'photometric_mode': mode}
  made = of_keys(functools.partial(colour.distort, **knobs), 24, image)
  expected = of_keys(one_by_one, 24, image, orders, 1.5)
  found = set()
  for actual, each in zip(made, expected):
    nearest = abs(each - actual).max((1, 2, 3)).argmin()
    assert_close(actual, each[nearest], rtol=1e-5)
    found.add(orders[nearest])
  assert found == set(orders)


@functools.cache
def amounts(photometric):
  """Returns 1000 draws of the four amounts."""
  reach = {name: photometric * value for name, value in REACH.items()}
  draw = functools.partial(colour._amounts, reach=reach)
  return jax.jit(jax.vmap(draw))(jax.random.split(jax.random.key(1), 1000))


@pytest.mark.parametrize(
  ('photometric', 'bounds'),
  [
    (1, {'brightness': (-0.125, 0.125), 'contrast': (0.5, 1.5)}),
    (1, {'hue': (-0.2, 0.2), 'saturation': (0.5, 1.5)}),
    (0.5, {'brightness': (-0.0625, 0.0625), 'saturation': (0.75, 1.25)}),
    (3, {'contrast': (0, 2.5), 'saturation': (0, 2.5), 'hue': (-0.6, 0.6)}),
  ],
)
def test_amounts_are_uniform_and_no_factor_is_negative(photometric, bounds):
  for name, (low, high) in bounds.items():
    amount = np.asarray(amounts(photometric)[name])
    assert low <= amount.min()
    assert amount.max() <= high
    even = np.linspace(low, high, 1000)
    assert abs(np.sort(amount) - even).max() < 0.05 * (high - low)


def test_amounts_are_independent():
  drawn = np.stack([*amounts(1).values()])
  assert abs(np.corrcoef(drawn) - np.eye(4)).max() < 0.1


def test_what_has_no_reach_does_nothing():
  """Also nothing to the saturation of what brightness made negative."""
  image = np.array([[[0.0, 0.05, 0.5]]], np.float32)
  knobs = {'photometric': 1.0, 'photometric_mode': 'four', **REACH}
  knobs.update(contrast=0.0, saturation=0.0, hue=0.0)
  made = of_keys(functools.partial(colour.distort, **knobs), 50, image)
  delta = made[..., 2:] - 0.5
  assert np.ptp(delta) > 0.2
  np.testing.assert_allclose(made, np.clip(image + delta, 0, 1), atol=1e-6)
