"""Files and links that cannot be trained on: each named with its reason."""

import io
import os
import struct

import pytest
from PIL import Image

from bnresearch.images.decoding import NO_IMAGE
from tests.folders import in_order, load, photo, refused, save


@pytest.fixture
def folder(tmp_path):
  return in_order(tmp_path / 'images')


def bomb():
  return b'GIF89a' + struct.pack('<HHBBB', 20_000, 20_000, 0, 0, 0)


def animation():
  others = [Image.open(io.BytesIO(photo(s))) for s in range(11)]
  return photo(50, kind='GIF', save_all=True, append_images=others)


def dot():
  file = io.BytesIO()
  Image.new('RGB', (1, 1)).save(file, 'PNG')
  return file.getvalue()


def outside(folder, content=None):
  """Returns a file, or a class folder, that is not in the data folder."""
  there = folder.parent / 'elsewhere'
  save(there / '1.jpg', photo(7))
  return there if content is None else there / '1.jpg'


def link(path, target):
  path.symlink_to(target)


OUT = 'link out of the folder (data.follow_links=True allows it)'
# What is done to the folder, to which path in it, and what is said of it.
MISTAKES = {
  'text': (
    lambda f, p: save(f / p, b'a,b\n'),
    'train/cat/labels.csv',
    NO_IMAGE,
  ),
  'empty': (lambda f, p: save(f / p, b''), 'val/cat/0.jpg', 'empty file'),
  'truncated': (
    lambda f, p: save(f / p, photo()[:-99]),
    'train/dog/copied.jpg',
    'truncated',
  ),
  'damaged': (
    lambda f, p: save(f / p, photo(kind='PNG').replace(b'IHDR', b'IH\0R')),
    'train/dog/damaged.png',
    r"unreadable: broken PNG file (chunk b'IH\x00R')",
  ),
  'animated': (
    lambda f, p: save(f / p, animation()),
    'train/dog/dance.gif',
    'animated, 12 frames',
  ),
  'dot': (
    lambda f, p: save(f / p, dot()),
    'val/dog/dot.png',
    '1 x 1 pixels, needs at least 8 on each side',
  ),
  'bomb': (
    lambda f, p: save(f / p, bomb()),
    'train/cat/bomb.gif',
    '20,000 x 20,000 pixels, more than 100 million: refused as a '
    'decompression bomb',
  ),
  'stray': (
    lambda f, p: save(f / p, photo()),
    'train/stray.jpg',
    'file beside the class folders',
  ),
  'nested': (
    lambda f, p: save(f / p / '1.jpg', photo()),
    'train/dog/puppies',
    'folder inside a class folder',
  ),
  'no_class': (lambda f, p: (f / p).mkdir(), 'val/eel', 'empty class'),
  'broken': (
    lambda f, p: link(f / p, f / 'gone.jpg'),
    'train/cat/old.jpg',
    'broken link',
  ),
  'loop': (
    lambda f, p: link(f / p, f / p),
    'train/cat/loop',
    'broken link',
  ),
  'circle': (
    lambda f, p: link(f / p, f),
    'train/cat/circle',
    'folder inside a class folder',
  ),
  'out': (lambda f, p: link(f / p, outside(f, '1')), 'val/cat/far.jpg', OUT),
  'class_out': (lambda f, p: link(f / p, outside(f)), 'train/far', OUT),
  'pipe': (
    lambda f, p: os.mkfifo(f / p),
    'train/cat/pipe',
    'neither a file nor a folder',
  ),
  'unprintable': (
    lambda f, p: save(f / 'train/cat/a\nb\udcff.jpg', b''),
    r'train/cat/a\nb\udcff.jpg',
    'empty file',
  ),
}


