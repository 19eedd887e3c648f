"""Your own photographs: a folder of images per class, checked before training.

Either FOLDER/<class>/*, and a part of each class is held out; or FOLDER/train/
and FOLDER/val/ (or validation/, valid/, test/), each with a folder per class.
JPEG, PNG, WebP, GIF, BMP and TIFF, recognized by content, not by name.
"""

import dataclasses
import functools
import json
import logging
import os
from collections.abc import Mapping
from typing import Any

import numpy as np

from bnresearch.data import (
  SPLITS,
  DamagedData,
  MissingData,
  Spec,
  _folder,
  _folder_check,
  _folder_report,
  digest_of,
)
from bnresearch.data._folder_report import shown
from bnresearch.data._folder_split import divided, unfit
from bnresearch.images import decoding
from bnresearch.paths import local


@dataclasses.dataclass(frozen=True)
class Files:
  """A source whose images are decoded from their files on access.

  Attributes:
    folder: the data folder.
    paths: paths of the N images, relative to it.
    labels_N: int32, indices into `class_names`.
    class_names: the K classes, sorted.
    notes: what was found, see `load`.
    detail: see `decoding.decode`.
  """

  folder: str
  paths: tuple[str, ...]
  labels_N: np.ndarray
  class_names: tuple[str, ...]
  notes: Mapping[str, Any]
  detail: int = 0

  def __len__(self) -> int:
    return len(self.paths)

  @functools.cached_property
  def digest(self) -> str:
    """A digest of paths, labels, and the contents of all files, both splits."""
    text = json.dumps([self.paths, self.labels_N.tolist()])
    return digest_of(text.encode(), self.notes['contents'].encode())

  def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
    """Returns (image uint8 (H, W, 3) RGB, label).

    Raises:
      DamagedData: the file has changed since it was checked.
    """
    path = os.path.join(self.folder, self.paths[index])
    try:
      with open(path, 'rb') as file:
        image_HWC = decoding.decode(file.read(), self.detail)
    except (OSError, decoding.Unreadable) as error:
      why = _folder.why(error) if isinstance(error, OSError) else error
      raise DamagedData(
        f'{shown(path)} was in order when it was checked, and is no longer: '
        f'{why}. Restore it, or start again: then it is checked anew.'
      ) from error
    return image_HWC, int(self.labels_N[index])


def spec(
  *,
  folder: str = '',
  image_size: int = 224,
  validation: float = 0.1,
  split_seed: int = 0,
  skip_bad: bool = False,
  follow_links: bool = False,
) -> Spec:
  """Returns the folder's spec, after the check of `load`.

  Args:
    folder: see `load`, also for the other arguments and the errors.
    image_size: height and width of the network's input, in pixels.
  """
  found = _scan(
    _absolute(folder), validation, split_seed, skip_bad, follow_links
  )
  examples = {split: len(files) for split, files in found.items()}
  names = found['train'].class_names
  return Spec((image_size, image_size, 3), names, examples)


def load(
  split: str,
  *,
  folder: str = '',
  image_size: int = 224,
  validation: float = 0.1,
  split_seed: int = 0,
  skip_bad: bool = False,
  follow_links: bool = False,
) -> Files:
  """Returns the split 'train' or 'test', after a check of every file.

  The check decodes each file once, and does not read a known file again. Its
  findings are in the source's notes, and 'train' also warns of them: `files` of
  each split and class, `skipped` and `converted` ones, `duplicates`, `hidden`
  and `unused` ones, and the `digest` of each split's list of images.

  Args:
    split: see above.
    folder: see this module.
    image_size: height and width of the network's input, in pixels; larger
      images are decoded at a reduced size.
    validation: fraction of each class to hold out if there is no val/, rounded
      down to at least one image.
    split_seed: chooses the held-out images.
    skip_bad: whether to train without the files that cannot be trained on.
    follow_links: whether links may lead out of the folder.

  Raises:
    MissingData: the folder does not exist, or is empty.
    DamagedData: something cannot be trained on, and the message lists it all;
      or fewer than two classes are left.
  """
  found = _scan(
    _absolute(folder), validation, split_seed, skip_bad, follow_links
  )
  notices = _folder_report.notices(found[split].notes)
  if split == 'train' and notices:
    _warn('\n  '.join([f'Images of {shown(found[split].folder)}:', *notices]))
  detail = decoding.DETAIL * image_size
  return dataclasses.replace(found[split], detail=detail)


