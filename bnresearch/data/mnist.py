"""MNIST: 70,000 handwritten digits, 28x28 grey. LeCun, Cortes & Burges 1998."""

from bnresearch.data import Source, Spec, _tfds

SPEC = Spec((28, 28, 1), tuple('0123456789'))


def load(split: str) -> Source:
  """Returns 'train' (60,000 images) or 'test' (10,000), see `_tfds.load`."""
  return _tfds.load('mnist', split, SPEC)
