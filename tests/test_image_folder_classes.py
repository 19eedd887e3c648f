"""Classes without images, folders that are none, and files that change."""

import pytest

from bnresearch.data import DamagedData, MissingData, image_folder
from bnresearch.images.decoding import NO_IMAGE
from tests.folders import in_order, load, photo, refused, save


@pytest.fixture
def folder(tmp_path):
  return in_order(tmp_path / 'images')


def test_a_class_in_one_split_only_is_named_and_left_out(folder):
  save(folder / 'train' / 'bee' / '1.jpg', photo(900))
  save(folder / 'val' / 'eel' / '1.jpg', photo(901))
  save(folder / 'train' / 'eel' / '1.jpg', b'')
  message = refused(folder)
  assert 'class in one split only: 1\n    train/bee, no val/bee\n' in message
  assert (
    'class without one image that can be trained on: 1\n    train/eel\n'
  ) in message
  train, test = load(folder, skip_bad=True)
  assert train.class_names == test.class_names == ('cat', 'dog')
  assert train.notes['skipped']['of a class that is left out'] == [
    'train/bee/1.jpg',
    'val/eel/1.jpg',
  ]
  assert set(train.labels_N) == set(test.labels_N) == {0, 1}


def test_a_class_with_one_image_cannot_be_divided(folder):
  save(folder / 'train' / 'eel' / '1.jpg', photo(900))
  message = refused(folder / 'train')
  assert 'class with one image, too few for two splits: 1\n    eel\n' in message
  train, _ = load(folder / 'train', skip_bad=True)
  assert train.class_names == ('cat', 'dog')


def test_skipping_a_bad_file_divides_the_others_as_removing_it_does(folder):
  bad = folder / 'train' / 'cat' / '4.jpg'
  bad.write_bytes(b'')
  skipped = load(folder / 'train', skip_bad=True, validation=0.5)
  bad.unlink()
  removed = load(folder / 'train', validation=0.5)
  assert [s.paths for s in skipped] == [s.paths for s in removed]


@pytest.mark.parametrize('skip_bad', [False, True])
def test_two_classes_are_needed_in_any_case(folder, skip_bad):
  for part in ('train', 'val'):
    for file in (folder / part / 'dog').iterdir():
      file.write_bytes(b'')
  message = refused(folder, skip_bad=skip_bad)
  assert message.startswith(
    f'{folder} needs at least 2 classes with images in both splits, and has 1 '
    '(cat).\n10 files or folders'
  )
  assert '  empty file: 8\n    train/dog/3.jpg\n' in message
  assert message.endswith('\nMend or remove them.')


def test_a_folder_without_class_folders_is_told_so(folder):
  message = refused(folder / 'train' / 'cat')
  assert 'and has none.\n5 files or folders' in message
  assert '  file beside the class folders: 5\n    3.jpg\n' in message


# No folder, and a file that changes.


def test_without_a_folder_it_is_said_which_to_set():
  for function in (image_folder.spec, lambda: image_folder.load('train')):
    with pytest.raises(MissingData) as raised:
      function()
    assert str(raised.value) == (
      'data.folder is empty: set it to a folder with one folder of images for '
      'each class, or with train/ and val/ that hold these.'
    )


def test_a_folder_that_is_missing_or_empty_or_a_file_is_told(tmp_path):
  there = f'data.folder = {tmp_path}'
  assert refused(tmp_path / 'x', MissingData) == (
    f'{there}/x: there is no such folder.'
  )
  assert refused(tmp_path, MissingData).startswith(
    f'{there}: the folder is empty. It should hold'
  )
  (tmp_path / '.hidden').touch()
  assert 'the folder is empty' in refused(tmp_path, MissingData)
  assert refused(tmp_path / '.hidden', MissingData) == (
    f'{there}/.hidden: this is no folder.'
  )


def test_train_without_an_evaluation_folder_is_told_what_to_do(folder):
  (folder / 'val').rename(folder / 'evaluation')
  assert refused(folder) == (
    f'{folder} has train/, but none of val/, validation/, valid/, test/: add '
    f'one, or set data.folder={folder}/train to hold out a part of each class.'
  )
  assert len(load(folder / 'train')[0]) == 8


@pytest.mark.parametrize(
  ('change', 'reason'),
  [
    (lambda file: file.write_bytes(photo()[:-99]), 'truncated'),
    (lambda file: file.write_bytes(b'text'), NO_IMAGE),
    (lambda file: file.unlink(), 'cannot be read: No such file or directory'),
  ],
)
def test_a_file_that_changes_after_the_check_is_named(folder, change, reason):
  train, _ = load(folder)
  change(folder / train.paths[2])
  assert train[1][0].shape == (10, 12, 3)
  with pytest.raises(DamagedData) as raised:
    train[2]
  assert str(raised.value) == (
    f'{folder}/{train.paths[2]} was in order when it was checked, and is no '
    f'longer: {reason}. Restore it, or start again: then it is checked anew.'
  )
