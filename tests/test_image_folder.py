"""Folders of images that are in order: splits, classes, notices, the cache."""

import inspect
import json
import logging
import os
import pathlib
import pickle
import shutil

import numpy as np
import pytest
from PIL import Image

from bnresearch import data
from bnresearch.data import _folder_check, _folder_split, count_of, image_folder
from bnresearch.images import decoding
from configs import default
from tests.folders import fill, load, photo, refused, save


def names(source):
  return [source.class_names[label] for label in source.labels_N]


def test_the_options_are_those_of_the_config_and_so_are_their_defaults():
  known = default.get_config().data
  for function in (image_folder.spec, image_folder.load):
    for option in inspect.signature(function).parameters.values():
      if option.name != 'split':
        assert option.default == known[option.name]


@pytest.mark.parametrize('part', ['val', 'validation', 'valid', 'test'])
def test_a_folder_may_be_divided_already(part, tmp_path):
  counts = {'train/cat': 3, 'train/dog': 2, f'{part}/cat': 1, f'{part}/dog': 2}
  train, test = load(fill(tmp_path, counts))
  assert sorted(names(train)) == ['cat'] * 3 + ['dog'] * 2
  assert names(test) == [path.split('/')[1] for path in test.paths]
  assert train.labels_N.dtype == np.int32
  assert {*test.paths} == {
    f'{part}/{f}.png' for f in ('cat/00', 'dog/00', 'dog/01')
  }
  assert train.notes['files'] == {
    'train': {'cat': 3, 'dog': 2},
    'test': {'cat': 1, 'dog': 2},
  }
  assert image_folder.spec(folder=str(tmp_path), image_size=96) == data.Spec(
    (96, 96, 3), ('cat', 'dog'), {'train': 5, 'test': 3}
  )


def test_of_two_evaluation_folders_val_is_taken_and_the_other_is_named(
  tmp_path,
):
  counts = {f'{p}/{k}': 1 for p in ('train', 'val', 'test') for k in 'ab'}
  (fill(tmp_path, counts) / 'LICENSE').touch()
  _, test = load(tmp_path)
  assert {*test.paths} == {'val/a/00.png', 'val/b/00.png'}
  assert test.notes['unused'] == ['LICENSE', 'test']


def test_a_part_of_each_class_is_held_out(tmp_path):
  fill(tmp_path, {'cat': 29, 'dog': 10, 'eel': 3})
  train, test = load(tmp_path, validation=0.1)
  assert test.notes['files']['test'] == {'cat': 2, 'dog': 1, 'eel': 1}
  assert train.notes['files']['train'] == {'cat': 27, 'dog': 9, 'eel': 2}
  everything = {str(f.relative_to(tmp_path)) for f in tmp_path.rglob('*.png')}
  assert {*train.paths, *test.paths} == everything
  assert len(train) + len(test) == len(everything) == 42
  assert [p.split('/')[0] for p in train.paths] == names(train)
  assert load(tmp_path, split_seed=1)[1].paths != test.paths
  assert load(tmp_path, split_seed=0)[1].paths == test.paths


@pytest.mark.parametrize(
  ('images', 'held_out'),
  # The full flower archive, by the class.
  [(633, 63), (898, 89), (641, 64), (699, 69), (799, 79), (2, 1), (9, 1)],
)
def test_a_tenth_is_held_out_rounded_down_but_at_least_one(images, held_out):
  paths = [f'{i}.jpg' for i in range(images)]
  options = {'validation': 0.1, 'split_seed': 0, 'class_name': 'roses'}
  test = _folder_split.held_out(paths, **options)
  assert len(test) == held_out
  assert test <= set(paths)
  assert _folder_split.held_out(paths[::-1], **options) == test


