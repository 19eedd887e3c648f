"""MNIST: 70,000 handwritten digits, 28x28 grey. LeCun, Cortes & Burges 1998."""

from bnresearch.data import Arrays, Spec, _tfds


def spec() -> Spec:
  """Returns what it holds."""
  examples = {'train': 60_000, 'test': 10_000}
  return Spec((28, 28, 1), tuple('0123456789'), examples)


def load(split: str) -> Arrays:
  """Returns 'train' (60,000 images) or 'test' (10,000), see `_tfds.load`."""
  return _tfds.load('mnist', split, spec())
