"""Data sets that are made for TFDS, from their original files."""

import gzip
import hashlib
import inspect
import io
import json
import os
import pathlib
import signal
import subprocess
import sys
import tarfile
import time

import numpy as np
import pytest
import scipy.io

from bnresearch import data, lookup
from bnresearch.data import _tfds, cifar10, mnist

ROOT = pathlib.Path(__file__).parents[1]
IDX = ('mnist', 'fashion_mnist')
SMALL = ('cifar10', 'cifar100', 'svhn')
STOCK_NAMES = {'svhn': 'svhn_cropped'}  # where it is not ours


def digest(images, labels):
  """Returns the same for the same pairs of image and label, in any order."""
  pairs = sorted(
    bytes([label]) + np.asarray(image, np.uint8).tobytes()
    for image, label in zip(images, labels)
  )
  return [len(pairs), hashlib.blake2b(b''.join(pairs)).hexdigest()]


STOCK_READER = f"""
import hashlib, json, sys
import numpy as np
import tensorflow_datasets as tfds

{inspect.getsource(digest)}
data_dir, *names = sys.argv[1:]
result = {{}}
for name in names:
  for split in ('train', 'test'):
    source = tfds.data_source(
      name, split=split, data_dir=data_dir, download=False
    )
    rows = source.__getitems__(range(len(source)))
    images, labels = ([row[key] for row in rows] for key in ('image', 'label'))
    result[name + ' ' + split] = digest(images, labels)
assert 'tensorflow' not in sys.modules
print(json.dumps(result))
"""


def run(program, *arguments):
  return subprocess.run(
    [sys.executable, '-c', program, *map(str, arguments)],
    capture_output=True,
    text=True,
    cwd=ROOT,
    timeout=120,
  )


def read_by_stock_tfds(data_dir, *names):
  done = run(STOCK_READER, data_dir, *names)
  assert done.returncode == 0, done.stderr
  return json.loads(done.stdout)


@pytest.fixture
def tfds_dir(tmp_path, monkeypatch):
  """An empty place for prepared data, and no place for original files."""
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'tfds'))
  monkeypatch.delenv('BNRESEARCH_DATA_DIR', raising=False)
  # Whatever imports TensorFlow fails, also where it is installed.
  monkeypatch.setitem(sys.modules, 'tensorflow', None)
  return tmp_path / 'tfds'


def files_in(folder):
  """Returns the files in a folder, but for locks."""
  return [f for f in folder.rglob('*.*') if f.is_file() and f.suffix != '.lock']


# MNIST and Fashion-MNIST, of the original files.


def idx(folder, part):
  """Reads the images and labels of an original part, 'train' or 't10k'."""
  with gzip.open(folder / f'{part}-images-idx3-ubyte.gz') as file:
    images = np.frombuffer(file.read(), np.uint8, offset=16)
  with gzip.open(folder / f'{part}-labels-idx1-ubyte.gz') as file:
    labels = np.frombuffer(file.read(), np.uint8, offset=8)
  return images.reshape(-1, 28, 28), labels


@pytest.mark.parametrize('name', IDX)
def test_all_that_was_prepared_is_as_in_the_original_files(name, originals):
  folder = originals(name)
  source = lookup.find('data', name).load('test')  # prepares it, if need be
  test = digest(*idx(folder, 't10k'))
  assert digest(source.images_NHWC, source.labels_N) == test
  assert read_by_stock_tfds(os.environ['TFDS_DATA_DIR'], name) == {
    f'{name} train': digest(*idx(folder, 'train')),
    f'{name} test': test,
  }


def test_missing_data_is_said_at_once_and_both_ways_to_get_it(tfds_dir):
  # Where nobody looks first, TFDS tries the network for minutes.
  program = 'from bnresearch.data import mnist; mnist.load("train")'

  began = time.monotonic()
  message = run(program).stderr.splitlines()[-1]
  assert message.startswith('bnresearch.data.MissingData: mnist is not here')
  assert f'{tfds_dir} (TFDS_DATA_DIR)' in message
  assert "BNRESEARCH_DATA_DIR (now '')" in message
  assert 'train-images-idx3-ubyte.gz' in message
  assert time.monotonic() - began < 60  # of a busy machine; it takes about 4
  assert not tfds_dir.exists()


def test_data_that_lacks_one_file_is_missing(tfds_dir, tmp_path, monkeypatch):
  (tmp_path / 'mnist').mkdir()
  for name in mnist.FILES[:3]:
    (tmp_path / 'mnist' / name).touch()
  monkeypatch.setenv('BNRESEARCH_DATA_DIR', str(tmp_path))
  lacks = 'lacks t10k-labels-idx1-ubyte.gz'
  with pytest.raises(data.MissingData, match=lacks):
    mnist.load('test')
  with pytest.raises(data.MissingData, match=lacks):
    mnist.prepare(tmp_path / 'mnist')
  assert lacks in mnist.ready()


def test_a_corrupted_file_is_refused_and_nothing_is_prepared(
  tmp_path, monkeypatch, originals
):
  original_files = list(originals('mnist').iterdir())
  monkeypatch.setenv('BNRESEARCH_DATA_DIR', str(tmp_path))
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'tfds'))
  (tmp_path / 'mnist').mkdir()
  for file in original_files:
    (tmp_path / 'mnist' / file.name).symlink_to(file)
  damage(tmp_path / 'mnist' / 't10k-labels-idx1-ubyte.gz')
  with pytest.raises(data.DamagedData, match='t10k-labels-idx1-ubyte'):
    mnist.load('test')
  assert files_in(tmp_path / 'tfds') == []


