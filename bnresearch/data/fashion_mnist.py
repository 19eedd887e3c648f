"""Fashion-MNIST: 70,000 articles, 28x28 grey. Xiao et al. 2017, 1708.07747."""

from bnresearch.data import Arrays, Spec, _tfds

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
  """Returns 'train' (60,000 images) or 'test' (10,000), see `_tfds.load`."""
  return _tfds.load('fashion_mnist', split, spec())
