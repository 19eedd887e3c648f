"""SVHN: 99,289 house number digits, 32x32 colour. Netzer et al. 2011, NIPS-W.

TFDS's `svhn_cropped`, format 2 of its authors. As in TFDS, the 531,131 easier
images of `extra` are prepared with the others, but they are not used here.
"""

from bnresearch.data import Spec, _prepare

FILES = tuple(f'{part}_32x32.mat' for part in ('train', 'test', 'extra'))


def spec() -> Spec:
  """Returns the data set's spec."""
  examples = {'train': 73_257, 'test': 26_032}
  return Spec((32, 32, 3), tuple('0123456789'), examples)


_ORIGINALS = _prepare.Originals('svhn', FILES, spec(), 'svhn_cropped')
load, ready, prepare = _ORIGINALS.load, _ORIGINALS.ready, _ORIGINALS.prepare
