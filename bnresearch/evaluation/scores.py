"""Scores of predicted probabilities: loss, accuracy, calibration.

Predictions are calibrated if, for example, 80% of those made with a confidence
of 80% are right. Expected calibration error and reliability diagram are those
of Guo et al. 2017, section 2, arXiv 1706.04599.
"""

from typing import NamedTuple

import numpy as np

_BINS = 15  # as in Guo et al.
_BORDERS = np.arange(1, _BINS) / _BINS  # a bin includes its upper border only
_LEAST = np.finfo(np.float32).tiny


class Reliability(NamedTuple):
  """A reliability diagram's data, in bins of equal width in confidence.

  Attributes:
    examples_B: number of examples in each bin.
    confidence_B: their mean probability of the predicted class; NaN if none.
    accuracy_B: the fraction of them predicted right; NaN if none.
  """

  examples_B: np.ndarray
  confidence_B: np.ndarray
  accuracy_B: np.ndarray

  @property
  def error(self) -> float:
    """The expected calibration error: the mean of |accuracy - confidence|.

    Bins are weighted by their number of examples.
    """
    gap_B = np.abs(self.accuracy_B - self.confidence_B)
    share_B = self.examples_B / self.examples_B.sum()
    return float(np.sum(share_B * np.nan_to_num(gap_B)))


class Summary(NamedTuple):
  """The scores of all examples.

  Attributes:
    examples: number of examples.
    loss: mean negative logarithm of the label's probability, in nats; a
      probability that vanishes in float32 counts as 1.2e-38.
    top1: fraction whose label is the most probable class; the first of equals
      counts.
    top5: fraction whose label is among the five most probable; None for K <= 5.
    examples_K: number of examples of each class.
    accuracy_K: `top1` of each class; NaN if it has no examples.
    reliability: see `Reliability`.
  """

  examples: int
  loss: float
  top1: float
  top5: float | None
  examples_K: np.ndarray
  accuracy_K: np.ndarray
  reliability: Reliability


class Scores:
  """Accumulates the scores of batches of probabilities; keeps no batch."""

  def __init__(self, num_classes: int):
    self._loss = 0.0
    self._top5 = 0
    self._examples_K = np.zeros(num_classes, np.int64)
    self._correct_K = np.zeros(num_classes, np.int64)
    self._examples_B = np.zeros(_BINS, np.int64)
    self._correct_B = np.zeros(_BINS, np.int64)
    self._confidence_B = np.zeros(_BINS)

  def add(self, probabilities_NK: np.ndarray, labels_N: np.ndarray) -> None:
    """Adds examples; their probabilities must be finite."""
    K = len(self._examples_K)
    own_N1 = np.take_along_axis(probabilities_NK, labels_N[:, None], axis=1)
    before_NK = (probabilities_NK == own_N1) & (
      np.arange(K) < labels_N[:, None]
    )
    rank_N = np.sum((probabilities_NK > own_N1) | before_NK, axis=1)
    correct_N = rank_N == 0
    confidence_N = probabilities_NK.max(axis=1).astype(np.float64)
    bin_N = np.searchsorted(_BORDERS, confidence_N)

    own_N = own_N1[:, 0].astype(np.float64)
    self._loss -= np.log(np.maximum(own_N, _LEAST)).sum()
    self._top5 += int(np.sum(rank_N < 5))
    self._examples_K += np.bincount(labels_N, minlength=K)
    self._correct_K += np.bincount(labels_N[correct_N], minlength=K)
    self._examples_B += np.bincount(bin_N, minlength=_BINS)
    self._correct_B += np.bincount(bin_N[correct_N], minlength=_BINS)
    self._confidence_B += np.bincount(bin_N, confidence_N, minlength=_BINS)

  def result(self) -> Summary:
    """Returns the scores of all examples added; needs at least one."""
    N = int(self._examples_K.sum())
    return Summary(
      examples=N,
      loss=float(self._loss / N),
      top1=int(self._correct_K.sum()) / N,
      top5=self._top5 / N if len(self._examples_K) > 5 else None,
      examples_K=self._examples_K.copy(),
      accuracy_K=_ratio(self._correct_K, self._examples_K),
      reliability=Reliability(
        self._examples_B.copy(),
        _ratio(self._confidence_B, self._examples_B),
        _ratio(self._correct_B, self._examples_B),
      ),
    )


def _ratio(sums, counts):
  """Returns sums / counts; NaN where the count is 0."""
  return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
