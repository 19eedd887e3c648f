"""What a run notes of its data, and when its directory may change hands."""

import json

import numpy as np
import pytest

from bnresearch.data import Arrays
from bnresearch.runs import json_file, run_directory
from bnresearch.runs.data_file import Split
from configs import default


def config_of(**values):
  config = default.get_config()
  for key, value in values.items():
    group, leaf = key.split('__')
    config[group][leaf] = value
  return config


def test_data_may_be_elsewhere_and_read_otherwise(tmp_path):
  with run_directory.claim(tmp_path, config_of()) as run:
    run.update(status='preempted')
  moved = config_of(data__folder='/elsewhere', data__workers=3)
  with run_directory.claim(tmp_path, moved):
    pass
  kept = run_directory.read_config(tmp_path)
  assert kept.data.folder == '/elsewhere'
  assert kept.data.workers == 3


def test_a_run_that_is_done_keeps_its_config(tmp_path):
  with run_directory.claim(tmp_path, config_of()) as run:
    run.update(status='done')
  with run_directory.claim(tmp_path, config_of(data__folder='/elsewhere')):
    pass
  assert run_directory.read_config(tmp_path).data.folder == ''


@pytest.mark.parametrize('checkpoint', [False, True])
def test_what_failed_before_a_checkpoint_may_begin_otherwise(
  checkpoint, tmp_path
):
  with run_directory.claim(tmp_path, config_of()) as run:
    run.record_data((8, 8, 1), ('a', 'b'), {}, {})
    run.update(status='failed')
  if checkpoint:
    (tmp_path / 'checkpoints' / '100').mkdir(parents=True)
  other = config_of(data__name='mnist')
  if checkpoint:
    with pytest.raises(run_directory.Refused, match="'digits' -> 'mnist'"):
      run_directory.check(tmp_path, other)
    return
  with run_directory.claim(tmp_path, other) as run:
    run.record_data((28, 28, 1), ('c', 'd'), {}, {})
  assert run_directory.read_config(tmp_path).data.name == 'mnist'
  assert run_directory.read_data(tmp_path)[1] == ('c', 'd')


SPLITS = {'train': Split(5, 'x'), 'test': Split(2, 'y')}
NOTES = {'tfds': 'flowers/1.0.0', 'tfds_split': 'train', 'digest': 'z'}


@pytest.mark.parametrize(
  ('names', 'notes', 'splits', 'message'),
  [
    ('ac', {}, {}, 'trained on the classes a, b; now they are a, c'),
    ('ba', {}, {}, 'trained on the classes a, b; now they are b, a'),
    ('ab', {'digest': 'Z'}, {}, 'trained on other images: files have come'),
    (
      'ab',
      {'tfds': 'flowers/1.0.1'},
      {},
      r'trained on flowers/1\.0\.0; now the data is flowers/1\.0\.1',
    ),
    (
      'ab',
      {},
      {'train': Split(6, 'x')},
      'began with 5 examples in the split train; now it has 6',
    ),
    (
      'ab',
      {},
      {'test': Split(2, 'Y')},
      'began with other images in the split test, or in another order',
    ),
    (
      'ab',
      {},
      {'validation': Split(2, 'v')},
      '',  # which this run did not use before: it is added
    ),
  ],
)
def test_a_run_goes_on_with_its_own_data_only(
  names, notes, splits, message, tmp_path
):
  shape = (8, 8, 1)
  with run_directory.claim(tmp_path, config_of()) as run:
    run.record_data(shape, 'ab', SPLITS, NOTES)
    run.record_data(shape, 'ab', SPLITS, NOTES)
    other = shape, names, SPLITS | splits, NOTES | notes
    if message:
      with pytest.raises(run_directory.Refused, match=message):
        run.record_data(*other)
    else:
      run.record_data(*other)
  assert json.loads((tmp_path / 'class_names.json').read_text()) == ['a', 'b']
  added = {} if message else splits
  assert json.loads((tmp_path / 'data.json').read_text()) == {
    'image_shape': [8, 8, 1],
    'examples': {'train': 5, 'test': 2}
    | {k: v.count for k, v in added.items()},
    'digests': {'train': 'x', 'test': 'y'}
    | {k: v.digest for k, v in added.items()},
    **NOTES,
  }


