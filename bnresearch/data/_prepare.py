"""Makes the TFDS layout of a data set from its original files, once.

The stock TFDS builder does the work, with its own version and sha256 of each
file, except for three things that need TensorFlow: unpacking archives, opening
files, and encoding arrays as PNG. Stock `tfds.data_source` reads the result.
"""

import contextlib
import gzip
import io
import os
import pathlib
import shutil
import sys
import tarfile
import tempfile
import types
from typing import NamedTuple

import filelock

from bnresearch import paths
from bnresearch.data import Arrays, DamagedData, MissingData, Spec, _tfds
from bnresearch.terminal import say


class Originals(NamedTuple):
  """A data set that is made from its original files.

  Its methods become functions of the data set's file, see `bnresearch/data`.

  Attributes:
    name: name of the data set here, and of its folder in
      `$BNRESEARCH_DATA_DIR`.
    files: names of the original files.
    spec: the data set's spec.
    tfds_name: the data set's name in TFDS.
  """

  name: str
  files: tuple[str, ...]
  spec: Spec
  tfds_name: str

  def load(self, split: str) -> Arrays:
    """Returns a split; prepares it from the original files if necessary.

    Looks for prepared data in `$TFDS_DATA_DIR` (default
    `~/tensorflow_datasets`), and for original files in
    `$BNRESEARCH_DATA_DIR/<name>/`.

    Raises:
      MissingData: there are neither. Nothing is downloaded.
      DamagedData: an original file has the wrong sha256.
    """
    folder = _tfds.prepared(self.tfds_name)
    if not folder:
      if problem := self.ready():
        raise MissingData(problem)
      folder = _make(self, _default_folder(self))
    return _tfds.arrays(folder, split, self.spec)

  def ready(self) -> str:
    """Returns '', or a line that says what `load` lacks, and where."""
    try:
      if _tfds.prepared(self.tfds_name):
        return ''
    except MissingData as error:
      return str(error)
    data_dir = os.environ.get('BNRESEARCH_DATA_DIR', '')
    absent = self.files
    if data_dir:
      absent = _absent(self, _default_folder(self))
    if not absent:
      return ''
    return (
      f'{self.name} is not here: either prepare {self.tfds_name} as '
      f'{_tfds.FORMAT} in {_tfds.root()} (TFDS_DATA_DIR), with TFDS or by '
      f'python -m bnresearch.data --prepare={self.name} --from=FOLDER, or set '
      f'BNRESEARCH_DATA_DIR (now {data_dir!r}) to a folder that holds '
      f'{self.name}/ with the original files; it lacks {", ".join(absent)}.'
    )

  def prepare(self, folder: str | pathlib.Path) -> pathlib.Path:
    """Makes the data set in `$TFDS_DATA_DIR`; returns its version's folder.

    If it is prepared already, says so and does nothing.

    Args:
      folder: where the original files are.

    Raises:
      MissingData: files are missing, or it is prepared in another format.
      DamagedData: a file has the wrong sha256.
    """
    if done := _tfds.prepared(self.tfds_name):
      say(f'{self.name} is prepared already, in {done}.', sys.stderr)
      return done
    folder = paths.local(folder)
    if absent := _absent(self, folder):
      raise MissingData(
        f'{folder} lacks {", ".join(absent)}: {self.name} is made from the '
        f'original {" and ".join(self.files)}.'
      )
    return _make(self, folder)


def _default_folder(originals):
  """Returns the folder where the original files should be."""
  data_dir = os.environ['BNRESEARCH_DATA_DIR']
  return paths.local(data_dir) / originals.name


def _absent(originals, folder):
  return [f for f in originals.files if not (folder / f).is_file()]


def _make(originals, folder):
  """Returns the prepared folder; only one of several processes makes it."""
  name, root = originals.tfds_name, _tfds.root()
  # Incomplete data is in folders incomplete.*, which nobody takes for data.
  unfinished = root / name
  homeless = str(root).startswith('~')
  why = 'is in no home.' if homeless else paths.unwritable_folder(unfinished)
  if why:
    raise MissingData(
      f'TFDS_DATA_DIR = {root}: {why} {originals.name} is prepared there '
      'once: set it to a folder that can be written.'
    )
  unfinished.mkdir(parents=True, exist_ok=True)
  with filelock.FileLock(root / f'.{name}.lock'):
    if not _tfds.prepared(name):
      for left in unfinished.glob('incomplete.*'):
        shutil.rmtree(left)
      say(f'Preparing {originals.name} in {root}, once.', sys.stderr)
      with tempfile.TemporaryDirectory(
        prefix='incomplete.', dir=unfinished
      ) as scratch:
        _run_builder(name, root, folder, pathlib.Path(scratch))
  return _tfds.prepared(name)


def _run_builder(name, root, folder, scratch):
  """Runs the stock builder of TFDS, except for what needs TensorFlow."""
  with _tfds.imported() as tfds:
    stock = tfds.builder_cls(name)
    builder = stock(data_dir=root, file_format=_tfds.FORMAT)
    splits, examples = builder._split_generators, builder._generate_examples
    builder._split_generators = lambda manager: splits(
      _Manager(manager, scratch)
    )
    builder._generate_examples = lambda *args, **options: _with_pil_images(
      examples(*args, **options)
    )
    config = tfds.download.DownloadConfig(
      manual_dir=folder,
      force_checksums_validation=True,
      try_download_gcs=False,
    )
    # It prints what was said already.
    hushed = contextlib.redirect_stdout(io.StringIO())
    manager = tfds.core.download.download_manager
    try:
      with _files_opened_without_tensorflow(stock), hushed:
        builder.download_and_prepare(
          download_dir=scratch, download_config=config
        )
    except manager.NonMatchingChecksumError as error:
      raise DamagedData(
        f'A file of {folder} is not the original one: {error}'
      ) from error


class _Manager:
  """TFDS's download manager, for a builder that finds its files in place."""

  def __init__(self, stock, scratch):
    self.download = stock.download  # from the folder, with its sha256 checked
    self._scratch = scratch

  def download_and_extract(self, urls):
    found = self.download(urls)
    if isinstance(found, dict):
      return {key: self._extracted(path) for key, path in found.items()}
    return self._extracted(found)

  def _extracted(self, path):
    """Unpacks NAME.tar.gz to a folder, and NAME.gz to a file."""
    target = self._scratch / path.stem
    if path.name.endswith('.tar.gz'):
      with tarfile.open(path) as archive:
        archive.extractall(target, filter='data')
    else:
      with gzip.open(path) as packed, target.open('wb') as file:
        shutil.copyfileobj(packed, file)
    return target


def _with_pil_images(examples):
  """Yields a builder's examples; TFDS has Pillow encode Pillow's images."""
  from PIL import Image

  for key, example in examples:
    image_HWC = example['image']
    grey = image_HWC.shape[-1] == 1
    image = Image.fromarray(image_HWC[..., 0] if grey else image_HWC)
    yield key, {**example, 'image': image}


@contextlib.contextmanager
def _files_opened_without_tensorflow(builder_cls):
  """Gives a builder's module the one function of TensorFlow that it uses."""
  module = sys.modules[builder_cls.__module__]
  gfile = types.SimpleNamespace(GFile=open)
  stand_in = types.SimpleNamespace(io=types.SimpleNamespace(gfile=gfile))
  stock, module.tf = module.tf, stand_in
  try:
    yield
  finally:
    module.tf = stock
