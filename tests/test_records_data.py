"""What a run notes of its data, and when its directory may change hands."""

import json

import pytest

from bnresearch.records import run_directory
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


@pytest.mark.parametrize(
  ('names', 'digest', 'message'),
  [
    (('a', 'c'), 'x', 'trained on the classes a, b; now they are a, c'),
    (('b', 'a'), 'x', 'trained on the classes a, b; now they are b, a'),
    (('a', 'b'), 'y', 'trained on other images'),
  ],
)
def test_a_run_goes_on_with_its_own_data_only(names, digest, message, tmp_path):
  with run_directory.claim(tmp_path, config_of()) as run:
    examples = {'train': 5, 'test': 2}
    run.record_data((8, 8, 1), ('a', 'b'), examples, {'digest': 'x'})
    run.record_data((8, 8, 1), ('a', 'b'), examples, {'digest': 'x'})
    with pytest.raises(run_directory.Refused, match=message):
      run.record_data((8, 8, 1), names, examples, {'digest': digest})
  assert json.loads((tmp_path / 'class_names.json').read_text()) == ['a', 'b']
  assert json.loads((tmp_path / 'data.json').read_text()) == {
    'image_shape': [8, 8, 1],
    'examples': examples,
    'digest': 'x',
  }


def test_a_run_that_was_killed_between_both_files_goes_on(
  tmp_path, monkeypatch
):
  written = []

  def replace(file, text, kept=run_directory._replace):
    if written:
      raise KeyboardInterrupt
    written.append(file)
    kept(file, text)

  with run_directory.claim(tmp_path, config_of()) as run:
    with monkeypatch.context() as patched:
      patched.setattr(run_directory, '_replace', replace)
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
