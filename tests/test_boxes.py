"""Boxes of random crops are where they should be, on the host as in XLA."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.images import boxes

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)
SIZES = [(375, 500), (224, 224), (8, 8), (300, 97), (3000, 4000), (20, 400)]
EACH_SIZE = pytest.mark.parametrize(
  ('height', 'width'), SIZES, ids=lambda n: str(n)
)


@functools.cache
def draws():
  return np.random.RandomState(0).random_sample((2000, 10, 4)).astype('float32')


@functools.cache
def numpy_boxes(height, width):
  """Returns the boxes of all draws, (2000, 4)."""
  options = {'area': AREA, 'aspect': ASPECT, 'xp': np}
  return np.array(
    [
      boxes.crop_box(uniform_A4, height, width, **options)
      for uniform_A4 in draws()
    ]
  )


@EACH_SIZE
def test_numpy_and_jax_choose_the_same_box(height, width):
  box = functools.partial(
    boxes.crop_box,
    height=height,
    width=width,
    area=AREA,
    aspect=ASPECT,
    xp=jnp,
  )
  traced = jax.jit(jax.vmap(lambda u: jnp.stack(box(u))))(draws())
  assert traced.dtype == jnp.int32
  np.testing.assert_array_equal(traced, numpy_boxes(height, width))


def test_numpy_and_jax_choose_the_same_place_where_a_product_is_rounded():
  """For 151 places: float32 makes an integer of what is just below one."""
  uniform_NA4 = np.zeros((151, 1, 4), np.float32)
  uniform_NA4[:, 0, 2:] = np.arange(151, dtype=np.float32)[:, None] / 151
  options = {'area': (0.25, 0.25), 'aspect': (1.0, 1.0)}
  box = lambda u, xp: boxes.crop_box(u, 300, 300, **options, xp=xp)
  traced = jax.jit(jax.vmap(lambda u: jnp.stack(box(u, jnp))))
  expected = traced(uniform_NA4)
  np.testing.assert_array_equal([box(u, np) for u in uniform_NA4], expected)


@EACH_SIZE
def test_a_box_is_inside_the_image(height, width):
  top, left, box_height, box_width = numpy_boxes(height, width).T
  assert min(top.min(), left.min()) >= 0
  assert min(box_height.min(), box_width.min()) >= 1
  assert (top + box_height).max() <= height
  assert (left + box_width).max() <= width


def test_areas_aspects_and_places_are_as_uniform_as_their_draws():
  """In boxes that all fit, so that no draw is passed over."""
  options = {'area': (0.1, 0.5), 'aspect': ASPECT, 'xp': np}
  top, left, height, width = np.array(
    [boxes.crop_box(u, 1000, 1000, **options) for u in draws()], float
  ).T
  logs = math.log(ASPECT[0]), math.log(ASPECT[1])
  fractions = [
    (height * width / 1e6 - 0.1) / 0.4,
    (np.log(width / height) - logs[0]) / (logs[1] - logs[0]),
    top / (1000 - height),
    left / (1000 - width),
  ]
  np.testing.assert_allclose(np.stack(fractions, 1), draws()[:, 0], atol=6e-3)


def test_the_first_attempt_that_fits_counts():
  """Wider than the image is the first, the others are of a half of its area."""
  wide, half = (0.999, 0.999, 0, 0), (0.5, 0.5, 0.5, 0.999)
  other = (0.1, 0.1, 0.1, 0.1)
  uniform_A4 = np.array([wide, half, other], np.float32)
  box = boxes.crop_box(
    uniform_A4, 100, 100, area=(0.0001, 1.0), aspect=(0.25, 4.0), xp=np
  )
  side = round(math.sqrt(0.5) * 100)
  assert box == (15, 29, side, side)  # of 0 to 29


@pytest.mark.parametrize(
  ('height', 'width', 'expected'),
  [
    (30, 900, (0, 430, 30, 40)),
    (900, 30, (430, 0, 40, 30)),
    (1, 1000, (0, 499, 1, 1)),
  ],
)
def test_of_a_panorama_it_is_the_middle(height, width, expected):
  uniform_A4 = np.full((boxes.ATTEMPTS, 4), 0.5, np.float32)
  options = {'area': (0.5, 1.0), 'aspect': ASPECT, 'xp': np}
  assert boxes.crop_box(uniform_A4, height, width, **options) == expected


def test_a_box_may_be_as_high_as_the_image():
  uniform_A4 = np.full((1, 4), 0.999, np.float32)
  options = {'area': (0.5, 0.5), 'aspect': (1.0, 1.0), 'xp': np}
  assert boxes.crop_box(uniform_A4, 100, 200, **options) == (0, 100, 100, 100)


@pytest.mark.parametrize(
  ('side', 'area', 'aspect'), [(2, 1e-4, (1.0, 1.0)), (1, 1.0, (3.0, 4.0))]
)
def test_a_box_has_a_pixel_at_least(side, area, aspect):
  uniform_A4 = np.full((1, 4), 0.5, np.float32)
  options = {'area': (area, area), 'aspect': aspect, 'xp': np}
  box = boxes.crop_box(uniform_A4, side, side, **options)
  assert box == (0, 0, side, side)


def test_if_no_attempt_fits_an_image_of_allowed_aspect_it_is_whole():
  uniform_A4 = np.full((boxes.ATTEMPTS, 4), 0.999, np.float32)
  box = boxes.crop_box(uniform_A4, 30, 31, area=AREA, aspect=ASPECT, xp=np)
  assert box == (0, 0, 30, 31)


@pytest.mark.parametrize('draw', [0, 1 - 2**-24, 1])
def test_the_ends_of_the_draws_are_inside(draw):
  uniform_A4 = np.full((1, 4), draw, np.float32)
  options = {'area': (0.25, 0.25), 'aspect': (1.0, 1.0), 'xp': np}
  place = 0 if draw == 0 else 150
  box = boxes.crop_box(uniform_A4, 300, 300, **options)
  assert box == (place, place, 150, 150)