def damage(file):
  """Flips a bit."""
  content = bytearray(file.read_bytes())
  content[len(content) // 2] ^= 1
  file.unlink()  # it may be a link
  file.write_bytes(content)


# CIFAR and SVHN, of small files in the original formats.


def make_original(name, folder):
  """Writes a small data set; returns the images and labels of each split."""
  folder.mkdir()
  random, K = np.random.RandomState(0), 100 if name == 'cifar100' else 10
  held = {
    split: (
      random.randint(0, 256, (count, 32, 32, 3), np.uint8),
      random.randint(0, K, count, np.uint8),
    )
    for split, count in (('train', 20), ('test', 6), ('extra', 1))
  }
  if name == 'svhn':
    for split, (images, labels) in held.items():
      y = np.where(labels == 0, 10, labels)[:, None]
      content = {'X': np.moveaxis(images, 0, -1), 'y': y}
      scipy.io.savemat(folder / f'{split}_32x32.mat', content)
    return held
  rows = {
    # Channels before rows; CIFAR-100 has a coarse label, here 7, first.
    split: [
      bytes([7, label][K == 10 :]) + image.transpose(2, 0, 1).tobytes()
      for image, label in zip(images, labels)
    ]
    for split, (images, labels) in held.items()
  }
  names = '\n'.join(lookup.find('data', name).spec().class_names)
  if name == 'cifar10':
    inner, label_files = 'cifar-10-batches-bin', {'batches.meta.txt': names}
    files = {f'data_batch_{i + 1}.bin': rows['train'][i::5] for i in range(5)}
    files['test_batch.bin'] = rows['test']
  else:
    inner, label_files = 'cifar-100-binary', {'fine_label_names.txt': names}
    label_files['coarse_label_names.txt'] = '\n'.join('abcdefghijklmnopqrst')
    files = {f'{split}.bin': rows[split] for split in ('train', 'test')}
  with tarfile.open(folder / lookup.find('data', name).FILES[0], 'w:gz') as tar:
    files |= {file: [text.encode()] for file, text in label_files.items()}
    for file, parts in files.items():
      info = tarfile.TarInfo(f'{inner}/{file}')
      info.size = len(b''.join(parts))
      tar.addfile(info, io.BytesIO(b''.join(parts)))
  return held


def register(name, folder, set_attribute=setattr):
  """Makes TFDS expect the sizes and sha256 of the small files."""
  with _tfds.imported() as tfds:
    builder = tfds.builder_cls(STOCK_NAMES.get(name, name))
    compute = tfds.core.download.checksums.compute_url_info
    small = {
      url: compute(tfds.core.Path(folder) / info.filename)
      for url, info in builder.url_infos.items()
    }
    set_attribute(builder, 'url_infos', small)


def test_what_was_prepared_of_small_archives_is_read_by_stock_tfds(
  tfds_dir, tmp_path, monkeypatch, capsys
):
  monkeypatch.setenv('BNRESEARCH_DATA_DIR', str(tmp_path))
  expected = {}
  for name in SMALL:
    entry, folder = lookup.find('data', name), tmp_path / name
    held = make_original(name, folder)
    with monkeypatch.context() as patched:
      register(name, folder, patched.setattr)
      source = entry.load('train')
    assert digest(source.images_NHWC, source.labels_N) == digest(*held['train'])
    stock = STOCK_NAMES.get(name, name)
    assert source.notes['tfds'].startswith(f'{stock}/3.')
    for split in ('train', 'test'):
      expected[f'{stock} {split}'] = digest(*held[split])
    capsys.readouterr()
    prepared = entry.prepare(tmp_path / 'nowhere')
    assert f'prepared already, in {prepared}' in capsys.readouterr().err
    assert entry.ready() == ''
  names = (STOCK_NAMES.get(name, name) for name in SMALL)
  assert read_by_stock_tfds(tfds_dir, *names) == expected
  assert not list(tfds_dir.rglob('*incomplete*'))


@pytest.mark.parametrize('name', SMALL)
def test_a_damaged_archive_is_refused_and_nothing_is_left(
  name, tfds_dir, tmp_path, monkeypatch
):
  make_original(name, tmp_path / name)
  register(name, tmp_path / name, monkeypatch.setattr)
  file = lookup.find('data', name).FILES[0]
  damage(tmp_path / name / file)
  with pytest.raises(data.DamagedData, match=f'not the original .*{file}'):
    lookup.find('data', name).prepare(tmp_path / name)
  assert files_in(tfds_dir) == []


KILLED = """
import os, signal, sys
from PIL import Image
from bnresearch.data import cifar10
from tests.test_data_tfds import register

register('cifar10', sys.argv[1])
encodings, fromarray = [], Image.fromarray

def fromarray_at_most(image):
  encodings.append(image)
  if len(encodings) == int(sys.argv[2]):
    os.kill(os.getpid(), signal.SIGKILL)
  return fromarray(image)

Image.fromarray = fromarray_at_most
cifar10.prepare(sys.argv[1])
"""


@pytest.mark.parametrize('images', [3, 23])  # in train, of 20, and in test
def test_a_preparation_that_is_killed_leaves_nothing_and_can_be_repeated(
  images, tfds_dir, tmp_path, monkeypatch
):
  folder = tmp_path / 'cifar10'
  held = make_original('cifar10', folder)
  assert run(KILLED, folder, images).returncode == -signal.SIGKILL
  (left,) = tfds_dir.glob('cifar10/incomplete.*_3.0.2')
  (left / 'dataset_info.json').write_text('{}')  # as just before the renaming
  assert 'cifar10 is not here' in cifar10.ready()
  register('cifar10', folder, monkeypatch.setattr)
  assert {cifar10.prepare(folder)} == {f.parent for f in files_in(tfds_dir)}
  for split in ('train', 'test'):
    source = cifar10.load(split)
    assert digest(source.images_NHWC, source.labels_N) == digest(*held[split])
