"""Profiles: a step's time by kind of operation and by layer."""

import hashlib
import json

import pytest

import bnresearch as bnr
from bnresearch import main
from bnresearch.inference import profiling
from bnresearch.inference.profiling import Operation


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  path = tmp_path_factory.mktemp('profile') / 'run'
  config = bnr.default_config()
  config.data.name = 'synthetic'
  config.model.name, config.model.stem = 'lenet', 'small'
  config.train.steps = config.train.log_every = config.eval.every = 2
  config.train.batch_size, config.checkpoint.every = 16, 2
  bnr.train(config, path, quiet=True)
  return path


def contents(path):
  """Returns a digest of every file of a run but for the profile."""
  return {
    file: hashlib.sha256(file.read_bytes()).hexdigest()
    for file in path.rglob('*')
    if file.is_file() and 'profile' not in file.parts
  }


def test_a_step_is_shown_by_kind_and_layer(trained, capsys):
  before = contents(trained)
  arguments = ['--mode=profile', f'--workdir={trained}', '--steps=3']
  assert main.main(arguments) == 0
  shown = capsys.readouterr().out
  for words in (
    'a training step of 16 examples',
    'waiting for the host',
    'convolution or product',
    'conv_1/norm',
    'outside of layers',
    'Perfetto',
  ):
    assert words in shown
  assert contents(trained) == before

  found = json.loads((trained / 'profile' / 'profile.json').read_text())
  assert found['steps'] == 3
  assert 0 < found['wall'] < 60
  assert 0 <= found['waiting'] < found['wall']
  rows = found['operations']
  assert {row['direction'] for row in rows} == {*profiling.PASSES}
  layers = {row['layer'] for row in rows}
  assert {'', 'conv_1', 'conv_2/norm', 'logits'} <= layers
  assert all(row['seconds'] > 0 for row in rows)
  assert list((trained / 'profile').rglob('perfetto_trace.json.gz'))


@pytest.mark.parametrize(
  ('instruction', 'expected'),
  [
    (
      ('fusion.3', 'fusion', 'jit(f)/jvp(Model)/block_1/conv/norm/mul'),
      ('block_1/conv/norm', 'forward', 'norm'),
    ),
    (
      (
        'dot.1',
        'dot',
        'jit(f)/transpose(jvp(Model))/conv_1/Conv_0/jit(convolve)/dot_general',
      ),
      ('conv_1', 'backward', 'convolution or product'),
    ),
    (
      (
        'add.1',
        'add',
        'jit(f)/jvp(Model)/checkpoint/rematted_computation/block/add',
      ),
      ('block', 'forward', 'other'),
    ),
    (('copy.7', 'copy', 'jit(f)/jvp(M)/conv/add'), ('conv', 'forward', 'copy')),
    (
      ('all-reduce.2', 'all-reduce', 'jit(f)/jvp(M)/conv/norm/reduce_sum'),
      ('conv/norm', 'forward', 'collective'),
    ),
    (
      ('maximum.1', 'maximum', 'jit(f)/jvp(M)/jit(_compiled_maxima)/max'),
      ('', 'forward', 'pooling'),
    ),
    (('subtract.4', 'subtract', 'jit(f)/sub'), ('', 'update', 'other')),
    (('tuple', 'tuple', ''), ('', 'update', 'other')),
  ],
)
def test_an_operation_is_known_by_its_names(instruction, expected):
  assert profiling._operation(*instruction) == Operation(*expected)


def test_what_a_profile_needs_is_said(trained, tmp_path, capsys):
  assert main.main(['--mode=profile']) == 2
  assert '--mode=profile needs --workdir=RUN' in capsys.readouterr().err
  assert main.main([f'--workdir={trained}', '--mode=eval', '--steps=3']) == 2
  assert '--steps: only for --mode=profile.' in capsys.readouterr().err
  assert main.main(['--mode=profile', f'--workdir={tmp_path / "no"}']) == 2
  assert 'no' in capsys.readouterr().err


def test_runs_take_turns_and_stay_as_they_are(trained):
  before = contents(trained)
  runs = [bnr.open_run(trained)] * 2
  seconds = profiling.in_turns(runs, rounds=3, steps=2)
  assert seconds.shape == (2, 3)
  assert (seconds > 0).all()
  assert contents(trained) == before


def test_each_round_begins_with_another_run(monkeypatch):
  turns = []

  class Told:
    def __init__(self, run):
      self.run = run

    def turn(self, steps):
      turns.append(self.run)
      return len(turns) * steps

  monkeypatch.setattr(profiling, '_Contestant', Told)
  seconds = profiling.in_turns(['a', 'b', 'c'], rounds=2, steps=10)
  assert ''.join(turns) == 'abcbca'
  assert seconds.tolist() == [[10, 60], [20, 40], [30, 50]]
