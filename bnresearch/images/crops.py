"""Crops on the host: from uint8 images (H, W, C) of any size to one size.

Training takes one random crop of each image; evaluation takes one, ten, or
GoogLeNet's 144. A crop may be a view of the image.
"""

import functools
from collections.abc import Callable

import cv2
import numpy as np

from bnresearch.images import boxes

COUNTS = (1, 10, 144)  # allowed numbers of crops per image
_PAPERS_SIZE = 224  # pixels of GoogLeNet's crops
_SIDES = (256, 288, 320, 352)  # shorter sides of its resized images


def resize(image: np.ndarray, height: int, width: int) -> np.ndarray:
  """Returns the image at that size, aspect lost.

  First shrinks by areas: each pixel is the mean of what it covers. Then
  enlarges bilinearly.
  """
  C = image.shape[-1]
  shrunk = min(height, image.shape[0]), min(width, image.shape[1])
  for size, how in (
    (shrunk, cv2.INTER_AREA),
    ((height, width), cv2.INTER_LINEAR),
  ):
    if image.shape[:2] != size:
      image = cv2.resize(image, size[::-1], interpolation=how)
      image = image.reshape(*size, C)  # OpenCV drops a single channel
  return image


def random_resized(
  image: np.ndarray,
  uniform_A4: np.ndarray,
  size: int,
  *,
  area: tuple[float, float],
  aspect: tuple[float, float],
) -> np.ndarray:
  """Returns a random box of the image, resized to (size, size, C).

  Args:
    image: uint8 (H, W, C).
    uniform_A4: float32, the draws of `boxes.crop_box`.
    size: in pixels.
    area: see `boxes.crop_box`.
    aspect: likewise.
  """
  top, left, height, width = boxes.crop_box(
    uniform_A4, *image.shape[:2], area=area, aspect=aspect, xp=np
  )
  box = image[top : top + height, left : left + width]
  return resize(box, size, size)


def centre(image: np.ndarray, size: int, fraction: float) -> np.ndarray:
  """Returns the square in the middle, resized to (size, size, C).

  Args:
    image: uint8 (H, W, C).
    size: in pixels.
    fraction: the square's side over the image's shorter one; 0.875 is usual.
  """
  side = max(1, round(fraction * min(image.shape[:2])))
  return resize(_middle(image, side), size, size)


def whole(image: np.ndarray, size: int) -> np.ndarray:
  """Returns the whole image, resized to (size, size, C), aspect lost."""
  return resize(image, size, size)


def ten(image: np.ndarray, size: int, fraction: float) -> np.ndarray:
  """Returns ten crops of an image; Krizhevsky et al. 2012, section 4.1.

  The image is resized to a shorter side of `size / fraction`. The crops are top
  left, top right, bottom left, bottom right and middle, each followed by its
  mirror image.

  Args:
    image: uint8 (H, W, C).
    size: side of the crops, in pixels.
    fraction: at most 1; 0.875 is 224 of 256.

  Returns:
    (10, size, size, C).
  """
  image = _with_shorter_side(image, round(size / fraction))
  return _with_mirrors(_five(image, size))


def padded_ten(image: np.ndarray, size: int, *, padding: int) -> np.ndarray:
  """Returns ten crops of a small image at its own size, placed as by `ten`.

  They come from the image with zeros around it, as the random crops of training
  by `augment.geometry.padded_crop` and `flip` do. An image of another size is
  first resized, aspect lost.

  Args:
    image: uint8 (H, W, C).
    size: side of the crops, in pixels.
    padding: pixels on each side.

  Returns:
    (10, size, size, C).
  """
  around = [(padding, padding), (padding, padding), (0, 0)]
  return _with_mirrors(_five(np.pad(whole(image, size), around), size))


def of_small(
  size: int, crop_count: int, *, crop: str, padding: int, flip: bool
) -> Callable[[np.ndarray], np.ndarray]:
  """Returns the function from a small image to its crops.

  It serves data sets whose images all have one size, which the network sees
  whole.

  Args:
    size: in pixels.
    crop_count: 1, by `whole`; or 10, by `padded_ten`.
    crop: how training cropped; see `config.augment`.
    padding: how training padded; likewise.
    flip: whether training flipped; likewise.

  Raises:
    ValueError: it cannot make `crop_count` crops, or training did not crop so.
  """
  if crop_count == 1:
    return functools.partial(whole, size=size)
  if crop_count != 10:
    raise ValueError(
      f'{crop_count} crops: are cut from large images, and these have {size} '
      'pixels. Use 1, or 10 where training has padded and mirrored them.'
    )
  if crop != 'padded' or not flip:
    raise ValueError(
      f'10 crops: those of images of {size} pixels are padded and mirrored, '
      "which a network knows that was trained with augment.crop = 'padded' "
      f'and augment.flip = True; these are {crop!r} and {flip}. Use 1.'
    )
  return functools.partial(padded_ten, size=size, padding=padding)


def googlenet(image: np.ndarray, size: int) -> np.ndarray:
  """Returns 144 crops; Szegedy et al. 2014, section 7, arXiv 1409.4842.

  The image is resized to a shorter side of 256, 288, 320 and 352 pixels. Each
  size gives three squares: left, middle, right, or top, middle, bottom. Each
  square gives six crops: top left, top right, bottom left, bottom right,
  middle, and the whole square resized; each is followed by its mirror image.

  Args:
    image: uint8 (H, W, C).
    size: side of the crops, in pixels; if it is not the paper's 224, the four
      sizes scale with it.

  Returns:
    (144, size, size, C), in the order 4 sizes, 3 squares, 6 crops, 2 mirrors.
  """
  crops = []
  for side in _SIDES:
    scaled = _with_shorter_side(image, round(size * side / _PAPERS_SIZE))
    for square in _squares(scaled):
      crops += [*_five(square, size), resize(square, size, size)]
  return _with_mirrors(crops)


def _with_shorter_side(image, side):
  H, W, _ = image.shape
  ratio = side / min(H, W)
  return resize(image, round(H * ratio), round(W * ratio))


def _squares(image):
  """Yields the squares at the start, in the middle and at the end."""
  H, W, _ = image.shape
  side = min(H, W)
  yield image[:side, :side]
  yield _middle(image, side)
  yield image[H - side :, W - side :]


def _five(image, size):
  H, W, _ = image.shape
  for top in (0, H - size):
    for left in (0, W - size):
      yield image[top : top + size, left : left + size]
  yield _middle(image, size)


def _middle(image, side):
  H, W, _ = image.shape
  top, left = (H - side) // 2, (W - side) // 2
  return image[top : top + side, left : left + side]


def _with_mirrors(crops):
  return np.stack([x for crop in crops for x in (crop, crop[:, ::-1])])
