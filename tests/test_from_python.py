"""The public names, and training from Python by them."""

import ast
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest

import bnresearch as bnr
from bnresearch.config import ConfigError
from bnresearch.sweeps import launch
from bnresearch.terminal import Refused

LIBRARY = pathlib.Path(bnr.__file__).parent

# Whoever changes these, says so in CHANGELOG.md.
NAMES = [
  'Run',
  'adapt_run',
  'default_config',
  'evaluate_together',
  'fold',
  'fold_run',
  'load_config',
  'models',
  'norms',
  'open_run',
  'population_statistics',
  'probes',
  'sweep',
  'train',
]


def small(**values):
  config = bnr.default_config()
  config.data.name = 'synthetic'
  config.train.steps = config.train.log_every = config.eval.every = 4
  config.checkpoint.every = 4
  for key, value in values.items():
    group, _, name = key.rpartition('__')
    node = config[group] if group else config
    setattr(node, name, value)
  return config


def test_the_public_names_are_those_and_can_be_had():
  assert sorted(bnr.__all__) == NAMES
  assert {*NAMES} <= {*dir(bnr)}
  for name in NAMES:
    assert getattr(bnr, name).__doc__
  with pytest.raises(AttributeError, match="has no attribute 'bacth'"):
    bnr.norms.bacth  # noqa: B018


def test_type_checkers_see_the_same_names():
  tree = ast.parse((LIBRARY / '__init__.py').read_text())
  (block,) = (node for node in tree.body if isinstance(node, ast.If))
  seen = [alias.asname for node in block.body for alias in node.names]
  assert sorted(seen) == NAMES
  for node in block.body:
    module = node.module.removeprefix('bnresearch').removeprefix('.')
    for alias in node.names:
      path = f'{module}:{alias.name}' if module else alias.name
      assert bnr._PUBLIC[alias.asname] == path


def test_every_room_gives_its_entries_as_attributes():
  for room in ('norms', 'models', 'probes'):
    files = (LIBRARY / room).glob('[!_]*.py')
    for name in (file.stem for file in files):
      module = getattr(getattr(bnr, room), name)
      assert module.__name__ == f'bnresearch.{room}.{name}'


def test_the_layer_needs_jax_and_flax_only():
  """Whoever uses it in a network of their own waits for nothing else."""
  program = """
import json, sys
import flax.linen, jax
before = {name.partition('.')[0] for name in sys.modules}
import bnresearch as bnr
bnr.norms.batch.Norm, bnr.population_statistics, bnr.fold
new = {name.partition('.')[0] for name in sys.modules} - before
rooms = sorted({n.split('.')[1] for n in sys.modules if 'bnresearch.' in n})
print(json.dumps([sorted(new), rooms]))
"""
  done = subprocess.run(
    [sys.executable, '-c', program],
    capture_output=True,
    text=True,
    check=True,
  )
  new, rooms = json.loads(done.stdout)
  assert new == ['bnresearch']
  assert rooms == ['lazy', 'norms', 'ops', 'statistics']


# Training.


def test_a_run_is_trained_and_the_same_call_opens_it(tmp_path, capsys):
  config = small(norm__name='group', norm__channel_groups=4)
  run = bnr.train(config, tmp_path / 'run')
  assert run.status['status'] == 'done'
  assert run.config.norm.name == 'group'
  before = (tmp_path / 'run' / 'metrics.jsonl').read_bytes()
  capsys.readouterr()
  again = bnr.train(config, str(tmp_path / 'run'), quiet=True)
  assert (tmp_path / 'run' / 'metrics.jsonl').read_bytes() == before
  assert again.checkpoints == [4]
  assert not capsys.readouterr().out


