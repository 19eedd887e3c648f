"""Data sets: one per file, each a `SPEC` and a `load(split, **options)`.

`SPEC` describes the data set without reading it. `load` returns a `Source`:
uint8 images and integer labels, in memory. Its keyword options bear the names
of `config.data`.
"""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np


class MissingData(FileNotFoundError):
  """A data set's files are not on this machine; says how to get them."""


class DamagedData(ValueError):
  """A data set's file is not the original one."""


class Spec(NamedTuple):
  """What a data set holds: one image's (H, W, C) and the classes' names."""

  image_shape: tuple[int, int, int]
  class_names: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class Source:
  """One split of a data set.

  Attributes:
    images_NHWC: uint8, 0 to 255.
    labels_N: int32, indices into `class_names`.
    class_names: the K classes.
  """

  images_NHWC: np.ndarray
  labels_N: np.ndarray
  class_names: tuple[str, ...]

  def __len__(self) -> int:
    return len(self.labels_N)


def pixels(
  images: jax.Array, *, binarize: bool, binarize_threshold: float
) -> jax.Array:
  """Turns uint8 images of any shape into a network's float32 input.

  Args:
    images: uint8, 0 to 255.
    binarize: whether each pixel becomes 0 or 1, as in the paper's Figure 1
      (section 4.1, "28x28 binary image").
    binarize_threshold: in [0, 1); a pixel above this fraction of 255 is 1.
  """
  if binarize:
    return (images > 255 * binarize_threshold).astype(jnp.float32)
  return images.astype(jnp.float32) / 255
