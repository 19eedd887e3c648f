"""SVHN: 99,289 house number digits, 32x32 colour. Netzer et al. 2011, NIPS-W.

TFDS's `svhn_cropped`, the format 2 of its authors. The 531,131 easier images of
`extra` are prepared with the others, as TFDS does, and not used here.
"""

import pathlib

from bnresearch.data import Arrays, Spec, _prepare

FILES = tuple(f'{part}_32x32.mat' for part in ('train', 'test', 'extra'))
_ORIGINALS = _prepare.Originals('svhn', FILES, tfds_name='svhn_cropped')


def spec() -> Spec:
  """Returns what it holds."""
  examples = {'train': 73_257, 'test': 26_032}
  return Spec((32, 32, 3), tuple('0123456789'), examples)


def load(split: str) -> Arrays:
  """Returns 'train' (73,257 images) or 'test' (26,032), see `_prepare.load`."""
  return _prepare.load(_ORIGINALS, split, spec())


def ready() -> str:
  """Returns '' if `load` finds its files, or else what is missing."""
  return _prepare.missing(_ORIGINALS)


def prepare(folder: str | pathlib.Path) -> pathlib.Path:
  """Makes it from the three original .mat files, see `_prepare.prepare`."""
  return _prepare.prepare(_ORIGINALS, folder)
