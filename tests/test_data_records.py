"""ImageNet and any set of TFDS, read at random from disk, never in memory."""

import hashlib
import inspect
import io
import json
import pathlib
import pickle
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from bnresearch import data, lookup
from bnresearch.data import _tfds, imagenet2012
from bnresearch.data import tfds as any_set
from bnresearch.images import decoding
from bnresearch.runs import data_file, run_directory
from bnresearch.runs.run_directory import Refused

ROOT = pathlib.Path(__file__).parents[1]
INFO = 'dataset_info.json'


def photograph(i, mode='RGB'):
  """Returns a smooth image of a size of its own, as JPEG."""
  H, W = 20 + i, 40 - i
  image_HWC = np.full((H, W, 3), (200, 20 * i, 40), np.uint8)
  image_HWC[:, :, 2] += np.arange(W, dtype=np.uint8)
  file = io.BytesIO()
  Image.fromarray(image_HWC).convert(mode).save(file, 'JPEG', quality=95)
  return file.getvalue()


PHOTOGRAPHS = [photograph(i, 'L' if i == 2 else 'RGB') for i in range(5)]
LABELS = [3, 0, 7, 3, 1]


def prepare(
  name,
  splits,
  *,
  keys=('image', 'label'),
  names=None,
  config='',
  version='5.1.0',
):
  """Prepares {split: (contents, labels)} as TFDS does; returns the folder."""
  with _tfds.imported() as tfds, tfds.core.registered.skip_registration():
    image, label = keys

    class Photographs(tfds.core.GeneratorBasedBuilder):
      VERSION = tfds.core.Version(version)
      BUILDER_CONFIGS = [  # noqa: RUF012
        tfds.core.BuilderConfig(name=c, version=version) for c in [config] if c
      ]

      def _info(self):
        features = {
          image: tfds.features.Image(encoding_format='jpeg'),
          label: tfds.features.ClassLabel(names=names or list('abcdefgh')),
          'file_name': tfds.features.Text(),
          'mask': tfds.features.Image(shape=(None, None, 1)),
        }
        return tfds.core.DatasetInfo(
          builder=self,
          features=tfds.features.FeaturesDict(features),
          supervised_keys=keys if keys[0] != 'image' else None,
        )

      def _split_generators(self, dl_manager):
        return {s: self._generate_examples(*held) for s, held in splits.items()}

      def _generate_examples(self, contents, labels):
        for i, (content, k) in enumerate(zip(contents, labels)):
          # A mask that nobody can decode, so that nobody does.
          rest = {'file_name': f'{i}.jpg', 'mask': b'no image'}
          yield i, {image: content, label: k, **rest}

    Photographs.name = name
    builder = Photographs(data_dir=_tfds.root(), file_format=_tfds.FORMAT)
    builder.download_and_prepare()
    return pathlib.Path(builder.data_dir)


@pytest.fixture
def tfds_dir(tmp_path, monkeypatch):
  """An empty place for prepared data; TensorFlow cannot be imported."""
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path))
  monkeypatch.delenv('BNRESEARCH_DATA_DIR', raising=False)
  monkeypatch.setitem(sys.modules, 'tensorflow', None)
  return tmp_path


def digests(source):
  """Returns the images, as a digest each, with their labels, in order."""
  return [
    (hashlib.blake2b(image.tobytes()).hexdigest(), image.shape, label)
    for image, label in (source[i] for i in range(len(source)))
  ]


def decoded(contents, labels):
  """Returns what `digests` is to return, in any order."""
  images = [decoding.decode(content) for content in contents]
  return sorted(digests(list(zip(images, labels))))


