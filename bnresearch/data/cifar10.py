"""CIFAR-10: 60,000 photographs, 32x32 colour. Krizhevsky 2009, tech report."""

from bnresearch.data import Spec, _prepare

FILES = ('cifar-10-binary.tar.gz',)
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
  """Returns the data set's spec."""
  return Spec((32, 32, 3), _CLASSES, {'train': 50_000, 'test': 10_000})


_ORIGINALS = _prepare.Originals('cifar10', FILES, spec(), 'cifar10')
load, ready, prepare = _ORIGINALS.load, _ORIGINALS.ready, _ORIGINALS.prepare