def test_what_is_wrong_is_raised_and_touches_nothing(tmp_path):
  path = tmp_path / 'run'
  config = small(train__log_every=3)
  with pytest.raises(ConfigError, match=r'multiple of train\.log_every'):
    bnr.train(config, path)
  config = small(sweep=({'seed': 0}, {'seed': 1}))
  with pytest.raises(ConfigError, match=r'has 2 points\. Use `sweep`'):
    bnr.train(config, path)
  with pytest.raises(ConfigError, match="launcher = 'slrum': needs one of loc"):
    bnr.sweep(config, path, launcher='slrum')
  assert not path.exists()
  bnr.train(small(), path, quiet=True)
  with pytest.raises(Refused, match='seed'):
    bnr.train(small(seed=7), path)


def test_a_failure_keeps_its_traceback(tmp_path, monkeypatch):
  def fail(*args, **options):
    raise ZeroDivisionError('of a probe')

  monkeypatch.setattr('bnresearch.runs.session._Session.evaluate', fail)
  with pytest.raises(ZeroDivisionError, match='of a probe') as caught:
    bnr.train(small(), tmp_path / 'run', quiet=True)
  assert caught.traceback[-1].name == 'fail'
  assert bnr.open_run(tmp_path / 'run').status['status'] == 'failed'
  monkeypatch.undo()
  run = bnr.train(small(), tmp_path / 'run', quiet=True)
  assert run.status['status'] == 'done'


def test_an_interrupted_run_is_saved_and_continues(tmp_path):
  config = small(train__steps=400_000, checkpoint__every=40_000)
  config.train.log_every = config.eval.every = 40
  path = tmp_path / 'run'

  def interrupt():
    while not (path / 'metrics.jsonl').exists():
      ended.wait(0.05)
    os.kill(os.getpid(), signal.SIGINT)

  ended = threading.Event()
  threading.Thread(target=interrupt, daemon=True).start()
  with pytest.raises(KeyboardInterrupt, match='the same call continues'):
    bnr.train(config, path, quiet=True)
  run = bnr.open_run(path)
  assert run.status['status'] == 'preempted'
  assert run.checkpoints


def test_a_sweep_gives_its_runs_by_name(tmp_path):
  config = small(sweep=({'seed': 0}, {'seed': 1}))
  runs = bnr.sweep(config, tmp_path, processes=1, quiet=True)
  assert list(runs) == ['seed=0', 'seed=1']
  assert all(run.status['status'] == 'done' for run in runs.values())
  found = bnr.sweep(config, tmp_path, launcher='vectorized', quiet=True)
  for name, run in runs.items():
    np.testing.assert_array_equal(
      found[name].metrics['test/loss'].values, run.metrics['test/loss'].values
    )


@pytest.mark.parametrize(
  ('status', 'error', 'words'),
  [
    (
      'preempted',
      KeyboardInterrupt,
      'was interrupted; the same call continues',
    ),
    ('waiting', RuntimeError, '1 of 2 points have not begun'),
  ],
)
def test_a_sweep_that_has_not_ended_says_so(
  status, error, words, tmp_path, monkeypatch
):
  statuses = {'seed=0': 'done', 'seed=1': status}
  monkeypatch.setattr(launch, 'run', lambda *_: statuses)
  config = small(sweep=({'seed': 0}, {'seed': 1}))
  with pytest.raises(error, match=words):
    bnr.sweep(config, tmp_path, quiet=True)


def test_a_script_trains_a_sweep_in_processes(tmp_path):
  """As users write it: two processes, each of which imports the script."""
  script = tmp_path / 'script.py'
  script.write_text("""
import sys
import bnresearch as bnr

if __name__ == '__main__':
  config = bnr.default_config()
  config.data.name = 'synthetic'
  config.train.steps = config.train.log_every = config.eval.every = 4
  config.checkpoint.every = 4
  config.sweep = ({'seed': 0}, {'seed': 1})
  runs = bnr.sweep(config, sys.argv[1], processes=2)
  print({name: run.status['status'] for name, run in runs.items()})
""")
  done = subprocess.run(
    [sys.executable, script, tmp_path / 'runs'],
    capture_output=True,
    text=True,
    check=True,
    cwd=tmp_path,
    env=os.environ | {'PYTHONPATH': str(LIBRARY.parent)},
  )
  assert "{'seed=0': 'done', 'seed=1': 'done'}" in done.stdout
