"""Reads data that TFDS prepared as array_record, without TensorFlow.

Folders, `<root>/<name>/[<config>/]<version>`, and files are TFDS's own: this
module reads what stock `tfds.data_source` reads.
"""

import contextlib
import json
import os
import pathlib
import re
import sys
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from bnresearch import paths
from bnresearch.data import Arrays, MissingData, Spec

FORMAT = 'array_record'
_DECODED_AT_ONCE = 1000  # records per step of the progress bar
_VERSION = re.compile(r'\d+\.\d+\.\d+')


def root() -> pathlib.Path:
  """Returns `$TFDS_DATA_DIR`, by default `~/tensorflow_datasets`."""
  folder = os.environ.get('TFDS_DATA_DIR') or '~/tensorflow_datasets'
  # Without a home the folder stays `~`, where nothing is found.
  return pathlib.Path(os.path.expanduser(folder))


def prepared(name: str) -> pathlib.Path | None:
  """Returns the folder of the newest prepared version, or None.

  Args:
    name: `name` or `name/config`, either with an optional `:version`.

  Raises:
    MissingData: it is prepared, but not for random access.
  """
  name, _, version = name.partition(':')
  found = [f for f in _versions(name) if version in ('', f.name)]
  if not found:
    return None
  folder = max(found, key=lambda f: tuple(map(int, f.name.split('.'))))
  formats = _formats(folder)
  if FORMAT not in formats:
    raise MissingData(
      f'{folder} is prepared as {", ".join(formats)}, which cannot be read at '
      f'random: prepare it as {FORMAT}, or convert it by tfds convert_format '
      f'--dataset_version_dir={folder} --out_file_format={FORMAT} (needs '
      'TensorFlow), or set TFDS_DATA_DIR to another folder.'
    )
  return folder


def _versions(names):
  """Returns the folders of all versions of a name or pattern.

  Leaves out `incomplete.ABC_3.0.1`, left by an interrupted preparation, and
  `1pct`, a config.
  """
  infos = root().glob(f'{names}/*/dataset_info.json')
  return [i.parent for i in infos if _VERSION.fullmatch(i.parent.name)]


def _formats(folder):
  """Returns the file formats in a prepared folder, the main one first."""
  info = description(folder)
  # TFDS leaves out the default.
  first = info.get('fileFormat') or 'tfrecord'
  return [first, *info.get('alternativeFileFormats', ())]


def names(within: str = '') -> list[str]:
  """Returns what is prepared for random access: name or name/config, sorted.

  Args:
    within: limits the list to this name and its configs.
  """
  found = _versions(within or '*') + _versions(f'{within or "*"}/*')
  there = {f.parent for f in found if FORMAT in _formats(f)}
  return sorted(f.relative_to(root()).as_posix() for f in there)


def missing(name: str) -> str:
  """Returns '', or a line that says that `name` is not prepared, and where.

  Args:
    name: as in `prepared`.
  """
  try:
    if prepared(name):
      return ''
  except MissingData as error:
    return str(error)
  others = ', '.join(names(within=re.split('[/:]', name)[0]))
  return (
    f'{name} is not here: it is not prepared as {FORMAT} in {root()} '
    f'(TFDS_DATA_DIR){f", only {others}" if others else ""}.'
  )


def description(folder: pathlib.Path) -> dict[str, Any]:
  """Returns `dataset_info.json` of a prepared folder."""
  return json.loads((folder / 'dataset_info.json').read_text())


def notes(folder: pathlib.Path, split: str) -> Mapping[str, Any]:
  """Returns what a run should record about data read from `folder`.

  Args:
    folder: a prepared folder.
    split: TFDS's name of the split.
  """
  info = description(folder)
  parts = info['name'], info.get('configName'), info['version']
  return {'tfds': '/'.join(filter(None, parts)), 'tfds_split': split}


def sizes(folder: pathlib.Path, split: str) -> Mapping[str, Any]:
  """Returns a split's bytes, and its number of examples in each file.

  Args:
    folder: a prepared folder.
    split: TFDS's name of the split.
  """
  splits = {part['name']: part for part in description(folder)['splits']}
  return {key: splits[split].get(key) for key in ('numBytes', 'shardLengths')}


def arrays(folder: pathlib.Path, split: str, spec: Spec) -> Arrays:
  """Returns a split in memory, whose images all have one size.

  Decoding 60,000 PNG images takes about 7 s, so the arrays are kept in the
  user's cache folder, if there is one.

  Args:
    folder: a prepared folder.
    split: TFDS's name of the split.
    spec: the data set's spec.

  Raises:
    DamagedData: a label is no index into the class names.
  """
  name = folder.parent.name
  info = folder / 'dataset_info.json'
  stamp = f'{name}-{folder.name}-{split}-{info.stat().st_mtime_ns}.npz'
  cache = paths.cache()
  kept = cache and _kept(cache / stamp)
  images_NHWC, labels_N = kept or _decoded(folder, split)
  if cache and not kept:
    _keep(cache / stamp, images_NHWC, labels_N)
  return Arrays(images_NHWC, labels_N, spec.class_names, notes(folder, split))


def _kept(file):
  """Returns the arrays of a file; None if it is missing or incomplete."""
  try:
    with file.open('rb') as opened, np.load(opened) as kept:
      return kept['images'], kept['labels']
  except (OSError, EOFError, ValueError, LookupError, zipfile.BadZipFile):
    return None


def _keep(file, images_NHWC, labels_N):
  # If the disk is full, only time is lost.
  with contextlib.suppress(OSError), paths.replacing(file) as partial:
    np.savez(partial, images=images_NHWC, labels=labels_N)


def _decoded(folder, split):
  """Returns all images and labels of a split; TFDS decodes them."""
  images, labels = [], []
  with imported() as tfds:
    builder = tfds.builder_from_directory(folder)
    records = builder.as_data_source(split, file_format=FORMAT)
    starts = range(0, len(records), _DECODED_AT_ONCE)
    title = f'Decoding {folder.parent.name}, {split}'
    for start in tfds.core.utils.tqdm(starts, desc=title, leave=False):
      end = min(start + _DECODED_AT_ONCE, len(records))
      rows = records.__getitems__(range(start, end))
      images += [row['image'] for row in rows]
      labels += [row['label'] for row in rows]
  return np.stack(images), np.asarray(labels, np.int32)


@contextlib.contextmanager
def imported():
  """Imports TFDS (2 s), even if TensorFlow is blocked.

  `sys.modules['tensorflow'] = None` makes every import of TensorFlow fail. TFDS
  would take that entry for a loaded TensorFlow, so it must not see it. TFDS
  shows its progress bars on terminals only.
  """
  blocked = sys.modules.get('tensorflow', ...) is None
  if blocked:
    del sys.modules['tensorflow']
  try:
    import tensorflow_datasets

    tensorflow_datasets.display_progress_bar(sys.stderr.isatty())
    yield tensorflow_datasets
  finally:
    if blocked:
      sys.modules['tensorflow'] = None
