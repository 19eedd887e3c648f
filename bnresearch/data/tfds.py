"""Any image classification data set of TFDS, tensorflow.org/datasets, by name.

This module only reads array_record files in `$TFDS_DATA_DIR`. Prepare them on a
machine with TensorFlow and a network connection:

  tfds build oxford_flowers102 --file_format=array_record --data_dir=FOLDER

(The command needs `pip install tensorflow tensorflow-datasets apache-beam
mlcroissant`. You can copy the folder that it makes.) This adds array_record to
data that was prepared as tfrecord:

  tfds convert_format --dataset_version_dir=FOLDER/oxford_flowers102/2.1.1 \
      --out_file_format=array_record

The training split is TFDS's 'train'. The test split is its 'test', or else its
'validation', or else a held-out part of 'train'.
"""

import re

import numpy as np

from bnresearch.data import (
  SPLITS,
  MissingData,
  Spec,
  _records,
  _tfds,
  count_of,
)

_NAME = re.compile(r'\w+(/\w[\w.-]*)?(:\d+\.\d+\.\d+)?')


def spec(
  *,
  tfds_name: str,
  image_size: int = 224,
  validation: float = 0.1,
  split_seed: int = 0,
) -> Spec:
  """Returns what the prepared data set holds.

  Args:
    tfds_name: its name in TFDS, such as 'oxford_flowers102' or 'name/config',
      with an optional version, such as 'name:1.0.0'.
    image_size: height and width of the network's input, in pixels.
    validation: the fraction to hold out if TFDS has only one split.
    split_seed: chooses the held-out examples.

  Raises:
    MissingData: it is not prepared, or the name is malformed.
    DamagedData: it is no data set of images with one class each.
  """
  labelled = _records.labelled(_folder(tfds_name))
  examples = {}
  for split in SPLITS:
    name, numbers = _part(labelled, split, validation, split_seed)
    whole = labelled.examples.get(name, 0)
    examples[split] = whole if numbers is None else len(numbers)
  return Spec((image_size, image_size, 3), labelled.class_names, examples)


def load(
  split: str,
  *,
  tfds_name: str,
  image_size: int = 224,
  validation: float = 0.1,
  split_seed: int = 0,
) -> _records.Records:
  """Returns the split 'train' or 'test'.

  Args:
    split: 'train' or 'test'.
    tfds_name: see `spec`.
    image_size: see `spec`; larger images are decoded at a reduced size.
    validation: see `spec`.
    split_seed: see `spec`.

  Raises:
    MissingData: it is not prepared, lacks the split, or the name is malformed.
    DamagedData: it is no data set of images with one class each, or incomplete.
  """
  folder = _folder(tfds_name)
  labelled = _records.labelled(folder)
  name, numbers = _part(labelled, split, validation, split_seed)
  return _records.load(folder, name, labelled, image_size, numbers)


def ready(tfds_name: str = '') -> str:
  """Returns '' if the data set, by default any, is prepared, or a line."""
  if tfds_name:
    return _tfds.missing(tfds_name)
  if _tfds.names():
    return ''
  return f'Nothing is prepared as {_tfds.FORMAT} in {_tfds.root()}.'


def _folder(tfds_name):
  if not _NAME.fullmatch(tfds_name):
    raise MissingData(
      f'data.tfds_name = {tfds_name!r}: needs the name of a TFDS data set, as '
      "'oxford_flowers102', 'name/config' or 'name:1.0.0'."
    )
  return _records.find(tfds_name, preparation='')


def _part(labelled, split, validation, split_seed):
  """Returns TFDS's name of a split, and indices in it; None for all."""
  others = [n for n in ('test', 'validation') if labelled.examples.get(n)]
  if others:
    return (others[0] if split == 'test' else split), None
  N = labelled.examples.get('train', 0)
  order = np.random.RandomState(split_seed).permutation(N)
  count = count_of(N, validation)
  return 'train', order[:count] if split == 'test' else order[count:]
