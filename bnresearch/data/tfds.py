"""Any image classification set of TFDS, tensorflow.org/datasets, by its name.

It is only read here, from array_record files in `$TFDS_DATA_DIR`. Prepare it
where TensorFlow is installed, and where the network is:

  tfds build oxford_flowers102 --file_format=array_record --data_dir=FOLDER

(That command imports what `pip install tensorflow tensorflow-datasets
apache-beam mlcroissant` installs. A folder that it made can be copied.) What is
prepared as tfrecord becomes array_record, beside it, by

  tfds convert_format --dataset_version_dir=FOLDER/oxford_flowers102/2.1.1 \
      --out_file_format=array_record

The training split is TFDS's 'train', the test split its 'test' or, where it
has none, 'validation'; where it has neither, a part of 'train' is held out.
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
    tfds_name: its name in TFDS, as 'oxford_flowers102' or 'name/config'; both
      may have a version, as 'name:1.0.0'.
    image_size: height and width of the images that a network gets, in pixels.
    validation: the fraction that is held out where TFDS has one split only.
    split_seed: which examples these are.

  Raises:
    MissingData: it is not prepared, or that is no name.
    DamagedData: it is no set of images with one class each.
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
  """Returns 'train' or 'test'.

  Args:
    split: which.
    tfds_name: see `spec`.
    image_size: see there; larger images are decoded smaller.
    validation: see there.
    split_seed: see there.

  Raises:
    MissingData: it is not prepared, has no such split, or that is no name.
    DamagedData: it is no set of images with one class each, or not whole.
  """
  folder = _folder(tfds_name)
  labelled = _records.labelled(folder)
  name, numbers = _part(labelled, split, validation, split_seed)
  return _records.load(folder, name, labelled, image_size, numbers)


def ready(tfds_name: str = '') -> str:
  """Returns '' if the data set, or by default any, is prepared; or a line."""
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
  """Returns TFDS's name of a split, and which of its examples; None for all."""
  others = [n for n in ('test', 'validation') if labelled.examples.get(n)]
  if others:
    return (others[0] if split == 'test' else split), None
  N = labelled.examples.get('train', 0)
  order = np.random.RandomState(split_seed).permutation(N)
  count = count_of(N, validation)
  return 'train', order[:count] if split == 'test' else order[count:]
