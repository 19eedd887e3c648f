"""A prepared TFDS data set of images of any size, with random access on disk.

The files hold the original images, mostly JPEG; TFDS returns their bytes and
`images/decoding.py` decodes them.
"""

import dataclasses
import functools
import json
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from bnresearch.data import DamagedData, MissingData, _tfds, digest_of
from bnresearch.images import decoding

# Examples that the digest reads; a million would take an hour.
_READ = 64


class Labelled(NamedTuple):
  """The images and labels of a prepared folder.

  Attributes:
    image: name of the image feature.
    label: name of the class feature.
    class_names: the K classes.
    examples: the number in each split, by TFDS's name of it.
  """

  image: str
  label: str
  class_names: tuple[str, ...]
  examples: Mapping[str, int]


@dataclasses.dataclass(frozen=True)
class Records:
  """A source on disk. It pickles without open files; the receiver opens them.

  Attributes:
    folder: a prepared version's folder.
    split: TFDS's name of the split.
    labelled: what is in the folder.
    notes: see `Source`.
    detail: see `decoding.decode`.
    numbers: indices of these examples in TFDS's split; None for all.
  """

  folder: pathlib.Path
  split: str
  labelled: Labelled
  notes: Mapping[str, Any]
  detail: int = 0
  numbers: np.ndarray | None = None

  def __getstate__(self):
    return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

  def __len__(self) -> int:
    if self.numbers is not None:
      return len(self.numbers)
    return self.labelled.examples[self.split]

  def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
    if not 0 <= index < len(self):
      raise IndexError(f'{index}: {self._place} has {len(self):,} examples.')
    if self.numbers is not None:
      index = self.numbers[index]
    row = self._rows[int(index)]
    label, K = int(row[self.labelled.label]), len(self.class_names)
    if not 0 <= label < K:
      raise DamagedData(
        f'Example {index} of {self._place} has label {label}: those of {K} '
        f'classes are 0 to {K - 1}.'
      )
    try:
      return decoding.decode(row[self.labelled.image], self.detail), label
    except decoding.Unreadable as error:
      raise DamagedData(
        f'Example {index} of {self._place}: {error}.'
      ) from error

  @property
  def class_names(self) -> tuple[str, ...]:
    return self.labelled.class_names

  @functools.cached_property
  def digest(self) -> str:
    """A digest of name, version, sizes, and some examples as stored."""
    sizes = _tfds.sizes(self.folder, self.split)
    parts = [json.dumps([self.notes, sizes], sort_keys=True).encode()]
    N = len(self)
    numbers = np.arange(N) if self.numbers is None else self.numbers
    parts.append(np.asarray(numbers, '<i8'))
    for index in np.linspace(0, N - 1, min(N, _READ)).round().astype(int):
      row = self._rows[int(numbers[index])]
      parts.append(f'{row[self.labelled.label]} '.encode())
      parts.append(row[self.labelled.image])
    return digest_of(*parts)

  @property
  def _place(self):
    return f'split {self.split!r} of {self.folder}'

  @functools.cached_property
  def _rows(self):
    """The open files; several threads may open them at the same time."""
    with _tfds.imported() as tfds:
      builder = tfds.builder_from_directory(self.folder)
      as_stored = {
        name: tfds.decode.SkipDecoding()
        for name, feature in builder.info.features.items()
        if isinstance(feature, tfds.features.Image)
      }
      rows = builder.as_data_source(
        self.split, decoders=as_stored, file_format=_tfds.FORMAT
      )
      # TFDS opens each file only when it first reads from it.
      files = builder.info.splits[self.split].filepaths
      if absent := [f.name for f in files if not f.exists()]:
        raise DamagedData(
          f'{self._place} lacks {len(absent)} of its {len(files)} files, the '
          f'first one {absent[0]}.'
        )
      return rows


def find(name: str, preparation: str) -> pathlib.Path:
  """Returns the folder of the prepared data set `name`.

  Args:
    name: as in `_tfds.prepared`.
    preparation: options of `tfds build` that it needs besides the common ones.

  Raises:
    MissingData: it is not prepared; the second line says how to.
  """
  folder = _tfds.prepared(name)
  if not folder:
    options = f'--file_format={_tfds.FORMAT} --data_dir={_tfds.root()}'
    raise MissingData(
      f'{_tfds.missing(name)}\n'
      f'Where TensorFlow is installed: tfds build {name} {options}{preparation}'
    )
  return folder


def load(
  folder: pathlib.Path,
  split: str,
  labelled: Labelled,
  image_size: int,
  numbers: np.ndarray | None = None,
) -> Records:
  """Returns a split of a prepared folder, after reading one of its examples.

  Args:
    folder: a prepared version's folder.
    split: TFDS's name of the split.
    labelled: what is in the folder.
    image_size: height and width of the network's input, in pixels.
    numbers: indices of the examples; None for all.

  Raises:
    MissingData: there is no such split.
    DamagedData: files are missing, or the first example is no image.
  """
  if not labelled.examples.get(split):
    known = ', '.join(labelled.examples)
    raise MissingData(f'{folder} has no split {split!r}, only {known}.')
  notes, detail = _tfds.notes(folder, split), decoding.DETAIL * image_size
  records = Records(folder, split, labelled, notes, detail, numbers)
  records[0]
  return records


def labelled(folder: pathlib.Path) -> Labelled:
  """Returns what a prepared folder holds, without importing TFDS.

  Raises:
    DamagedData: it is no data set of images with one class each.
  """
  info = _tfds.description(folder)
  content = json.loads((folder / 'features.json').read_text())
  features = content.get('featuresDict', {}).get('features', {})
  for image, label in (*_supervised(info), ('image', 'label')):
    kind = features.get(image, {}).get('image', {})
    if kind.get('dtype') == 'uint8' and 'classLabel' in features.get(label, {}):
      names = _class_names(folder, label, features[label]['classLabel'])
      return Labelled(image, label, names, _examples(info))
  kinds = ', '.join(
    f'{name} ({feature.get("pythonClassName", "?").rpartition(".")[2]})'
    for name, feature in features.items()
  )
  raise DamagedData(
    f'{folder} is no set of images with one class each: it needs the features '
    f"'image' (Image, uint8) and 'label' (ClassLabel), or supervised keys that "
    f'are such; it has {kinds or "no dictionary of features"}.'
  )


def _supervised(info):
  """Yields the keys of image and label, if TFDS declares them."""
  items = info.get('supervisedKeys', {}).get('tuple', {}).get('items', ())
  keys = [item.get('featureKey') for item in items]
  if len(keys) == 2 and all(keys):
    yield tuple(keys)


def _class_names(folder, label, feature):
  """Returns the names that TFDS wrote next to the data, or numbers."""
  file = folder / f'{label}.labels.txt'
  if file.exists():
    return tuple(file.read_text(encoding='utf-8').splitlines())
  return tuple(map(str, range(int(feature['numClasses']))))


def _examples(info):
  """Returns the number of examples in each split."""
  return {
    split['name']: sum(map(int, split.get('shardLengths', ())))
    for split in info['splits']
  }
