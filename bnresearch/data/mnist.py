"""MNIST: 70,000 handwritten digits, 28x28 grey. LeCun, Cortes & Burges 1998."""

import pathlib

from bnresearch.data import Arrays, Spec, _prepare

FILES = tuple(
  f'{part}-{kind}-ubyte.gz'
  for part in ('train', 't10k')
  for kind in ('images-idx3', 'labels-idx1')
)
_ORIGINALS = _prepare.Originals('mnist', FILES, tfds_name='mnist')


def spec() -> Spec:
  """Returns what it holds."""
  examples = {'train': 60_000, 'test': 10_000}
  return Spec((28, 28, 1), tuple('0123456789'), examples)


def load(split: str) -> Arrays:
  """Returns 'train' (60,000 images) or 'test' (10,000), see `_prepare.load`."""
  return _prepare.load(_ORIGINALS, split, spec())


def ready() -> str:
  """Returns '' if `load` finds its files, or else what is missing."""
  return _prepare.missing(_ORIGINALS)


def prepare(folder: str | pathlib.Path) -> pathlib.Path:
  """Makes it from the four original idx files, see `_prepare.prepare`."""
  return _prepare.prepare(_ORIGINALS, folder)