@pytest.mark.parametrize(
  ('subset', 'name', 'config'),
  [('all', 'imagenet2012', ''), ('1pct', 'imagenet2012_subset', '1pct')],
)
def test_imagenet_is_read_as_tfds_prepared_it(subset, name, config, tfds_dir):
  spec = imagenet2012.spec(subset=subset, image_size=96)
  splits = {
    'train': (PHOTOGRAPHS, [999, *LABELS[1:]]),
    'validation': (PHOTOGRAPHS[:2], LABELS[:2]),
  }
  prepare(name, splits, names=spec.class_names, config=config)
  assert imagenet2012.ready(subset) == ''
  for split, own in (('train', 'train'), ('test', 'validation')):
    source = imagenet2012.load(split, subset=subset)
    assert sorted(digests(source)) == decoded(*splits[own])
    assert source.class_names == spec.class_names
    full_name = '/'.join(filter(None, (name, config, '5.1.0')))
    assert source.notes == {'tfds': full_name, 'tfds_split': own}
  assert spec.image_shape == (96, 96, 3)
  assert spec.class_names[0] == 'n01440764'  # tench
  assert list(spec.class_names) == sorted(set(spec.class_names))


def test_colours_are_red_green_blue_and_grey_has_three_equal_channels(tfds_dir):
  prepare('flowers', {'train': (PHOTOGRAPHS, [0, 1, 2, 3, 4])})
  parts = [any_set.load(s, tfds_name='flowers') for s in ('train', 'test')]
  by_label = {label: image for part in parts for image, label in part}
  for i, image_HWC in by_label.items():
    assert image_HWC.dtype == np.uint8
    assert image_HWC.shape == (20 + i, 40 - i, 3)
    red, green, blue = image_HWC[:, 0].mean(0)
    if i == 2:
      assert red == green == blue
    else:
      assert (red, green, blue) == pytest.approx((200, 20 * i, 40), abs=6)


READER = f"""
import hashlib, json, pickle, sys
{inspect.getsource(digests)}
source = pickle.load(sys.stdin.buffer)
assert 'tensorflow_datasets' not in sys.modules  # opens when it is asked
print(json.dumps(digests(source)))
assert 'tensorflow_datasets' in sys.modules
assert 'tensorflow' not in sys.modules
"""


def test_a_source_goes_to_another_process_as_a_path(tfds_dir):
  names = imagenet2012.spec().class_names
  prepare('imagenet2012', {'train': (PHOTOGRAPHS, LABELS)}, names=names)
  source = imagenet2012.load('train')
  expected = json.loads(json.dumps(digests(source)))
  pickled = pickle.dumps(source)
  assert len(pickled) < 20_000  # most of it the thousand names
  done = subprocess.run(
    [sys.executable, '-c', READER], input=pickled, capture_output=True, cwd=ROOT
  )
  assert done.returncode == 0, done.stderr.decode()
  assert json.loads(done.stdout) == expected
  assert digests(pickle.loads(pickled)) == digests(source)


# Any set.


def test_a_set_says_what_it_holds_under_keys_of_its_own(tfds_dir):
  splits = {
    'train': (PHOTOGRAPHS, LABELS),
    'validation': (PHOTOGRAPHS[:3], LABELS[:3]),
  }
  prepare('plants', splits, keys=('photo', 'species'), config='wild')
  for name in ('plants/wild', 'plants/wild:5.1.0'):
    assert any_set.ready(name) == ''
    spec = any_set.spec(tfds_name=name, image_size=64)
    assert spec == ((64, 64, 3), tuple('abcdefgh'), {'train': 5, 'test': 3})
    # It has no split 'test'.
    source = any_set.load('test', tfds_name=name)
    assert sorted(digests(source)) == decoded(*splits['validation'])
    assert source.class_names == spec.class_names
    with pytest.raises(IndexError, match=r'3: .* has 3 examples'):
      source[3]
  with pytest.raises(data.MissingData, match=r'DIR\), only plants/wild\.'):
    any_set.spec(tfds_name='plants')
  with pytest.raises(
    data.MissingData, match=r'plants/wild:1\.0\.0 is not here'
  ):
    any_set.spec(tfds_name='plants/wild:1.0.0')


