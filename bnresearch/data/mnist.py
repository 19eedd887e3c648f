"""MNIST: 70,000 handwritten digits, 28x28 grey. LeCun, Cortes & Burges 1998."""

from bnresearch.data import Spec, _prepare

FILES = tuple(
  f'{part}-{kind}-ubyte.gz'
  for part in ('train', 't10k')
  for kind in ('images-idx3', 'labels-idx1')
)


def spec() -> Spec:
  """Returns the data set's spec."""
  examples = {'train': 60_000, 'test': 10_000}
  return Spec((28, 28, 1), tuple('0123456789'), examples)


_ORIGINALS = _prepare.Originals('mnist', FILES, spec(), 'mnist')
load, ready, prepare = _ORIGINALS.load, _ORIGINALS.ready, _ORIGINALS.prepare
