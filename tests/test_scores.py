"""Loss, accuracy and calibration, added up: those of all examples at once."""

import numpy as np
import pytest

from bnresearch.evaluation.scores import Scores


def probabilities(N, K, seed=0):
  """Returns float32 probabilities (N, K), some classes alike, and labels."""
  random = np.random.RandomState(seed)
  scores_NK = np.round(
    random.normal(size=(N, K)) * random.gamma(2, size=(N, 1))
  )
  exp_NK = np.exp(scores_NK)
  labels_N = random.randint(0, K, N)
  return (exp_NK / exp_NK.sum(1, keepdims=True)).astype(np.float32), labels_N


def summary(probabilities_NK, labels_N, size=10**6):
  scores = Scores(probabilities_NK.shape[1])
  for start in range(0, len(labels_N), size):
    here = slice(start, start + size)
    scores.add(probabilities_NK[here], labels_N[here])
  return scores.result()


def calibration_error(confidence_N, correct_N):
  """Guo et al.'s equation 3, bin by bin."""
  error = 0.0
  for m in range(1, 16):
    inside_N = (confidence_N > (m - 1) / 15) & (confidence_N <= m / 15)
    if inside_N.any():
      gap = correct_N[inside_N].mean() - confidence_N[inside_N].mean()
      error += inside_N.mean() * abs(gap)
  return error


@pytest.mark.parametrize('size', [1, 7, 1000])
@pytest.mark.parametrize('K', [2, 5, 6, 40])
def test_what_is_added_up_is_what_all_examples_give(K, size):
  p_NK, labels_N = probabilities(500, K)
  found = summary(p_NK, labels_N, size)
  p_NK = p_NK.astype(np.float64)
  order_NK = np.argsort(-p_NK, axis=1, kind='stable')
  correct_N = order_NK[:, 0] == labels_N
  assert found.examples == 500
  loss = -np.log(p_NK[np.arange(500), labels_N]).mean()
  np.testing.assert_allclose(found.loss, loss, rtol=1e-12)
  assert found.top1 == correct_N.mean()
  if K > 5:
    assert found.top5 == (order_NK[:, :5] == labels_N[:, None]).any(1).mean()
  else:
    assert found.top5 is None
  for k in range(K):
    assert found.examples_K[k] == (labels_N == k).sum()
    assert found.accuracy_K[k] == correct_N[labels_N == k].mean()
  error = calibration_error(p_NK.max(1), correct_N)
  np.testing.assert_allclose(found.reliability.error, error, rtol=1e-12)


def test_a_bin_has_its_upper_border_and_its_means():
  """Of 15: (0.4, 0.4667] has three examples, (0.9333, 1] has one."""
  confidence_N = np.asarray([6 / 15 + 0.01, 7 / 15, 7 / 15, 1.0])
  p_NK = np.stack([confidence_N, 1 - confidence_N, *np.zeros((2, 4))], axis=1)
  p_NK[:3, 1:] = p_NK[:3, 1:2] / 3
  found = summary(p_NK, np.asarray([0, 0, 1, 0])).reliability
  assert found.examples_B.tolist() == [0] * 6 + [3] + [0] * 7 + [1]
  np.testing.assert_allclose(found.confidence_B[6], confidence_N[:3].mean())
  np.testing.assert_allclose(found.accuracy_B[[6, 14]], [2 / 3, 1])
  assert np.isnan(found.accuracy_B[:6]).all()
  gap = abs(2 / 3 - confidence_N[:3].mean())
  np.testing.assert_allclose(found.error, 3 / 4 * gap)


def test_a_class_without_examples_has_no_accuracy():
  p_NK, _ = probabilities(10, 3)
  found = summary(p_NK, np.zeros(10, int))
  assert found.examples_K.tolist() == [10, 0, 0]
  np.testing.assert_array_equal(np.isnan(found.accuracy_K), [0, 1, 1])


def test_a_probability_that_has_vanished_costs_much_but_not_all():
  found = summary(np.asarray([[1, 0]], np.float32), np.asarray([1]))
  assert found.loss == pytest.approx(87.3, abs=0.1)
  assert found.reliability.error == 1
