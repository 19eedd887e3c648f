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
has none, 'validation'.
"""

import re

from bnresearch.data import MissingData, Spec, _records, _tfds

_NAME = re.compile(r'\w+(/\w[\w.-]*)?(:\d+\.\d+\.\d+)?')


def spec(*, tfds_name: str, image_size: int = 224) -> Spec:
  """Returns what the prepared data set holds.

  Args:
    tfds_name: its name in TFDS, as 'oxford_flowers102' or 'name/config'; both
      may have a version, as 'name:1.0.0'.
    image_size: height and width of the images that a network gets, in pixels.

  Raises:
    MissingData: it is not prepared, or that is no name.
    DamagedData: it is no set of images with one class each.
  """
  labelled = _records.labelled(_folder(tfds_name))
  own = {split: _split(labelled, split) for split in ('train', 'test')}
  examples = {s: labelled.examples.get(name, 0) for s, name in own.items()}
  return Spec((image_size, image_size, 3), labelled.class_names, examples)


def load(
  split: str, *, tfds_name: str, image_size: int = 224
) -> _records.Records:
  """Returns 'train' or 'test'.

  Args:
    split: which.
    tfds_name: see `spec`.
    image_size: see there; larger images are decoded smaller.

  Raises:
    MissingData: it is not prepared, has no such split, or that is no name.
    DamagedData: it is no set of images with one class each, or not whole.
  """
  folder = _folder(tfds_name)
  labelled = _records.labelled(folder)
  return _records.load(folder, _split(labelled, split), labelled, image_size)


def ready(tfds_name: str = '') -> str:
  """Returns '' if the data set, by default any one, is prepared, or a line."""
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


def _split(labelled, split):
  """Returns TFDS's name of a split."""
  if split == 'test' and not labelled.examples.get('test'):
    return 'validation'
  return split
