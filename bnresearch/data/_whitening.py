"""Whitening of inputs, by PCA or ZCA. LeCun et al. 1998, Efficient BackProp."""

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np

MOST = 4096  # values of an image; the eigenvalues of more take minutes


class Whitening(NamedTuple):
  """An affine map of inputs, `(x - mean) @ matrix`.

  Attributes:
    mean_D: of the training images, as the network would get them.
    matrix_DD: float32.
  """

  mean_D: np.ndarray
  matrix_DD: np.ndarray


def fit(parts: Iterable[np.ndarray], kind: str, epsilon: float) -> Whitening:
  """Returns the map that makes the values of these images uncorrelated.

  With the covariance `U diag(s) U^T`, in float64, the matrix is
  `U diag(s + epsilon)^(-1/2)`, 'pca', whose outputs are coefficients of
  the directions of most to least variance; or that times `U^T`, 'zca', whose
  outputs are as near to the images as any. Directions whose variance is well
  above epsilon get variance 1. A direction of PCA has its largest coefficient
  above zero, so that it is the same on any machine.

  Args:
    parts: the images in parts, each (N, ...) with the same D values an image.
    kind: 'pca' or 'zca'.
    epsilon: added to the variances, in squared units of the values.
  """
  count, sum_D, products_DD = 0, np.zeros(()), np.zeros(())
  for x_ND in _float64(parts):
    count += len(x_ND)
    sum_D = sum_D + x_ND.sum(0)
    products_DD = products_DD + x_ND.T @ x_ND
  mean_D = sum_D / count
  covariance_DD = products_DD / count - mean_D[:, None] * mean_D[None]
  variance_D, U_DD = np.linalg.eigh(covariance_DD)
  variance_D, U_DD = np.maximum(variance_D[::-1], 0), U_DD[:, ::-1]
  largest_D = np.take_along_axis(U_DD, np.abs(U_DD).argmax(0)[None], 0)
  U_DD = U_DD * np.sign(largest_D)
  matrix_DD = U_DD / np.sqrt(variance_D + epsilon)
  if kind == 'zca':
    matrix_DD = matrix_DD @ U_DD.T
  return Whitening(mean_D.astype(np.float32), matrix_DD.astype(np.float32))


def _float64(parts: Iterable[np.ndarray]) -> Iterator[np.ndarray]:
  for part in parts:
    yield np.asarray(part, np.float64).reshape(len(part), -1)
