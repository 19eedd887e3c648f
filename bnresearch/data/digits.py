"""Handwritten digits, bundled with scikit-learn. Alpaydin & Kaynak 1998, UCI.

1,797 real images, 8x8, in 17 grey levels, ten classes: nothing to download.
"""

import numpy as np

from bnresearch.data import Arrays, Spec

_CLASSES = tuple('0123456789')
_GREYEST = 16  # the original grey levels are 0 to 16


def spec() -> Spec:
  """Returns the data set's spec."""
  return Spec((8, 8, 1), _CLASSES, {'train': 1442, 'test': 355})


def load(split: str) -> Arrays:
  """Returns the split 'train' (1,442 images) or 'test' (355).

  The test split is fixed and stratified: every fifth image of each class, in
  the original file's order.
  """
  from sklearn import datasets  # takes 3 s to import, so only when needed

  digits = datasets.load_digits()
  is_test_N = np.zeros(len(digits.target), bool)
  for label in np.unique(digits.target):
    is_test_N[np.flatnonzero(digits.target == label)[4::5]] = True
  chosen_N = {'train': ~is_test_N, 'test': is_test_N}[split]
  images_NHWC = np.round(digits.images[chosen_N, :, :, None] * 255 / _GREYEST)
  labels_N = digits.target[chosen_N].astype(np.int32)
  return Arrays(images_NHWC.astype(np.uint8), labels_N, _CLASSES)
