"""Fashion-MNIST: 70,000 articles, 28x28 grey. Xiao et al. 2017, 1708.07747."""

import pathlib

from bnresearch.data import Arrays, Spec, _prepare, mnist

FILES = mnist.FILES  # they have the same names
_ORIGINALS = _prepare.Originals(
  'fashion_mnist', FILES, tfds_name='fashion_mnist'
)
_CLASSES = (
  'T-shirt/top',
  'Trouser',
  'Pullover',
  'Dress',
  'Coat',
  'Sandal',
  'Shirt',
  'Sneaker',
  'Bag',
  'Ankle boot',
)


def spec() -> Spec:
  """Returns what it holds."""
  return Spec((28, 28, 1), _CLASSES, {'train': 60_000, 'test': 10_000})


def load(split: str) -> Arrays:
  """Returns 'train' (60,000 images) or 'test' (10,000), see `_prepare.load`."""
  return _prepare.load(_ORIGINALS, split, spec())


def ready() -> str:
  """Returns '' if `load` finds its files, or else what is missing."""
  return _prepare.missing(_ORIGINALS)


def prepare(folder: str | pathlib.Path) -> pathlib.Path:
  """Makes it from the four original idx files, see `_prepare.prepare`."""
  return _prepare.prepare(_ORIGINALS, folder)