def test_a_fraction_is_the_decimal_that_is_written():
  exactly = {n: n * 29 // 100 for n in range(4, 2000)}  # of 100, 29
  assert {n: count_of(n, 0.29) for n in exactly} == exactly
  assert count_of(1_281_167, 0.1) == 128_116
  assert count_of(3, 0.1) == 1


def test_what_is_held_out_is_the_same_in_years_to_come():
  options = {'validation': 0.3, 'split_seed': 5, 'class_name': 'roses'}
  assert _folder_split.held_out('abcdefghij', **options) == set('bfh')


def test_the_split_does_not_depend_on_the_order_of_the_file_system(
  tmp_path, monkeypatch
):
  fill(tmp_path, {'cat': 20, 'dog': 20})
  first = load(tmp_path, validation=0.3)

  class Backwards:
    def __init__(self, folder, scandir=os.scandir):
      self.entries = sorted(scandir(folder), key=lambda e: e.name)[::-1]

    def __enter__(self):
      return iter(self.entries)

    def __exit__(self, *_):
      pass

  monkeypatch.setattr(os, 'scandir', Backwards)
  monkeypatch.setattr(os, 'listdir', lambda folder: ['dog', 'cat'])
  assert [s.paths for s in load(tmp_path, validation=0.3)] == [
    s.paths for s in first
  ]


def test_a_class_that_is_added_leaves_the_split_of_the_others_alone(tmp_path):
  fill(tmp_path, {'cat': 20, 'dog': 20})
  _, before = load(tmp_path)
  for i in range(20):
    save(tmp_path / 'bee' / f'{i}.png', photo(5000 + i))
  _, after = load(tmp_path)
  assert {*after.paths} - {*before.paths} == {
    path for path in after.paths if path.startswith('bee/')
  }


def test_an_image_that_is_added_moves_hardly_any_other():
  options = {'validation': 0.1, 'split_seed': 0, 'class_name': 'cat'}
  names = [f'{i}.jpg' for i in range(100)]
  before = _folder_split.held_out(names, **options)
  after = _folder_split.held_out([*names, 'new.jpg'], **options)
  assert len(before) == len(after) == 10
  assert len(before & after) >= 9


def test_classes_are_mixed_so_that_any_batch_has_all_of_them(tmp_path):
  fill(tmp_path, {'train/a': 40, 'train/b': 40, 'val/a': 20, 'val/b': 20})
  for source in load(tmp_path):
    for part in np.split(source.labels_N, len(source) // 10):
      assert set(part) == {0, 1}


def test_a_source_decodes_when_asked_and_travels_to_workers(tmp_path):
  fill(tmp_path, {'cat': 4, 'dog': 4})
  train, _ = load(tmp_path)
  copy = pickle.loads(pickle.dumps(train))
  assert len(pickle.dumps(train)) < 3000
  for i, path in enumerate(train.paths):
    image_HWC, label = copy[i]
    expected = np.asarray(Image.open(tmp_path / path))
    np.testing.assert_array_equal(image_HWC, expected)
    assert train.class_names[label] == path.split('/')[0]
    assert type(label) is int


# What is said and stops nothing.


def test_notices_are_noted_and_said_once_and_only_of_the_training_images(
  tmp_path, caplog
):
  fill(tmp_path, {f'{p}/{k}': 3 for p in ('train', 'val') for k in 'ab'})
  (tmp_path / 'train' / 'a' / '.DS_Store').touch()
  (tmp_path / 'val' / 'b' / 'Thumbs.db').touch()
  (tmp_path / 'val' / '.cache').mkdir()
  for i in range(2):
    grey = Image.open(tmp_path / 'train' / 'b' / '01.png').convert('L')
    grey.rotate(i).save(tmp_path / 'train' / 'b' / f'grey{i}.png')
  same = (tmp_path / 'train' / 'a' / '02.png').read_bytes()
  (tmp_path / 'val' / 'b' / 'same.png').write_bytes(same)
  image_folder.load('test', folder=str(tmp_path))
  assert caplog.records == []
  train, test = load(tmp_path)
  pair = ['train/a/02.png', 'val/b/same.png']
  assert train.notes == test.notes
  assert train.notes['hidden'] == 3
  assert train.notes['converted'] == {
    'greyscale': {'files': 2, 'example': 'train/b/grey0.png'}
  }
  assert train.notes['duplicates'] == {
    'in both splits': [pair],
    'in two classes': [pair],
  }
  assert json.loads(json.dumps(train.notes)) == train.notes
  for _ in range(2):
    image_folder.load('train', folder=str(tmp_path))
  (record,) = caplog.records
  assert record.levelno == logging.WARNING
  assert record.getMessage() == '\n'.join(
    [
      f'Images of {tmp_path}:',
      '  hidden, so ignored: 3',
      '  greyscale, given three equal channels: 2, as train/b/grey0.png',
      '  the same content in both splits: 1',
      '      train/a/02.png = val/b/same.png',
      '  the same content in two classes: 1',
      '      train/a/02.png = val/b/same.png',
    ]
  )


def test_the_same_content_within_a_class_and_a_split_is_no_news(
  tmp_path, caplog
):
  fill(tmp_path, {f'{p}/{k}': 3 for p in ('train', 'val') for k in 'ab'})
  folder = tmp_path / 'train' / 'a'
  (folder / 'copy.png').write_bytes((folder / '00.png').read_bytes())
  assert load(tmp_path)[0].notes['duplicates'] == {}
  assert caplog.records == []


# The check of a folder that is known.


def read_again(folder, monkeypatch):
  """Returns how many files a check reads."""
  inspected = []

  def spy(content, inspect=decoding.inspect):
    inspected.append(content)
    return inspect(content)

  with monkeypatch.context() as patched:
    patched.setattr(decoding, 'inspect', spy)
    load(folder)
  return len(inspected)


def test_only_files_that_are_new_or_changed_are_read_again(
  tmp_path, monkeypatch
):
  fill(tmp_path, {'cat': 30, 'dog': 40})
  assert read_again(tmp_path, monkeypatch) == 70
  assert read_again(tmp_path, monkeypatch) == 0
  save(tmp_path / 'cat' / 'new.png', photo(77))
  assert read_again(tmp_path, monkeypatch) == 1
  os.utime(tmp_path / 'dog' / '00.png', ns=(0, 0))
  longer = tmp_path / 'dog' / '01.png'
  time = longer.stat().st_mtime_ns
  longer.write_bytes(longer.read_bytes() + b'\0')
  os.utime(longer, ns=(time, time))
  assert read_again(tmp_path, monkeypatch) == 2
  assert read_again(tmp_path, monkeypatch) == 0


def test_the_digest_is_of_what_the_files_hold(tmp_path):
  fill(tmp_path / 'a', {'cat': 4, 'dog': 4})
  before = [source.digest for source in load(tmp_path / 'a')]
  assert len(set(before)) == 2
  shutil.copytree(tmp_path / 'a', tmp_path / 'b')
  assert [source.digest for source in load(tmp_path / 'b')] == before
  save(tmp_path / 'b' / 'dog' / '02.png', photo(77, 90, 'PNG'))
  train, test = load(tmp_path / 'b')
  assert train.digest != before[0]
  assert pickle.loads(pickle.dumps(test)).digest == test.digest


def test_what_could_not_be_read_is_not_remembered(tmp_path, monkeypatch):
  def refuse(*_):
    raise PermissionError(13, 'Permission denied')

  fill(tmp_path, {'cat': 3, 'dog': 4})
  with monkeypatch.context() as patched:
    patched.setattr(_folder_check, 'open', refuse, raising=False)
    assert '  no permission to read: 7\n    cat/00.png\n' in refused(tmp_path)
  assert read_again(tmp_path, monkeypatch) == 7


def test_what_is_remembered_is_all_that_was_found(tmp_path):
  fill(tmp_path, {f'{p}/{k}': 3 for p in ('train', 'val') for k in 'ab'})
  grey = Image.open(tmp_path / 'val' / 'b' / '00.png').convert('L')
  grey.save(tmp_path / 'train' / 'a' / 'grey.png')
  grey.save(tmp_path / 'val' / 'a' / 'grey.png')
  first, _ = load(tmp_path)
  assert load(tmp_path)[0].notes == first.notes
  assert set(first.notes['converted']) == {'greyscale'}
  assert set(first.notes['duplicates']) == {'in both splits'}


@pytest.mark.parametrize('content', ['', '{', '[]', '{"stamp": 1}', 'stale'])
def test_a_cache_that_is_damaged_or_of_another_version_is_not_used(
  content, tmp_path, monkeypatch
):
  fill(tmp_path / 'images', {'cat': 3, 'dog': 4})
  cache = tmp_path / 'cache'
  monkeypatch.setattr(_folder_check, 'cache_folder', lambda: cache)
  load(tmp_path / 'images')
  (file,) = cache.iterdir()
  if content == 'stale':
    content = json.dumps(json.loads(file.read_text()) | {'stamp': [0, '0']})
  file.write_text(content)
  assert read_again(tmp_path / 'images', monkeypatch) == 7
  assert read_again(tmp_path / 'images', monkeypatch) == 0


def test_without_a_place_for_the_cache_the_check_is_made_all_the_same(
  tmp_path, monkeypatch
):
  (tmp_path / 'cache').touch()  # where a folder cannot be
  monkeypatch.setattr(_folder_check, 'cache_folder', lambda: tmp_path / 'cache')
  fill(tmp_path / 'images', {'cat': 3, 'dog': 4})
  assert len(load(tmp_path / 'images')[0]) == 5


# Real photographs.


def test_the_flowers_are_2934_and_736_in_five_classes_and_all_decode():
  root = os.environ.get('BNRESEARCH_DATA_DIR')
  folder = pathlib.Path(root or '.', 'flowers160')
  if not root or not folder.exists():
    pytest.skip('needs BNRESEARCH_DATA_DIR, a folder that holds flowers160/')
  train, test = load(folder)
  assert (len(train), len(test)) == (2934, 736)
  classes = ('daisy', 'dandelion', 'roses', 'sunflowers', 'tulips')
  assert train.class_names == test.class_names == classes
  total = np.bincount(train.labels_N) + np.bincount(test.labels_N)
  assert total.tolist() == [633, 898, 641, 699, 799]
  assert train.notes['skipped'] == train.notes['converted'] == {}
  for source in (train, test):
    for i in range(len(source)):
      image_HWC, label = source[i]
      assert image_HWC.dtype == np.uint8
      assert 140 < min(image_HWC.shape[:2]) <= 160
      assert image_HWC.std() > 10
      assert f'/{classes[label]}/' in source.paths[i]
