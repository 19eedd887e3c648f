"""Dropout's rate, here and in PyTorch and Keras; TensorFlow 1 has keep_prob."""


def rate_of(keep_prob: float) -> float:
  """Returns the fraction that is zeroed where `keep_prob` is kept.

  Args:
    keep_prob: as in TF-Slim, above 0 and at most 1.

  Raises:
    ValueError: it is out of range.
  """
  if not 0 < keep_prob <= 1:
    raise ValueError(
      f'keep_prob = {keep_prob}: needs a number above 0 and at most 1, the '
      'probability that a value is kept.'
    )
  return _rest(keep_prob)


def keep_prob_of(rate: float) -> float:
  """Returns the fraction that is kept where `rate` is zeroed.

  Args:
    rate: as in `model.dropout_rate`, of at least 0 and below 1.

  Raises:
    ValueError: it is out of range.
  """
  if not 0 <= rate < 1:
    raise ValueError(
      f'rate = {rate}: needs a number of at least 0 and below 1, the '
      'probability that a value is zeroed.'
    )
  return _rest(rate)


def _rest(share):
  # 1 - 0.8 is 0.19999999999999996.
  return round(1 - share, 15)
