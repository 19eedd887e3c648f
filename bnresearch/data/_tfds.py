"""The MNIST family through TFDS, without TensorFlow.

Reads what TFDS has prepared as array_record. Where nothing is prepared, the
four original idx files are, once, into the standard layout that stock
`tfds.data_source` reads.
"""

import contextlib
import gzip
import json
import os
import pathlib
import sys
import types

import filelock
import numpy as np
import platformdirs

from bnresearch.data import Arrays, DamagedData, MissingData, Spec

IDX_FILES = tuple(
  f'{part}-{kind}-ubyte.gz'
  for part in ('train', 't10k')
  for kind in ('images-idx3', 'labels-idx1')
)


def load(name: str, split: str, spec: Spec) -> Arrays:
  """Returns a split of the TFDS data set `name`, prepared if need be.

  Prepared data is sought in `$TFDS_DATA_DIR` (default `~/tensorflow_datasets`)
  and idx files in `$BNRESEARCH_DATA_DIR/<name>/`. Decoding 60,000 PNG images
  takes about 7 s, so the arrays are kept in the user's cache folder.

  Raises:
    MissingData: neither is there. Nothing is downloaded.
    DamagedData: an idx file is not the original one (sha256).
  """
  tfds_dir = pathlib.Path(
    os.environ.get('TFDS_DATA_DIR', '~/tensorflow_datasets')
  ).expanduser()
  version_dir = _prepared(name, tfds_dir) or _prepare(name, tfds_dir)
  images_NHWC, labels_N = _read(name, split, version_dir)
  return Arrays(images_NHWC, labels_N, spec.class_names)


def _read(name, split, version_dir):
  """Reads a split by `tfds.data_source`, or the arrays that this once gave."""
  info = version_dir / 'dataset_info.json'
  stamp = f'{name}-{version_dir.name}-{split}-{info.stat().st_mtime_ns}.npz'
  cache = platformdirs.user_cache_path('bnresearch') / stamp
  if cache.exists():
    with np.load(cache) as arrays:
      return arrays['images'], arrays['labels']

  with _tfds() as tfds:
    records = tfds.data_source(
      name, split=split, data_dir=version_dir.parents[1], download=False
    )
    rows = records.__getitems__(range(len(records)))
  images_NHWC = np.stack([row['image'] for row in rows])
  labels_N = np.asarray([row['label'] for row in rows], np.int32)
  cache.parent.mkdir(parents=True, exist_ok=True)
  partial = cache.with_name(f'{os.getpid()}-{cache.name}')
  np.savez(partial, images=images_NHWC, labels=labels_N)
  partial.replace(cache)
  return images_NHWC, labels_N


def _prepared(name, tfds_dir):
  """Returns the folder of the newest prepared version, or None.

  Raises:
    MissingData: it is prepared, but not for random access.
  """
  # Not `incomplete.ABC_3.0.1`, which a preparation that was ended leaves.
  infos = sorted(tfds_dir.glob(f'{name}/[0-9]*/dataset_info.json'))
  if not infos:
    return None
  file_format = json.loads(infos[-1].read_text()).get('fileFormat')
  if file_format != 'array_record':
    raise MissingData(
      f'{infos[-1].parent} is prepared as {file_format}, which cannot be read '
      'at random: prepare it as array_record, or set TFDS_DATA_DIR to another '
      'folder.'
    )
  return infos[-1].parent


def _prepare(name, tfds_dir):
  """Makes the TFDS layout from idx files; returns its folder."""
  originals = os.environ.get('BNRESEARCH_DATA_DIR', '')
  folder = pathlib.Path(originals, name)
  if not originals or not all((folder / f).exists() for f in IDX_FILES):
    raise MissingData(
      f'{name} is not here: either prepare it with TFDS as array_record in '
      f'{tfds_dir} (TFDS_DATA_DIR), or set BNRESEARCH_DATA_DIR (now '
      f'{originals!r}) to a folder that holds {name}/ with the four original '
      f'files {", ".join(IDX_FILES)}.'
    )
  tfds_dir.mkdir(parents=True, exist_ok=True)
  with filelock.FileLock(tfds_dir / f'.{name}.lock'):
    if not _prepared(name, tfds_dir):
      _run_builder(name, tfds_dir, folder)
  return _prepared(name, tfds_dir)


def _run_builder(name, tfds_dir, folder):
  """Runs the stock TFDS builder, but for the two steps that use TensorFlow."""
  from PIL import Image

  with _tfds() as tfds:
    stock = tfds.core.load.builder_cls(name)
    with tfds.core.registered.skip_registration():

      class FromIdx(stock):
        """Unpacks the files itself and hands over images, not arrays."""

        def _split_generators(self, dl_manager):
          unpacked_later = types.SimpleNamespace(
            download_and_extract=dl_manager.download
          )
          return super()._split_generators(unpacked_later)

        def _generate_examples(self, num_examples, data_path, label_path):
          images_NHW = _read_idx(data_path, 16).reshape(num_examples, 28, 28)
          labels_N = _read_idx(label_path, 8)
          for i, (image_HW, label) in enumerate(zip(images_NHW, labels_N)):
            yield i, {'image': Image.fromarray(image_HW), 'label': int(label)}

    FromIdx.name = name
    download_manager = tfds.core.download.download_manager
    builder = FromIdx(data_dir=tfds_dir, file_format='array_record')
    try:
      builder.download_and_prepare(
        download_config=tfds.download.DownloadConfig(manual_dir=folder)
      )
    except download_manager.NonMatchingChecksumError as error:
      raise DamagedData(
        f'A file of {folder} is not the original one: {error}'
      ) from error


@contextlib.contextmanager
def _tfds():
  """Imports TFDS (2 s) where TensorFlow may be blocked.

  `sys.modules['tensorflow'] = None` makes every import of it fail; TFDS takes
  the entry for a loaded TensorFlow, so it must not see it.
  """
  blocked = sys.modules.get('tensorflow', ...) is None
  if blocked:
    del sys.modules['tensorflow']
  try:
    import tensorflow_datasets

    yield tensorflow_datasets
  finally:
    if blocked:
      sys.modules['tensorflow'] = None


def _read_idx(path, header_bytes):
  with gzip.open(path) as file:
    return np.frombuffer(file.read(), np.uint8, offset=header_bytes)