@pytest.mark.parametrize('name', MISTAKES)
def test_a_mistake_is_named_with_its_reason_and_can_be_skipped(folder, name):
  make, path, reason = MISTAKES[name]
  replaces = (folder / path).exists()
  make(folder, path)
  extra = []
  if name == 'no_class':
    extra = ['  class in one split only: 1', '    val/eel, no train/eel']
  assert refused(folder).splitlines() == [
    f'{"2 files or folders" if extra else "1 file or folder"} of {folder} '
    'cannot be trained on:',
    *extra,
    f'  {reason}: 1',
    f'    {path}',
    'Mend or remove them, or set data.skip_bad=True to train on the rest.',
  ]
  train, test = load(folder, skip_bad=True)
  assert train.notes['skipped'][reason] == [path]
  assert len(train) + len(test) == 16 - replaces
  assert len({train[i][0].tobytes() for i in range(len(train))}) == len(train)


def test_all_mistakes_are_told_at_once(folder):
  expected = {}
  for make, path, reason in MISTAKES.values():
    make(folder, path)
    expected.setdefault(reason, set()).add(path)
  message = refused(folder)
  assert message.count('cannot be trained on') == 1
  assert message.count('data.skip_bad=True') == 1
  told = {}
  for line in message.splitlines()[1:-1]:
    if line.startswith('    '):
      told[reason].add(line.strip())
    else:
      reason, _ = line.strip().rsplit(': ', 1)
      told[reason] = set()
  assert told == expected | {
    'class in one split only': {'val/eel, no train/eel'}
  }


def test_of_each_reason_twenty_files_are_named_and_all_are_kept(folder):
  for i in range(51):
    save(folder / 'train' / 'dog' / f'empty{i:02d}.jpg', b'')
    save(folder / 'train' / 'cat' / f'text{i:02d}.jpg', b'text')
  message = refused(folder)
  for kind, last in (('dog/empty', 19), ('cat/text', 19)):
    assert message.count(f'train/{kind}') == 20
    assert f'train/{kind}{last}.jpg\n    and 31 more\n' in message
  path = message.split('All are listed in ')[1].removesuffix('.')
  with open(path) as file:
    assert len(file.readlines()) == 102
  train, _ = load(folder, skip_bad=True)
  assert [len(files) for files in train.notes['skipped'].values()] == [51, 51]


# Links.


def test_links_may_lead_out_of_the_folder_if_that_is_allowed(folder):
  link(folder / 'val' / 'cat' / 'far.jpg', outside(folder, '1'))
  for part in ('train', 'val'):
    link(folder / part / 'far', outside(folder))
  train, test = load(folder, follow_links=True)
  assert train.class_names == ('cat', 'dog', 'far')
  far = train.paths.index('train/far/1.jpg')
  assert 'val/cat/far.jpg' in test.paths
  assert train[far][1] == 2


def test_links_within_the_folder_are_nothing_special(folder):
  link(folder / 'train' / 'cat' / 'far.jpg', folder / 'val' / 'cat' / '0.jpg')
  link(folder.parent / 'link', folder)
  for there in (folder, folder.parent / 'link'):
    train, _ = load(there)
    assert train.notes['duplicates'] == {
      'in both splits': [['train/cat/far.jpg', 'val/cat/0.jpg']]
    }


@pytest.mark.parametrize('path', ['val', 'val/dog'])
def test_a_folder_that_is_a_link_out_of_the_folder_is_named_once(folder, path):
  (folder / path).rename(folder.parent / 'there')
  link(folder / path, folder.parent / 'there')
  assert refused(folder).splitlines()[1:] == [
    f'1 file or folder of {folder} cannot be trained on:',
    f'  {OUT}: 1',
    f'    {path}',
    'Mend or remove them.',
  ]
  assert len(load(folder, follow_links=True)[1]) == 6


@pytest.mark.parametrize('path', ['train/cat/5.jpg', 'train/dog'])
def test_what_one_may_not_read_is_named(folder, path):
  for part in ('train', 'val'):
    save(folder / part / 'eel' / '0.jpg', photo(901))
  (folder / path).chmod(0)
  try:
    if os.access(folder / path, os.R_OK):
      pytest.skip('root may read everything')
    message = refused(folder)
  finally:
    (folder / path).chmod(0o700)
  assert f'  no permission to read: 1\n    {path}\nMend' in message
  assert len(load(folder)[0]) == 11  # is not remembered
