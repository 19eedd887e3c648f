"""Data sets: sizes, splits, determinism, the original files; and the order."""

import collections
import gzip
import json
import os
import pathlib
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import data, lookup
from bnresearch.data import digits, mnist, synthetic
from bnresearch.engine.order import batch_indices

ROOT = pathlib.Path(__file__).parents[1]

FROM_FILES = ('mnist', 'fashion_mnist')
SPLITS = [
  (name, split)
  for name in lookup.names('data')
  for split in ('train', 'test')
  # To decode those 60,000 PNG images takes 10 s; one split is enough.
  if (split == 'test' or name not in FROM_FILES)
]


def counts(images, labels):
  """Returns how often each pair of image and label occurs, in any order."""
  return collections.Counter(
    (image.tobytes(), int(label)) for image, label in zip(images, labels)
  )


@pytest.mark.parametrize(('name', 'split'), SPLITS)
def test_a_source_is_what_its_spec_says(name, split, request):
  if name in FROM_FILES:
    request.getfixturevalue('originals')(name)  # or skip
  entry = lookup.find('data', name)
  source = entry.load(split)
  assert source.images_NHWC.shape == (len(source), *entry.spec().image_shape)
  assert source.images_NHWC.dtype == np.uint8
  assert source.labels_N.shape == (len(source),)
  assert source.labels_N.dtype == np.int32
  assert source.class_names == entry.spec().class_names
  assert set(source.labels_N) == set(range(len(source.class_names)))
  assert source.images_NHWC.max() > 240
  again = entry.load(split)
  np.testing.assert_array_equal(again.images_NHWC, source.images_NHWC)
  np.testing.assert_array_equal(again.labels_N, source.labels_N)


# The digits.


def test_digits_are_split_into_1442_and_355():
  assert len(digits.load('train')) == 1442
  assert len(digits.load('test')) == 355


def test_digits_splits_are_disjoint_and_together_all_of_scikit_learns():
  from sklearn import datasets

  raw = datasets.load_digits()
  images_NHW = np.round(raw.images * 255 / 16).astype(np.uint8)
  train, test = digits.load('train'), digits.load('test')
  parts = [counts(s.images_NHWC, s.labels_N) for s in (train, test)]
  assert parts[0] + parts[1] == counts(images_NHW, raw.target)
  assert not parts[0] & parts[1]