@functools.cache  # says each text once
def _warn(text):
  logging.warning('%s', text)


def _absolute(folder):
  if not folder:
    raise MissingData(
      'data.folder is empty: set it to a folder with one folder of images for '
      'each class, or with train/ and val/ that hold these.'
    )
  return str(local(folder).absolute())


@functools.lru_cache(maxsize=4)
def _scan(folder, validation, split_seed, skip_bad, follow_links):
  """Returns the `Files` of each split; raises as `load`."""
  listing = _folder.find(folder, follow_links=follow_links)
  listed = [file for files in listing.files.values() for file in files]
  verdicts = _folder_check.verdicts(folder, listed)
  good = {
    place: [f.path for f in files if not verdicts[f.path].problem]
    for place, files in listing.files.items()
  }
  if not listing.parts:
    # Without the bad files, so that skipping and removing them split the
    # others alike.
    good = divided(good, validation, split_seed)
  names = sorted({name for _, name in good})
  whole = tuple(n for n in names if all(good.get((s, n)) for s in SPLITS))
  problems = [
    *listing.problems,
    *((v.problem, path) for path, v in verdicts.items() if v.problem),
    *(why for n in names if n not in whole for why in unfit(n, good, listing)),
  ]
  _refuse(folder, whole, problems, skip_bad)

  problems += [
    ('of a class that is left out', path)
    for (_, name), paths in good.items()
    if name not in whole
    for path in paths
  ]
  used = {split: {n: good[split, n] for n in whole} for split in SPLITS}
  notes = _folder_report.record(folder, listing, used, verdicts, problems)
  notes |= {'digest': _digest(used), 'contents': _contents(used, verdicts)}
  if not listing.parts:
    notes |= {'validation': validation, 'split_seed': split_seed}
  return {s: _files(folder, of_class, notes) for s, of_class in used.items()}


def _refuse(folder, whole, problems, skip_bad):
  """Raises DamagedData if training cannot or should not begin."""
  text = _folder_report.refusal(folder, problems, may_skip=len(whole) > 1)
  if len(whole) < 2:
    K = f'{len(whole)} ({shown(whole[0])})' if whole else 'none'
    raise DamagedData(
      f'{shown(folder)} needs at least 2 classes with images in both splits, '
      f'and has {K}.\n{text}'.rstrip()
    )
  if text and not skip_bad:
    raise DamagedData(text)


def _files(folder, of_class, notes):
  """Returns a split, shuffled so that batches in order mix the classes."""
  paths = [path for paths in of_class.values() for path in paths]
  sizes = [len(paths) for paths in of_class.values()]
  labels_N = np.repeat(np.arange(len(sizes), dtype=np.int32), sizes)
  order = np.random.RandomState(0).permutation(len(paths))
  mixed = tuple(paths[n] for n in order)
  names = tuple(map(shown, of_class))
  return Files(folder, mixed, labels_N[order], names, notes)


def _digest(used):
  """Returns a digest of each split's and class's list of images."""
  text = json.dumps([[s, list(of.items())] for s, of in used.items()])
  return digest_of(text.encode())


def _contents(used, verdicts):
  """Returns a digest of the files' contents, as they were when read."""
  paths = sorted(path for *_, path in _folder_report.each(used))
  return digest_of(*(verdicts[path].digest.encode() for path in paths))