def test_what_a_run_of_an_earlier_version_did_not_note_is_added(tmp_path):
  old = {'image_shape': [8, 8, 1], 'examples': {'train': 5, 'test': 2}}
  (tmp_path / 'data.json').write_text(json.dumps(old))
  (tmp_path / 'class_names.json').write_text('["a", "b"]')
  run = run_directory.RunDirectory(tmp_path)
  with pytest.raises(run_directory.Refused, match='5 examples in the split tr'):
    run.record_data((8, 8, 1), 'ab', {'train': Split(4, 'x')}, {})
  run.record_data((8, 8, 1), 'ab', SPLITS, NOTES)
  about = run_directory.read_data(tmp_path)[2]
  assert about == old | NOTES | {'digests': {'train': 'x', 'test': 'y'}}
  with pytest.raises(run_directory.Refused, match='other images in the split'):
    run.record_data((8, 8, 1), 'ab', {'train': Split(5, 'X')}, NOTES)


def test_the_data_stays_noted_where_the_classes_were_cut_off(tmp_path):
  with run_directory.claim(tmp_path, config_of()) as run:
    run.record_data((8, 8, 1), 'ab', SPLITS, NOTES)
    (tmp_path / 'class_names.json').write_text('["a"')
    with pytest.raises(run_directory.Refused, match='began with 5 examples'):
      run.record_data((8, 8, 1), 'ab', {'train': Split(6, 'x')}, NOTES)
    run.record_data((8, 8, 1), 'ab', SPLITS, NOTES)
  assert run_directory.read_data(tmp_path)[1] == ('a', 'b')


def test_the_digest_of_images_in_memory_is_of_all_of_them():
  images = np.arange(2 * 3 * 3, dtype=np.uint8).reshape(2, 3, 3, 1)
  labels = np.int32([0, 1])
  digest = Arrays(images, labels, ('a', 'b')).digest
  assert Arrays(images.copy(), labels.astype(int), ('a', 'b')).digest == digest
  turned = images.transpose(0, 2, 1, 3)
  for other in (
    Arrays(images + (np.arange(18) == 17).reshape(images.shape), labels, 'ab'),
    Arrays(images, labels[::-1], 'ab'),
    Arrays(images[::-1], labels, 'ab'),
    Arrays(turned, labels, 'ab'),
    Arrays(images.reshape(2, 9, 1, 1), labels, 'ab'),
  ):
    assert other.digest != digest
  whole = Arrays(turned, labels, 'ab').digest
  assert Arrays(np.ascontiguousarray(turned), labels, 'ab').digest == whole


def test_a_run_that_was_killed_between_both_files_goes_on(
  tmp_path, monkeypatch
):
  written = []

  def replace(file, text, kept=json_file.replace):
    if written:
      raise KeyboardInterrupt
    written.append(file)
    kept(file, text)

  with run_directory.claim(tmp_path, config_of()) as run:
    with monkeypatch.context() as patched:
      patched.setattr(json_file, 'replace', replace)
      with pytest.raises(KeyboardInterrupt):
        run.record_data((8, 8, 1), ('a', 'b'), {}, {})
    assert len(written) == 1
    run.record_data((8, 8, 1), ('a', 'b'), {}, {})
  assert run_directory.read_data(tmp_path)[1] == ('a', 'b')


def test_a_run_of_a_time_before_these_files_is_told_apart(tmp_path):
  with pytest.raises(
    FileNotFoundError, match=r'has no class_names.json: .*old'
  ):
    run_directory.read_data(tmp_path)
