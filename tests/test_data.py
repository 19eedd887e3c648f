"""Data sets: sizes, splits, determinism; pixels; and the order."""

import collections
import inspect
import typing

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import data, lookup
from bnresearch.assembly import assemble
from bnresearch.data import Arrays, DamagedData, digits, synthetic
from bnresearch.runs import config_file
from bnresearch.training.order import Order
from configs import default


def has_spec(name):
  """Tells whether a data set is always the same, and not of the user's files.

  Those that are not have tests of their own.
  """
  try:
    lookup.find('data', name).spec()
  except (TypeError, data.MissingData):
    return False
  return True


NAMES = [name for name in lookup.names('data') if has_spec(name)]
SPLITS = [
  (name, split)
  for name in NAMES
  for split in data.SPLITS
  # To decode those 60,000 PNG images takes 10 s; one split is enough.
  if split == 'test' or not hasattr(lookup.find('data', name), 'prepare')
]


def counts(images, labels):
  """Returns how often each pair of image and label occurs, in any order."""
  return collections.Counter(
    (image.tobytes(), int(label)) for image, label in zip(images, labels)
  )


@pytest.mark.parametrize(('name', 'split'), SPLITS)
def test_a_source_is_what_its_spec_says(name, split):
  entry = lookup.find('data', name)
  if reason := getattr(entry, 'ready', str)():
    pytest.skip(reason)
  source, spec = entry.load(split), entry.spec()
  assert len(source) == spec.examples[split]
  assert source.class_names == spec.class_names
  for i in (0, len(source) // 2, len(source) - 1):
    image_HWC, label = source[i]
    assert image_HWC.dtype == np.uint8
    assert image_HWC.ndim == 3
    assert image_HWC.shape[-1] == spec.image_shape[-1]
    assert 0 <= label < len(spec.class_names)
  if isinstance(source, data.Arrays):
    assert source.images_NHWC.shape == (len(source), *spec.image_shape)
    assert source.labels_N.shape == (len(source),)
    assert source.labels_N.dtype == np.int32
    assert set(source.labels_N) == set(range(len(spec.class_names)))
    assert source.images_NHWC.max() > 240
    again = entry.load(split)
    np.testing.assert_array_equal(again.images_NHWC, source.images_NHWC)
    np.testing.assert_array_equal(again.labels_N, source.labels_N)


def test_labels_that_are_no_classes_are_refused():
  images_NHWC = np.zeros((3, 2, 2, 1), np.uint8)
  labels_N = np.asarray([0, 5, -1], np.int32)
  with pytest.raises(
    data.DamagedData, match=r'2 of 3 .* 5 of example 1: .* 0 to 1'
  ):
    data.Arrays(images_NHWC, labels_N, ('a', 'b'))


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


@pytest.mark.parametrize('name', NAMES)
def test_synthetic_images_can_have_the_shape_of_any_data_set(name):
  entry = lookup.find('data', name)
  small = {'image_size': 12}  # of which a thousand classes fit into memory
  options = small.keys() & inspect.signature(entry.spec).parameters.keys()
  spec = entry.spec(**{key: small[key] for key in options})
  K = len(spec.class_names)
  source = synthetic.like(spec, 'test', 2 * K + 5)
  assert source.images_NHWC.shape == (2 * K + 5, *spec.image_shape)
  assert source.images_NHWC.dtype == np.uint8
  assert source.class_names == spec.class_names
  assert set(source.labels_N) == set(range(K))


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


@pytest.mark.parametrize(
  ('mean', 'std'),
  [((0.5,), (0.5,)), ((0.1, 0.2, 0.3), (0.5, 1.0, 2.0)), ((0.0,), (0.25,))],
)
def test_pixels_are_shifted_and_scaled_by_channel(mean, std):
  images = jnp.arange(96, dtype=jnp.uint8).reshape(2, 4, 4, 3)
  x = data.pixels(
    images, binarize=False, binarize_threshold=0.5, mean=mean, std=std
  )
  exact = (np.arange(96).reshape(2, 4, 4, 3) / 255 - mean) / std
  np.testing.assert_allclose(x, exact, rtol=1e-5, atol=1e-6)


def test_means_of_other_channels_are_refused():
  images = jnp.zeros((2, 4, 4, 3), jnp.uint8)
  with pytest.raises(ValueError, match=r'data.std = .*: needs one value, or 3'):
    data.pixels(images, binarize=False, binarize_threshold=0.5, std=(1.0, 2.0))


@pytest.mark.parametrize('label', [-1, 3])
def test_labels_out_of_range_are_refused(label):
  with pytest.raises(
    data.DamagedData, match=f'first one {label} of example 2: .* are 0 to 2'
  ):
    data.Arrays(
      np.zeros((4, 2, 2, 1), np.uint8), np.array([0, 2, label, 1]), tuple('abc')
    )


# The order of the examples.


def test_the_batch_of_a_step_does_not_depend_on_where_the_range_is_cut():
  whole = Order(103, 10, seed=3).indices(range(50))
  assert whole.shape == (50, 10)
  assert whole.dtype == np.int32
  parts = [range(37, 50), range(1), range(1, 12), range(12, 37)]
  cut = {s.start: Order(103, 10, seed=3).indices(s) for s in parts}
  joined = np.concatenate([cut[start] for start in sorted(cut)])
  np.testing.assert_array_equal(joined, whole)


def test_the_batch_of_a_step_does_not_depend_on_numpys_global_random_state():
  first = Order(50, 7, seed=1).indices(range(9))
  np.random.seed(123)
  Order(50, 7, seed=2).indices(range(9))
  np.testing.assert_array_equal(Order(50, 7, seed=1).indices(range(9)), first)


def test_the_order_is_the_same_in_years_to_come():
  # What a run that was saved by an older version goes on with.
  assert Order(7, 4, seed=5).indices(range(3)).tolist() == [
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
  stream = Order(length, batch_size, seed=0).indices(steps).ravel()
  orders = stream[: epochs * length].reshape(epochs, length)
  for order in orders:
    np.testing.assert_array_equal(np.sort(order), np.arange(length))
  assert len({tuple(order) for order in orders}) == epochs


def test_seeds_shuffle_differently():
  orders = {
    tuple(Order(100, 100, seed).indices(range(1))[0])
    for seed in (0, 1, 2, 2**32 - 1)
  }
  assert len(orders) == 4


# A part of the training split, held out.


class Numbers:
  """A source of images that are their numbers, not in memory."""

  class_names = ('even', 'odd')
  notes: typing.ClassVar = {'of': 'numbers'}

  def __len__(self):
    return 50

  def __getitem__(self, index):
    return np.full((4, 4, 1), index, np.uint8), index % 2


def numbers_of(source):
  return [int(source[k][0][0, 0, 0]) for k in range(len(source))]


@pytest.mark.parametrize('in_memory', [False, True])
def test_validation_is_held_out_of_the_training_split(in_memory):
  whole = Numbers()
  if in_memory:
    images, labels = zip(*(whole[k] for k in range(50)))
    whole = Arrays(np.stack(images), np.array(labels), whole.class_names)

  def split(name, **options):
    part = data.held_out(whole, name, **options)
    assert part.class_names == whole.class_names
    assert part.notes == whole.notes
    assert isinstance(part, Arrays) == in_memory
    assert [label for _, label in map(part.__getitem__, range(len(part)))] == [
      number % 2 for number in numbers_of(part)
    ]
    return numbers_of(part)

  assert data.held_out(whole, 'train') is whole
  assert data.held_out(whole, 'test', held_out=0.3) is whole
  options = {'held_out': 0.29}
  kept, held = split('train', **options), split('validation', **options)
  assert len(held) == 14
  assert kept == sorted(kept)
  assert sorted(kept + held) == [*range(50)]
  # The same in years to come.
  assert held == [6, 21, 23, 24, 25, 27, 28, 30, 33, 34, 35, 38, 43, 49]
  assert split('validation', **options, split_seed=1) != held
  assert len(split('validation', held_out=0.001)) == 1


def test_the_only_image_is_not_held_out():
  source = Arrays(np.zeros((1, 4, 4, 1), np.uint8), np.zeros(1, int), ('a',))
  with pytest.raises(DamagedData, match=r'held_out = 0.5.*one training image'):
    data.held_out(source, 'train', held_out=0.5)


def test_there_is_a_validation_split_where_one_is_held_out():
  config = default.get_config()
  with pytest.raises(ValueError, match="'validation': needs one of train, te"):
    assemble(config).data.source('validation')
  before = assemble(config).data.source('train')
  config.data.held_out = 0.1
  train, held = (
    assemble(config).data.source(s) for s in ('train', 'validation')
  )
  assert (len(before), len(train), len(held)) == (1442, 1298, 144)
  config.dry_run = True
  with config.unlocked():  # of a run from before there was this knob
    older = config.copy_and_resolve_references()
    del older.data['held_out']
  older = config_file.from_json(config_file.to_json(older))
  assert assemble(older).data.splits == ('train', 'test')
  assert len(assemble(older).data.source('train')) == 40
  sources = assemble(config).data.sources
  found = {split: len(source) for split, source in sources.items()}
  assert found == {'train': 36, 'validation': 4, 'test': 40}
