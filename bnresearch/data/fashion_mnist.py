"""Fashion-MNIST: 70,000 articles, 28x28 grey. Xiao et al. 2017, 1708.07747."""

from bnresearch.data import Spec, _prepare, mnist

FILES = mnist.FILES  # the same names
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
  """Returns the data set's spec."""
  return Spec((28, 28, 1), _CLASSES, {'train': 60_000, 'test': 10_000})


_ORIGINALS = _prepare.Originals('fashion_mnist', FILES, spec(), 'fashion_mnist')
load, ready, prepare = _ORIGINALS.load, _ORIGINALS.ready, _ORIGINALS.prepare
