"""The host's crops have the pixels that they should have."""

import cv2
import numpy as np
import pytest

from bnresearch.images import boxes, crops

AREA, ASPECT = (0.08, 1.0), (3 / 4, 4 / 3)


def draws(count):
  """Returns the draws of this many random crops."""
  random = np.random.RandomState(0)
  return random.random_sample((count, boxes.ATTEMPTS, 4)).astype(np.float32)


def texture(height, width, channels=3):
  """Returns an image of random pixels."""
  random = np.random.RandomState(height + width)
  return random.randint(0, 256, (height, width, channels)).astype(np.uint8)


def ramps(height, width):
  """Returns an image that has, times 2, the row, the column, and nothing."""
  rows, columns = np.mgrid[:height, :width]
  return np.stack([2 * rows, 2 * columns, 0 * rows], -1).astype(np.uint8)


def test_shrinking_takes_the_mean_of_what_a_pixel_covers():
  image = texture(12, 8)
  means = image.reshape(3, 4, 4, 2, 3).astype(float).mean((1, 3))
  difference = abs(crops.resize(image, 3, 4) - means).max()
  assert difference <= 0.5 + 1e-6


def test_growing_is_bilinear():
  image = texture(3, 4)
  place = np.clip((np.arange(12) + 0.5) / 3 - 0.5, 0, 3)
  weights = np.maximum(0, 1 - abs(place[:, None] - np.arange(4)))
  expected = np.einsum('jw,hwc->hjc', weights, image.astype(float))
  assert abs(crops.resize(image, 3, 12) - expected).max() < 1


def test_a_side_shrinks_before_the_other_grows():
  image = texture(8, 4)
  shrunk = crops.resize(image, 4, 4)
  np.testing.assert_array_equal(
    crops.resize(image, 4, 8), crops.resize(shrunk, 4, 8)
  )
  aliased = cv2.resize(image, (8, 4), interpolation=cv2.INTER_LINEAR)
  assert (crops.resize(image, 4, 8) != aliased).any()


CROPS = {
  'random': lambda image, size: crops.random_resized(
    image, draws(1)[0], size, area=AREA, aspect=ASPECT
  )[None],
  'centre': lambda image, size: crops.centre(image, size, 0.875)[None],
  'whole': lambda image, size: crops.whole(image, size)[None],
  'ten': lambda image, size: crops.ten(image, size, 0.875),
  'padded_ten': lambda image, size: crops.padded_ten(image, size, padding=2),
  'googlenet': crops.googlenet,
}
COUNTS = {'ten': 10, 'padded_ten': 10, 'googlenet': 144}


@pytest.mark.parametrize('channels', [1, 3])
@pytest.mark.parametrize(
  ('height', 'width'), [(16, 16), (9, 40), (40, 9), (50, 60), (1, 1)]
)
@pytest.mark.parametrize('name', CROPS)
def test_crops_are_bytes_of_one_size(name, height, width, channels):
  made = CROPS[name](texture(height, width, channels), 16)
  assert made.shape == (COUNTS.get(name, 1), 16, 16, channels)
  assert made.dtype == np.uint8


def test_a_random_crop_is_its_box_resized():
  image = texture(60, 80)
  for uniform_A4 in draws(20):
    top, left, height, width = boxes.crop_box(
      uniform_A4, 60, 80, area=AREA, aspect=ASPECT, xp=np
    )
    box = image[top : top + height, left : left + width]
    made = crops.random_resized(image, uniform_A4, 16, area=AREA, aspect=ASPECT)
    np.testing.assert_array_equal(made, crops.resize(box, 16, 16))


def test_the_centre_is_a_fraction_of_the_shorter_side():
  image = texture(20, 31)
  np.testing.assert_array_equal(
    crops.centre(image, 10, 0.5), image[5:15, 10:20]
  )
  np.testing.assert_array_equal(
    crops.centre(image, 8, 1.0), crops.resize(image[:, 5:25], 8, 8)
  )
  small = texture(9, 9)  # of which 0.875 are 7.9 pixels
  np.testing.assert_array_equal(crops.centre(small, 8, 0.875), small[:8, :8])


def test_the_whole_loses_its_aspect():
  blocks = texture(4, 4).repeat(4, 0).repeat(2, 1)
  np.testing.assert_array_equal(crops.whole(blocks, 4), texture(4, 4))


