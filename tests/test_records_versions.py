"""Runs of other versions: those before are opened, those after are refused.

tests/old_run/run was begun by commit ef32900 and stopped after 4 of 6 steps;
old_run/whole.jsonl is the logbook of the same run, which that commit ended. Its
config lacks all that `config_file.BEFORE` names but the back-end.
"""

import json
import pathlib
import shutil

import numpy as np
import pytest

import bnresearch as bnr
from bnresearch import config as configs
from bnresearch import knobs
from bnresearch.main import main
from bnresearch.runs import config_file, logbook, run_directory
from configs import default

OLD = pathlib.Path(__file__).parent / 'old_run'
KNOBS = {
  'data.name': 'synthetic',
  'data.examples': 24,
  'model.features': (3,),
  'train.steps': 6,
  'train.log_every': 1,
  'train.batch_size': 8,
  'eval.every': 2,
  'eval.batch_size': 24,
  'eval.population_batches': 2,
  'checkpoint.every': 2,
  'checkpoint.keep': 1,
}
FLAGS = [f'--config.{key}={value}' for key, value in KNOBS.items()]


@pytest.fixture
def old(tmp_path):
  return shutil.copytree(OLD / 'run', tmp_path / 'run')


def change(path, **values):
  """Changes top-level entries of a run's config.json."""
  file = path / 'config.json'
  file.write_text(json.dumps(json.loads(file.read_text()) | values))


def test_every_knob_is_of_the_old_run_or_has_a_value_from_before_it():
  text = (OLD / 'run' / 'config.json').read_text()
  opened = knobs.leaves(config_file.from_json(text)).keys()
  known = knobs.leaves(default.get_config()).keys()
  missing = known - opened
  assert not missing, f'before=..., in knobs/table.py, for each of {missing}'
  assert opened <= known  # none has gone


def test_what_was_done_before_a_knob_is_a_value_of_its_type():
  values = knobs.leaves(default.get_config())
  for key, value in config_file.BEFORE.items():
    assert type(value) is type(values[key]), key


def test_an_old_run_is_listed_continued_and_evaluated(old, capsys):
  command = ['--config=configs/default.py', f'--workdir={old}', *FLAGS]
  assert main([*command, '--status']) == 0
  assert 'preempted' in capsys.readouterr().out
  assert main(command) == 0
  ours, theirs = (
    logbook.read(f) for f in (old / 'metrics.jsonl', OLD / 'whole.jsonl')
  )
  assert ours.keys() - theirs.keys() == {
    'train/top5_accuracy',  # later than that run
    'test/top5_accuracy',
  }
  for name, (steps, values) in theirs.items():
    np.testing.assert_array_equal(ours[name].steps, steps)
    np.testing.assert_allclose(ours[name].values, values, rtol=1e-5)
  written = json.loads((old / 'config.json').read_text())
  assert written['format'] == config_file.FORMAT
  assert run_directory.read_data(old)[2]['digests'].keys() == {'train', 'test'}
  run = bnr.open_run(old)
  evaluated = run.evaluate(run.restore(6))['accuracy']
  assert evaluated == theirs['test/accuracy'].values[-1]
  config = run.config.copy_and_resolve_references()
  configs.override(config, {'model.features': (4,)})
  with pytest.raises(run_directory.Refused, match=r'features: \(3,\) -> \(4'):
    run_directory.check(old, config)


@pytest.mark.parametrize(('before', 'now'), [(False, ()), (True, ('*',))])
def test_whether_all_norms_are_per_activation_was_a_flag(before, now, old):
  change(old, norm={'per_activation': before})
  assert run_directory.read_config(old).norm.per_activation == now


@pytest.mark.parametrize(
  ('written', 'now'),
  [({}, 'alternating_whole'), ({'format': 3}, 'alternating')],
)
def test_alternating_passes_went_through_the_whole_network(written, now, old):
  change(old, objective={'auxiliary': 'alternating'}, **written)
  assert run_directory.read_config(old).objective.auxiliary == now


@pytest.mark.parametrize(
  ('changed', 'message'),
  [
    (
      {'format': config_file.FORMAT + 1},
      f'its format is {config_file.FORMAT + 1}, and this version of bnresearch '
      f'reads those up to {config_file.FORMAT}. A newer version made it',
    ),
    ({'format': 'new'}, "its format is 'new'"),
    (
      {'optics': {'lens': 1}, 'colour': 2},
      'has colour, optics.lens, which this version of bnresearch does not know',
    ),
  ],
)
def test_a_run_of_a_newer_version_is_refused(changed, message, old, capsys):
  change(old, **changed)
  before = {f: f.stat().st_mtime_ns for f in old.rglob('*')}
  command = ['--config=configs/default.py', f'--workdir={old}', *FLAGS]
  for flags in (command, [*command, '--status'], ['--mode=eval', command[1]]):
    assert main(flags) == 2
    printed = capsys.readouterr()
    assert message in printed.err
    assert 'config.json' in printed.err
  assert {f: f.stat().st_mtime_ns for f in old.rglob('*')} == before


# Files that somebody has changed.


@pytest.mark.parametrize(
  ('file', 'content', 'message'),
  [
    ('config.json', b'[1]', 'needs a dict of knobs and groups, and holds a l'),
    ('config.json', b'\xff{}', 'is not UTF-8'),
    ('config.json', b'{"train": 5}', 'train, which this version'),
    ('config.json', b'{"seed": 0}', 'lacks augment.area, augment.aspect'),
    ('config.json', b'"a', 'is cut off'),
    ('status.json', b'["done"]', "needs a dict with the run's 'status'"),
    ('status.json', b'{"step": 4}', "needs a dict with the run's 'status'"),
    ('status.json', b'{"status": "done", "step": "4"}', "run's 'status'"),
    ('status.json', b'\xfe\xff', 'is not UTF-8'),
    ('data.json', b'[]', 'needs a dict with the (H, W, C) of image_shape'),
    ('data.json', b'{"examples": {}}', 'the (H, W, C) of image_shape'),
    ('data.json', b'{"image_shape": [8, 8, 1]}', 'of each split'),
    ('data.json', b'{"image_shape": [8, "8', 'has no data.json'),
    ('data.json', b'\xff', 'is not UTF-8'),
    ('class_names.json', b'{}', 'needs a list of names'),
    ('class_names.json', b'[1, 2]', 'needs a list of names'),
    ('class_names.json', b'\xff', 'is not UTF-8'),
  ],
)
def test_a_file_of_another_shape_is_named_once(
  file, content, message, old, capsys
):
  (old / file).write_bytes(content)
  before = {f: f.stat().st_mtime_ns for f in old.rglob('*')}
  flags = ['--config=configs/default.py', *FLAGS, '--status']
  evaluates = file != 'status.json'
  if evaluates:
    flags = ['--mode=eval']
  assert main([*flags, f'--workdir={old}']) == 2
  printed = capsys.readouterr().err
  assert message in printed
  assert file in printed
  assert {f: f.stat().st_mtime_ns for f in old.rglob('*')} == before


def test_a_damaged_list_of_sessions_is_not_written_over(old):
  file = old / 'provenance.json'
  file.write_text('{"jax": 1}')
  with pytest.raises(run_directory.Refused, match='a dict of each session'):
    run_directory.RunDirectory(old).begin_session(4, {})
  assert file.read_text() == '{"jax": 1}'
