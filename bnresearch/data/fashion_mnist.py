"""Fashion-MNIST: 70,000 articles, 28x28 grey. Xiao et al. 2017, 1708.07747."""

from bnresearch.data import Source, Spec, _tfds

SPEC = Spec(
  (28, 28, 1),
  (
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
  ),
)


def load(split: str) -> Source:
  """Returns 'train' (60,000 images) or 'test' (10,000), see `_tfds.load`."""
  return _tfds.load('fashion_mnist', split, SPEC)