def test_the_test_split_is_test_where_there_is_one(tfds_dir):
  one = [PHOTOGRAPHS[0]]
  splits = {'train': (one, [0]), 'validation': (one, [1]), 'test': (one, [2])}
  prepare('flowers', splits)
  assert any_set.load('test', tfds_name='flowers')[0][1] == 2


def test_a_split_that_is_not_there_is_missing(tfds_dir):
  prepare('flowers', {'unlabelled': (PHOTOGRAPHS, LABELS)})
  with pytest.raises(data.MissingData, match="'train', only unlabelled"):
    any_set.load('train', tfds_name='flowers')


def test_a_set_without_images_that_have_a_class_is_refused(tfds_dir):
  folder = prepare('flowers', {'train': (PHOTOGRAPHS, LABELS)})
  features = folder / 'features.json'
  features.write_text(features.read_text().replace('"label"', '"author"'))
  refused = r"needs the features 'image' .* has .*author \(ClassLabel\)"
  with pytest.raises(data.DamagedData, match=refused):
    any_set.load('train', tfds_name='flowers')


@pytest.mark.parametrize('name', ['', '../flowers', 'a/b/c', '*', 'a:b'])
def test_what_is_no_name_of_a_set_is_refused(name, tfds_dir):
  with pytest.raises(data.MissingData, match=r'data\.tfds_name = .*needs the'):
    any_set.spec(tfds_name=name)


def test_of_a_set_with_one_split_a_part_is_held_out(tfds_dir):
  prepare('flowers', {'train': (PHOTOGRAPHS, LABELS)})
  options = {'tfds_name': 'flowers', 'validation': 0.4}
  train, test = (any_set.load(s, **options) for s in data.SPLITS)
  assert any_set.spec(**options).examples == {'train': 3, 'test': 2}
  assert (len(train), len(test)) == (3, 2)
  assert sorted(digests(train) + digests(test)) == decoded(PHOTOGRAPHS, LABELS)
  other = any_set.load('test', **options, split_seed=2)
  assert digests(other) != digests(test)
  assert len({source.digest for source in (train, test, other)}) == 3


def test_a_run_goes_on_with_the_version_and_the_images_that_it_began_with(
  tfds_dir, tmp_path, monkeypatch
):
  def now():
    source = any_set.load('train', tfds_name='flowers')
    data_file.check_source(run, 'train', source)
    return source

  run, both = tmp_path / 'run', {'train': (PHOTOGRAPHS, LABELS)}
  run.mkdir()
  both['test'] = both['train']
  folder = prepare('flowers', both)
  found = {s: any_set.load(s, tfds_name='flowers') for s in data.SPLITS}
  splits = {s: data_file.split_of(source) for s, source in found.items()}
  names, notes = found['train'].class_names, found['train'].notes
  directory = run_directory.RunDirectory(run)
  directory.record_data((9, 9, 3), names, splits, notes)
  digest = now().digest
  assert pickle.loads(pickle.dumps(found['train'])).digest == digest

  newer = prepare('flowers', both, version='5.1.1')
  with pytest.raises(Refused, match=r'flowers/5\.1\.0; now .*flowers/5\.1\.1'):
    now()
  shutil.rmtree(newer)
  assert now().digest == digest
  shutil.rmtree(folder)
  changed = [*PHOTOGRAPHS[:4], photograph(4, 'L')]
  prepare('flowers', both | {'train': (changed, LABELS)})
  with pytest.raises(Refused, match='other images in the split train'):
    now()
  shutil.rmtree(folder)
  prepare('flowers', both | {'train': (PHOTOGRAPHS[:4], LABELS)})
  with pytest.raises(Refused, match='5 examples in the split train; now it h'):
    now()
  monkeypatch.setenv('TFDS_DATA_DIR', str(tmp_path / 'elsewhere'))
  prepare('flowers', both)
  assert now().digest == digest
  part = {'tfds_name': 'flowers', 'validation': 0.4, 'split_seed': 1}
  assert any_set.load('train', **part).digest == digest  # it is not divided


# What is missing or damaged.


