"""ImageNet: 1.3 million photographs of all sizes. Russakovsky 2015, 1409.0575.

This module only reads array_record files in `$TFDS_DATA_DIR`. To prepare them,
get the two archives ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from
image-net.org and, where TensorFlow is installed, run

  tfds build imagenet2012 --file_format=array_record \
      --manual_dir=FOLDER_OF_THE_ARCHIVES --data_dir=FOLDER

(The command needs `pip install tensorflow tensorflow-datasets apache-beam
mlcroissant`. You can copy the folder that it makes.) The subsets are those of
SimCLR, Chen et al. 2020, 2002.05709; their lists of files come over the
network:

  tfds build imagenet2012_subset/1pct --file_format=array_record \
      --manual_dir=FOLDER_OF_THE_ARCHIVES --data_dir=FOLDER

and likewise imagenet2012_subset/10pct. This adds array_record to data that was
prepared as tfrecord:

  tfds convert_format --dataset_version_dir=FOLDER/imagenet2012/5.1.0 \
      --out_file_format=array_record

The test split is the challenge's 50,000 validation images: the labels of its
test images were never published.
"""

import functools
import importlib.util
import pathlib

from bnresearch.data import Spec, _records, _tfds

_TRAIN = {'all': 1_281_167, '10pct': 128_116, '1pct': 12_811}
_SPLITS = {'train': 'train', 'test': 'validation'}
_ARCHIVES = (
  ' --manual_dir=FOLDER, which holds ILSVRC2012_img_train.tar and '
  'ILSVRC2012_img_val.tar.'
)


def spec(*, subset: str = 'all', image_size: int = 224) -> Spec:
  """Returns the spec; class names are WordNet's numbers, such as n01440764.

  Args:
    subset: of the training images, 'all', '10pct' or '1pct'.
    image_size: height and width of the network's input, in pixels.
  """
  examples = {'train': _TRAIN[subset], 'test': 50_000}
  return Spec((image_size, image_size, 3), _class_names(), examples)


def load(
  split: str, *, subset: str = 'all', image_size: int = 224
) -> _records.Records:
  """Returns 'train' or 'test', the challenge's validation split.

  Args:
    split: 'train' or 'test'.
    subset: see `spec`.
    image_size: see `spec`; larger images are decoded at a reduced size.

  Raises:
    MissingData: it is not prepared, or lacks this split.
    DamagedData: its files are incomplete.
  """
  folder = _records.find(_name(subset), _ARCHIVES)
  labelled = _records.labelled(folder)
  return _records.load(folder, _SPLITS[split], labelled, image_size)


def ready(subset: str = 'all') -> str:
  """Returns '' if it is prepared, or a line that says where it is missing."""
  return _tfds.missing(_name(subset))


def _name(subset):
  """Returns TFDS's name."""
  return 'imagenet2012' if subset == 'all' else f'imagenet2012_subset/{subset}'


@functools.cache
def _class_names():
  """Reads the classes from TFDS's package, without importing it."""
  package = importlib.util.find_spec('tensorflow_datasets').origin
  file = pathlib.Path(package).parent / 'datasets/imagenet2012/labels.txt'
  return tuple(file.read_text().split())
