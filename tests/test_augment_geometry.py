"""Flips, crops and affine maps are what they say, as often as they say."""

import functools

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from bnresearch.augment import geometry
from bnresearch.images import boxes

EACH_CHANNELS = pytest.mark.parametrize('channels', [1, 3])


def texture(height, width, channels=3, seed=0):
  """Returns an image without any zero, so that zeros are from elsewhere."""
  random = np.random.RandomState(seed)
  return random.randint(1, 256, (height, width, channels)).astype(np.uint8)


def many(function, image, count, seed=0, **knobs):
  """Returns what `count` keys make of one image, (count, H, W, C)."""
  keys = jax.random.split(jax.random.key(seed), count)
  one = functools.partial(function, **knobs)
  return np.asarray(jax.jit(jax.vmap(one, (0, None)))(keys, image))


def different(images):
  """Returns how often there is which image, by its bytes."""
  found = {}
  for image in images:
    found[image.tobytes()] = found.get(image.tobytes(), 0) + 1
  return found


@EACH_CHANNELS
def test_half_of_the_images_are_mirrored(channels):
  image = texture(4, 5, channels)
  found = different(many(geometry.flip, image, 1000))
  assert set(found) == {image.tobytes(), image[:, ::-1].tobytes()}
  assert found[image.tobytes()] == pytest.approx(500, abs=60)


@EACH_CHANNELS
def test_padded_crops_are_all_windows_of_the_padded_image(channels):
  image = texture(6, 5, channels)
  found = different(many(geometry.padded_crop, image, 2500, padding=2))
  padded = np.pad(image, ((2, 2), (2, 2), (0, 0)))
  windows = {
    padded[top : top + 6, left : left + 5].tobytes()
    for top in range(5)
    for left in range(5)
  }
  assert set(found) == windows
  assert min(found.values()) > 50


@EACH_CHANNELS
def test_a_resized_crop_is_its_box_enlarged_by_opencv(channels, assert_close):
  image, options = texture(12, 16, channels), {'aspect': (0.5, 2.0)}
  options['area'] = (0.02, 1.0)
  made = many(geometry.resized_crop, image, 50, **options)
  assert made.dtype == np.float32
  for key, actual in zip(jax.random.split(jax.random.key(0), 50), made):
    uniform_A4 = np.asarray(jax.random.uniform(key, (boxes.ATTEMPTS, 4)))
    top, left, *size = boxes.crop_box(uniform_A4, 12, 16, **options, xp=np)
    box = image[top : top + size[0], left : left + size[1]].astype(np.float32)
    expected = cv2.resize(box, (16, 12), interpolation=cv2.INTER_LINEAR)
    assert_close(actual, expected.reshape(actual.shape), rtol=1e-5)


def warped(image, down, right, degrees, factor):
  """Returns what `warp` should: the mean of four pixels, in float64."""
  H, W, _ = image.shape
  padded = np.pad(image.astype(float), ((1, 2), (1, 2), (0, 0)))
  result = np.zeros(image.shape)
  # With x to the right and y upwards, as in a book.
  to = np.exp(1j * np.deg2rad(degrees)) * factor
  for i, j in np.ndindex(H, W):
    z = complex(j - (W - 1) / 2 - right, (H - 1) / 2 - i + down) / to
    row, column = (H - 1) / 2 - z.imag, (W - 1) / 2 + z.real
    if -1 < row < H and -1 < column < W:
      top, left = int(np.floor(row)), int(np.floor(column))
      y, x = row - top, column - left
      four = padded[top + 1 : top + 3, left + 1 : left + 3]
      weights = np.outer((1 - y, y), (1 - x, x))
      result[i, j] = np.tensordot(weights, four, 2)
  return result


@pytest.mark.parametrize(
  ('down', 'right', 'degrees', 'factor'),
  [
    (0.0, 0.0, 0.0, 1.0),
    (2.0, -3.0, 0.0, 1.0),
    (0.3, 1.6, 0.0, 1.0),
    (0.0, 0.0, 30.0, 1.0),
    (0.0, 0.0, 0.0, 1.3),
    (0.0, 0.0, 0.0, 0.6),
    (-1.2, 0.7, -50.0, 0.8),
  ],
)
@EACH_CHANNELS
def test_a_warp_is_bilinear_with_zeros_around(
  channels, down, right, degrees, factor, assert_close
):
  image = texture(9, 12, channels)
  moves = jnp.array([down, right, degrees, factor])
  actual = compiled_warp()(image, moves)
  assert actual.dtype == jnp.float32
  assert_close(actual, warped(image, down, right, degrees, factor), rtol=1e-5)


@functools.cache
def compiled_warp():
  names = 'down', 'right', 'degrees', 'factor'
  return jax.jit(lambda image, m: geometry.warp(image, **dict(zip(names, m))))


@pytest.mark.parametrize('degrees', [20.0, -75.0])
def test_inside_the_image_a_turn_is_pillows(degrees, assert_close):
  image = texture(16, 16, 1)
  plane = Image.fromarray(image[..., 0].astype(np.float32))
  expected = np.asarray(plane.rotate(degrees, Image.Resampling.BILINEAR))
  actual = compiled_warp()(image, jnp.array([0, 0, degrees, 1]))[..., 0]
  inside = slice(4, 12)
  assert_close(actual[inside, inside], expected[inside, inside], rtol=1e-4)


@functools.cache
def moves(shift, rotate, scale):
  """Returns down, right, degrees and factor of 1000 affine maps.

  The image says where a pixel comes from, 5 pixels around its centre do.
  """
  image = np.stack(np.mgrid[:9, :9], -1).astype(np.float32)
  knobs = {'shift': shift, 'rotate': rotate, 'scale': scale}
  made = many(geometry.affine, image, 1000, **knobs).astype(float)
  to_row, to_column = (
    made[:, 5, 4] - made[:, 4, 4],
    made[:, 4, 5] - made[:, 4, 4],
  )
  # The inverse map: columns (cos, -sin) / factor and (sin, cos) / factor.
  inverse = np.stack([to_row, to_column], -1)
  offset = made[:, 4, 4] - 4
  down, right = -np.linalg.solve(inverse, offset[..., None])[..., 0].T
  degrees = np.rad2deg(np.arctan2(inverse[:, 0, 1], inverse[:, 0, 0]))
  return down, right, degrees, np.linalg.det(inverse) ** -0.5


def test_amounts_of_moves_are_uniform_and_independent():
  down, right, degrees, factor = moves(0.1, 30.0, 0.2)
  fractions = [down / 0.9, right / 0.9, degrees / 30, (factor - 1) / 0.2]
  for fraction in fractions:
    assert abs(fraction).max() == pytest.approx(1, abs=0.01)
    even = np.linspace(-1, 1, 1000)
    assert abs(np.sort(fraction) - even).max() < 0.1
  assert abs(np.corrcoef(fractions) - np.eye(4)).max() < 0.1


@pytest.mark.parametrize('alone', [(0.1, 0.0, 0.0), (0.0, 30.0, 0.0)])
def test_a_move_alone_is_the_same_as_among_others(alone):
  none, together = (0, 0, 0, 1), moves(0.1, 30.0, 0.2)
  for k, amount in enumerate(moves(*alone)):
    on = alone[0 if k < 2 else k - 1]
    expected = together[k] if on else np.full(1000, none[k])
    np.testing.assert_allclose(amount, expected, atol=1e-3)