@pytest.mark.parametrize(
  ('load', 'command'),
  [
    (lambda: imagenet2012.load('test'), 'tfds build imagenet2012 '),
    (
      lambda: imagenet2012.load('train', subset='10pct'),
      'tfds build imagenet2012_subset/10pct ',
    ),
    (lambda: any_set.load('test', tfds_name='a/b'), 'tfds build a/b '),
  ],
)
def test_missing_sets_say_how_to_prepare_them(load, command, tfds_dir):
  with pytest.raises(data.MissingData) as error:
    load()
  first, second = str(error.value).splitlines()
  assert f'{tfds_dir} (TFDS_DATA_DIR)' in first
  assert command in second
  assert f'--file_format=array_record --data_dir={tfds_dir}' in second
  assert ('ILSVRC2012_img_val.tar' in second) == ('imagenet' in command)


def test_what_can_be_read_in_order_only_is_said_until_it_is_converted(tfds_dir):
  all_of_them = (PHOTOGRAPHS, LABELS)
  splits = {'train': all_of_them, 'test': all_of_them}
  info = prepare('flowers', splits) / INFO
  content = json.loads(info.read_text()) | {'fileFormat': 'tfrecord'}
  info.write_text(json.dumps(content))
  assert 'is prepared as tfrecord' in any_set.ready('flowers')
  with pytest.raises(data.MissingData, match=r'tfrecord, .*convert_format'):
    any_set.load('train', tfds_name='flowers')
  content['alternativeFileFormats'] = ['array_record']  # the conversion's
  info.write_text(json.dumps(content))
  source = any_set.load('train', tfds_name='flowers')
  assert sorted(digests(source)) == decoded(PHOTOGRAPHS, LABELS)


@pytest.mark.parametrize(
  ('content', 'label', 'message'),
  [
    (PHOTOGRAPHS[0][:300], 0, "Example 1 of split 'train' of .*: truncated"),
    (PHOTOGRAPHS[0], -1, "Example 1 of split 'train' of .* has label -1"),
  ],
)
def test_a_damaged_example_is_named(content, label, message, tfds_dir):
  contents = [PHOTOGRAPHS[0], content]
  splits = {'train': (contents, [0, label]), 'test': (contents[:1], [0])}
  prepare('flowers', splits)
  # TFDS has an order of its own.
  with pytest.raises(data.DamagedData, match=message.replace('1', '[01]', 1)):
    list(any_set.load('train', tfds_name='flowers'))


def test_a_set_that_lacks_a_file_is_refused(tfds_dir):
  folder = prepare('flowers', {'train': (PHOTOGRAPHS, LABELS)})
  (file,) = folder.glob('*.array_record*')
  file.unlink()
  with pytest.raises(data.DamagedData, match=f'lacks 1 of its 1 .*{file.name}'):
    any_set.load('train', tfds_name='flowers')


def test_readiness_is_told_in_one_line_and_without_importing_tfds(tfds_dir):
  program = """
import sys
from bnresearch import lookup
for name in lookup.names('data'):
  line = getattr(lookup.find('data', name), 'ready', str)()
  print(name, repr(line))
lookup.find('data', 'imagenet2012').spec()
assert 'tensorflow_datasets' not in sys.modules
"""
  done = subprocess.run(
    [sys.executable, '-c', program], capture_output=True, text=True, cwd=ROOT
  )
  assert done.returncode == 0, done.stderr
  lines = dict(line.split(' ', 1) for line in done.stdout.splitlines())
  assert lines.keys() == set(lookup.names('data'))
  for name in ('mnist', 'fashion_mnist', 'cifar10', 'cifar100', 'svhn'):
    assert f'{tfds_dir} (TFDS_DATA_DIR)' in lines[name]
    assert lookup.find('data', name).FILES[-1] in lines[name]
  for name in ('imagenet2012', 'tfds'):
    assert str(tfds_dir) in lines[name]
  assert {'\\n' in line for line in lines.values()} == {False}
