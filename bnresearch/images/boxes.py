"""Boxes of random-resized crops; Szegedy et al. 2014, section 6.

arXiv 1409.4842: the area is uniform between 8% and 100% of the image, and the
aspect random between 3/4 and 4/3. Torchvision's choices: the logarithm of the
aspect is uniform, and how to treat a box wider or higher than the image.
"""

import functools
import math
from types import ModuleType
from typing import Any

import numpy as np

ATTEMPTS = 10
# Areas and aspects are drawn from tables: NumPy and XLA differ in the last bit
# of an exponential and of a multiply-add, and that may become a pixel.
# Table entries need only products.
_LEVELS = 4096


def crop_box(
  uniform_A4: Any,
  height: int,
  width: int,
  *,
  area: tuple[float, float],
  aspect: tuple[float, float],
  xp: ModuleType,
) -> tuple[Any, Any, Any, Any]:
  """Returns (top, left, box_height, box_width) in pixels, inside the image.

  An attempt draws the area uniformly, the aspect uniformly in its logarithm,
  and then the position uniformly. The first box that fits into the image
  counts. If none fits, the box is the largest one in the image's middle with
  an allowed aspect.

  Args:
    uniform_A4: float32 in [0, 1), for each attempt area, aspect, top and left.
    height: the image's height.
    width: the image's width.
    area: least and greatest, as fractions of the image, above 0.
    aspect: least and greatest width over height, above 0.
    xp: `numpy` or `jax.numpy`; both give the same box.

  Returns:
    Four integers of `xp`, int32.
  """
  uniform_A4 = xp.asarray(uniform_A4, np.float32)
  roots, wider, narrower = (xp.asarray(t) for t in _tables(area, aspect))
  levels_A2 = (uniform_A4[:, :2] * _LEVELS).astype(np.int32)
  area_A, aspect_A = xp.minimum(levels_A2, _LEVELS - 1).T
  side_A = roots[area_A] * math.sqrt(height * width)
  height_A = xp.rint(side_A * narrower[aspect_A]).astype(np.int32)
  width_A = xp.rint(side_A * wider[aspect_A]).astype(np.int32)

  size_A2 = xp.stack([height_A, width_A], 1)
  room_A2 = xp.asarray([[height, width]], np.int32) - size_A2
  # Not int32, which would make NumPy multiply in float64.
  places_A2 = (room_A2 + 1).astype(np.float32)
  corner_A2 = (uniform_A4[:, 2:] * places_A2).astype(np.int32)
  corner_A2 = xp.minimum(corner_A2, room_A2)  # 0.9999999 of many rounds to all
  fits_A = ((size_A2 > 0) & (room_A2 >= 0)).all(1)

  middle = xp.asarray([_middle(height, width, aspect)], np.int32)
  boxes = xp.concatenate([xp.concatenate([corner_A2, size_A2], 1), middle])
  fits = xp.concatenate([fits_A, xp.asarray([True])])
  return tuple(boxes[xp.argmax(fits)])


@functools.lru_cache(maxsize=8)
def _tables(area, aspect):
  """Returns the roots of areas, aspects and inverse aspects, float32."""
  roots = np.sqrt(np.linspace(*area, _LEVELS))
  wider = np.sqrt(np.geomspace(*aspect, _LEVELS))
  return tuple(t.astype(np.float32) for t in (roots, wider, 1 / wider))


def _middle(height, width, aspect):
  ratio = min(max(width / height, aspect[0]), aspect[1])
  box_height = min(height, max(1, round(width / ratio)))
  box_width = min(width, max(1, round(height * ratio)))
  top, left = (height - box_height) // 2, (width - box_width) // 2
  return top, left, box_height, box_width