def test_ten_crops_are_corners_middle_and_mirrors():
  image = texture(20, 30)
  made = crops.ten(image, 12, 0.6)
  corners = [(0, 0), (0, 18), (8, 0), (8, 18), (4, 9)]
  for k, (top, left) in enumerate(corners):
    expected = image[top : top + 12, left : left + 12]
    np.testing.assert_array_equal(made[2 * k], expected)
    np.testing.assert_array_equal(made[2 * k + 1], expected[:, ::-1])


def test_ten_crops_are_of_an_image_of_the_right_size():
  image = texture(50, 40)
  scaled = crops.resize(image, 20, 16)
  np.testing.assert_array_equal(
    crops.ten(image, 14, 0.875)[0], scaled[:14, :14]
  )


def test_ten_crops_of_a_small_image_are_of_the_zeros_around_it():
  image = np.maximum(texture(8, 8), 1)
  made = crops.padded_ten(image, 8, padding=2)
  corners = [(2, 2), (2, -2), (-2, 2), (-2, -2), (0, 0)]
  for k, (down, right) in enumerate(corners):
    expected = np.zeros_like(image)
    for i in range(8):
      for j in range(8):
        if 0 <= i - down < 8 and 0 <= j - right < 8:
          expected[i, j] = image[i - down, j - right]
    np.testing.assert_array_equal(made[2 * k], expected)
    np.testing.assert_array_equal(made[2 * k + 1], expected[:, ::-1])


@pytest.mark.parametrize(
  ('count', 'crop', 'flip', 'message'),
  [
    (144, 'padded', True, '144 crops: .* these have 8 pixels. Use 1, or 10 '),
    (10, 'none', True, "augment.flip = True; these are 'none' and True. Use 1"),
    (10, 'padded', False, "these are 'padded' and False. Use 1."),
  ],
)
def test_a_small_image_has_crops_as_in_training_only(
  count, crop, flip, message
):
  with pytest.raises(ValueError, match=message):
    crops.of_small(8, count, crop=crop, padding=2, flip=flip)


def squares_of(height, width):
  """Returns top and left of GoogLeNet's three squares."""
  spare = abs(height - width)
  places = (0, spare / 2, spare)
  return [(p, 0) if height > width else (0, p) for p in places]


@pytest.mark.parametrize(('height', 'width'), [(64, 96), (96, 64)])
def test_googlenets_crops_are_of_the_right_places(height, width):
  """Of an image whose pixels say where they are: centres and extents.

  Areas keep the mean of what is linear. The 144 are counted in the documented
  order; sides are 28 * 256 / 224 = 32 and so on.
  """
  made = crops.googlenet(ramps(height, width), 28)
  made = made.reshape(4, 3, 6, 2, 28, 28, 3).astype(float) / 2
  for s, side in enumerate((32, 36, 40, 44)):
    ratio = 64 / side  # pixels of the image to one of the scaled
    spare = 64 - 28 * ratio
    corners = [(0, 0), (0, spare), (spare, 0), (spare, spare)]
    insets = [*corners, (spare / 2, spare / 2), (0, 0)]
    for q, square in enumerate(squares_of(height, width)):
      for c, inset in enumerate(insets):
        extent = 64 if c == 5 else 28 * ratio
        centre = np.add(square, inset) + extent / 2 - 0.5
        for m, mirror in enumerate((1, -1)):
          crop = made[s, q, c, m]
          np.testing.assert_allclose(
            crop[..., :2].mean((0, 1)), centre, atol=1.1
          )
          down = crop[-1, :, 0] - crop[0, :, 0]
          right = crop[:, -1, 1] - crop[:, 0, 1]
          np.testing.assert_allclose(down, extent * 27 / 28, atol=1.3)
          np.testing.assert_allclose(mirror * right, extent * 27 / 28, atol=1.3)


def test_googlenets_crops_are_all_different():
  made = crops.googlenet(texture(50, 70), 28)
  assert len({crop.tobytes() for crop in made}) == 144


def test_googlenets_crops_have_the_images_own_pixels():
  """Where the shorter side is 256 / 224 of the size, and nothing is resized."""
  image = texture(16, 24)
  made = crops.googlenet(image, 14).reshape(4, 3, 6, 2, 14, 14, 3)[0]
  for q, left in enumerate((0, 4, 8)):
    square = image[:, left : left + 16]
    corners = [(0, 0), (0, 2), (2, 0), (2, 2), (1, 1)]
    for c, (i, j) in enumerate(corners):
      expected = square[i : i + 14, j : j + 14]
      np.testing.assert_array_equal(made[q, c, 0], expected)
      np.testing.assert_array_equal(made[q, c, 1], expected[:, ::-1])
    np.testing.assert_array_equal(made[q, 5, 0], crops.resize(square, 14, 14))