def test_digits_test_split_is_a_fifth_of_each_class():
  train, test = digits.load('train'), digits.load('test')
  in_train, in_test = np.bincount(train.labels_N), np.bincount(test.labels_N)
  np.testing.assert_array_equal(in_test, (in_train + in_test) // 5)


# Synthetic images.


def test_synthetic_classes_have_different_means_and_full_variance():
  source = synthetic.load('train', examples=600)
  x_NHWC = source.images_NHWC.astype(np.float64)
  means_KHWC = np.stack(
    [x_NHWC[source.labels_N == k].mean(0) for k in range(10)]
  )
  # 60 images a class, noise 32: the standard error of a mean is about 4.
  for a in range(10):
    for b in range(a):
      assert np.abs(means_KHWC[a] - means_KHWC[b]).mean() > 4 * 4
  residual = x_NHWC - means_KHWC[source.labels_N]
  assert residual.std() == pytest.approx(32, rel=0.1)
  assert means_KHWC.mean() == pytest.approx(128, rel=0.1)


def test_synthetic_splits_differ_but_their_classes_look_alike():
  train = synthetic.load('train', examples=600)
  test = synthetic.load('test', examples=600)
  assert not counts(train.images_NHWC, train.labels_N) & counts(
    test.images_NHWC, test.labels_N
  )
  means = [
    np.stack([s.images_NHWC[s.labels_N == k].mean(0) for k in range(10)])
    for s in (train, test)
  ]
  assert np.corrcoef(means[0].ravel(), means[1].ravel())[0, 1] > 0.9


@pytest.mark.parametrize('name', lookup.names('data'))
def test_synthetic_images_can_have_the_shape_of_any_data_set(name):
  spec = lookup.find('data', name).spec()
  source = synthetic.like(spec, 'test', 25)
  assert source.images_NHWC.shape == (25, *spec.image_shape)
  assert source.images_NHWC.dtype == np.uint8
  assert source.class_names == spec.class_names
  assert set(source.labels_N) == set(range(len(spec.class_names)))


# From uint8 to the network's input.


@pytest.mark.parametrize('compiled', [False, True])
@pytest.mark.parametrize(
  ('threshold', 'expected'),
  [
    (0.0, [0, 1, 1, 1, 1, 1, 1]),
    (0.2, [0, 0, 0, 1, 1, 1, 1]),  # 51 is a fifth of 255, not above it
    (0.5, [0, 0, 0, 0, 0, 1, 1]),
    (0.999, [0, 0, 0, 0, 0, 0, 1]),
  ],
)
def test_pixels_above_the_threshold_are_one(threshold, expected, compiled):
  def pixels(images):
    return data.pixels(images, binarize=True, binarize_threshold=threshold)

  images = jnp.asarray([0, 1, 51, 52, 127, 128, 255], jnp.uint8)
  x = (jax.jit(pixels) if compiled else pixels)(images)
  assert x.dtype == jnp.float32
  np.testing.assert_array_equal(x, expected)


def test_pixels_that_are_not_binarized_are_fractions_of_255():
  images = jnp.arange(256, dtype=jnp.uint8).reshape(4, 8, 8, 1)
  x = data.pixels(images, binarize=False, binarize_threshold=0.5)
  assert x.dtype == jnp.float32
  assert x.shape == images.shape
  exact = np.arange(256).reshape(x.shape) / 255
  np.testing.assert_allclose(x, exact, rtol=1e-6)


# The order of the examples.


def test_the_batch_of_a_step_does_not_depend_on_where_the_range_is_cut():
  whole = batch_indices(103, 10, seed=3, steps=range(50))
  assert whole.shape == (50, 10)
  assert whole.dtype == np.int32
  parts = [range(37, 50), range(1), range(1, 12), range(12, 37)]
  cut = {s.start: batch_indices(103, 10, seed=3, steps=s) for s in parts}
  joined = np.concatenate([cut[start] for start in sorted(cut)])
  np.testing.assert_array_equal(joined, whole)


def test_the_batch_of_a_step_does_not_depend_on_numpys_global_random_state():
  first = batch_indices(50, 7, seed=1, steps=range(9))
  np.random.seed(123)
  batch_indices(50, 7, seed=2, steps=range(9))
  np.testing.assert_array_equal(
    batch_indices(50, 7, seed=1, steps=range(9)), first
  )


def test_the_order_is_the_same_in_years_to_come():
  # What a run that was saved by an older version goes on with.
  assert batch_indices(7, 4, seed=5, steps=range(3)).tolist() == [
    [1, 4, 3, 5],
    [6, 2, 0, 0],
    [4, 5, 1, 2],
  ]


@pytest.mark.parametrize(
  ('length', 'batch_size'), [(10, 5), (10, 3), (10, 10), (10, 25), (7, 1)]
)
def test_every_epoch_is_a_permutation_though_batches_do_not_divide(
  length, batch_size
):
  epochs = 6
  steps = range(-(-epochs * length // batch_size))
  stream = batch_indices(length, batch_size, seed=0, steps=steps).ravel()
  orders = stream[: epochs * length].reshape(epochs, length)
  for order in orders:
    np.testing.assert_array_equal(np.sort(order), np.arange(length))
  assert len({tuple(order) for order in orders}) == epochs


def test_seeds_shuffle_differently():
  orders = {
    tuple(batch_indices(100, 100, seed, range(1))[0])
    for seed in (0, 1, 2, 2**32 - 1)
  }
  assert len(orders) == 4


# MNIST and Fashion-MNIST.

STOCK_READER = """
import json, sys
import numpy as np
import tensorflow_datasets as tfds

name, data_dir = sys.argv[1:]
result = {}
for split in ('train', 'test'):
  source = tfds.data_source(
    name, split=split, data_dir=data_dir, download=False
  )
  rows = source.__getitems__(range(len(source)))
  histogram = np.bincount([row['label'] for row in rows])
  total = sum(int(row['image'].sum(dtype=np.int64)) for row in rows)
  result[split] = [total, histogram.tolist()]
assert 'tensorflow' not in sys.modules
print(json.dumps(result))
"""


def idx(folder, part):
  """Reads the images and labels of an original part, 'train' or 't10k'."""
  with gzip.open(folder / f'{part}-images-idx3-ubyte.gz') as file:
    images = np.frombuffer(file.read(), np.uint8, offset=16)
  with gzip.open(folder / f'{part}-labels-idx1-ubyte.gz') as file:
    labels = np.frombuffer(file.read(), np.uint8, offset=8)
  return images.reshape(-1, 28, 28), labels


@pytest.mark.parametrize('name', FROM_FILES)
def test_prepared_images_are_those_of_the_original_files(name, originals):
  folder = originals(name)
  source = lookup.find('data', name).load('test')
  assert counts(source.images_NHWC, source.labels_N) == counts(
    *idx(folder, 't10k')
  )


@pytest.mark.parametrize('name', FROM_FILES)
def test_stock_tfds_reads_what_was_prepared(name, originals):
  folder = originals(name)
  lookup.find('data', name).load('test')  # prepares it, if no test has yet
  done = subprocess.run(
    [sys.executable, '-c', STOCK_READER, name, os.environ['TFDS_DATA_DIR']],
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  read = json.loads(done.stdout)
  for split, part in (('train', 'train'), ('test', 't10k')):
    images, labels = idx(folder, part)
    expected = [int(images.sum(dtype=np.int64)), np.bincount(labels).tolist()]
    assert read[split] == expected


def test_missing_data_is_said_at_once_and_both_ways_to_get_it(tmp_path):
  # Where nobody looks first, TFDS tries the network for minutes.
  environment = os.environ | {'TFDS_DATA_DIR': str(tmp_path / 'nowhere')}
  environment.pop('BNRESEARCH_DATA_DIR', None)
  program = 'from bnresearch.data import mnist; mnist.load("train")'

  def seconds():
    began = time.monotonic()
    done = subprocess.run(
      [sys.executable, '-c', program],
      capture_output=True,
      text=True,
      cwd=ROOT,
      env=environment,
      timeout=60,
    )
    message = done.stderr.splitlines()[-1]
    assert message.startswith('bnresearch.data.MissingData: mnist is not here')
    assert f'{tmp_path / "nowhere"} (TFDS_DATA_DIR)' in message
    assert "BNRESEARCH_DATA_DIR (now '')" in message
    assert 'train-images-idx3-ubyte.gz' in message
    return time.monotonic() - began

  # A busy machine may be late once.
  assert any(seconds() < 5 for _ in range(3))
  assert not (tmp_path / 'nowhere').exists()


def test_data_that_lacks_one_file_is_missing(tmp_path, monkeypatch):
  folder = tmp_path / 'mnist'
  folder.mkdir()
  (folder / 'train-images-idx3-ubyte.gz').touch()
  monkeypatch.setenv('BNRESEARCH_DATA_DIR', str(tmp_path))
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'tfds'))
  with pytest.raises(data.MissingData, match='t10k-labels-idx1-ubyte'):
    mnist.load('test')


def test_a_corrupted_file_is_refused_and_nothing_is_prepared(
  tmp_path, monkeypatch, originals
):
  original, folder = originals('mnist'), tmp_path / 'mnist'
  folder.mkdir()
  for file in original.iterdir():
    (folder / file.name).symlink_to(file)
  damaged = folder / 't10k-labels-idx1-ubyte.gz'
  content = bytearray(damaged.read_bytes())
  content[len(content) // 2] ^= 1
  damaged.unlink()
  damaged.write_bytes(content)
  monkeypatch.setenv('BNRESEARCH_DATA_DIR', str(tmp_path))
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'tfds'))
  with pytest.raises(ValueError, match='t10k-labels-idx1-ubyte'):
    mnist.load('test')
  left = [f for f in (tmp_path / 'tfds').rglob('*mnist*/**/*') if f.is_file()]
  assert left == []
