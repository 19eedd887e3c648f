"""CIFAR-10: 60,000 photographs, 32x32 colour. Krizhevsky 2009, tech report."""

import pathlib

from bnresearch.data import Arrays, Spec, _prepare

FILES = ('cifar-10-binary.tar.gz',)
_ORIGINALS = _prepare.Originals('cifar10', FILES, tfds_name='cifar10')
_CLASSES = (
  'airplane',
  'automobile',
  'bird',
  'cat',
  'deer',
  'dog',
  'frog',
  'horse',
  'ship',
  'truck',
)


def spec() -> Spec:
  """Returns what it holds."""
  return Spec((32, 32, 3), _CLASSES, {'train': 50_000, 'test': 10_000})


def load(split: str) -> Arrays:
  """Returns 'train' (50,000 images) or 'test' (10,000), see `_prepare.load`."""
  return _prepare.load(_ORIGINALS, split, spec())


def ready() -> str:
  """Returns '' if `load` finds its files, or else what is missing."""
  return _prepare.missing(_ORIGINALS)


def prepare(folder: str | pathlib.Path) -> pathlib.Path:
  """Makes it from the original binary archive, see `_prepare.prepare`."""
  return _prepare.prepare(_ORIGINALS, folder)
