"""Learnable Gaussian images with a mean per class, for tests and dry runs.

Constant images would make batch normalization degenerate and hide its bugs;
these have class-dependent, non-zero means and full variance.
"""

import numpy as np

from bnresearch.data import Arrays, Spec


def spec(*, examples: int = 600) -> Spec:
  """Returns the data set's spec."""
  sizes = {'train': examples, 'test': examples}
  return Spec((8, 8, 1), tuple('0123456789'), sizes)


def load(split: str, *, examples: int = 600) -> Arrays:
  """Returns `examples` images, cycling through the classes; splits differ."""
  return like(spec(), split, examples)


def like(spec: Spec, split: str, examples: int) -> Arrays:
  """Returns synthetic images with the shape and classes of `spec`.

  Each class has a random mean image, levels 64 to 192, the same in all splits;
  each image adds Gaussian noise with a standard deviation of 32.
  """
  K = min(len(spec.class_names), examples)
  means_KHWC = np.random.RandomState(0).uniform(64, 192, (K, *spec.image_shape))
  labels_N = np.arange(examples, dtype=np.int32) % K
  noise = np.random.RandomState({'train': 1, 'test': 2}[split])
  levels_NHWC = noise.normal(means_KHWC[labels_N], 32).round().clip(0, 255)
  return Arrays(levels_NHWC.astype(np.uint8), labels_N, spec.class_names)
