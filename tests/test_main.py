"""The command line, as a user types it: in processes of its own."""

import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

import bnresearch as bnr
from bnresearch.runs.checkpoint import digest

ROOT = pathlib.Path(__file__).parent.parent
FIGURE1 = '--config=configs/figure1.py'
# Small and busy: many rows, many checkpoints, all probes.
SHORT = (
  '--config.train.log_every=20',
  '--config.eval.every=100',
  '--config.probes.every=100',
  '--config.checkpoint.every=200',
)


def command(*arguments):
  return [sys.executable, '-m', 'bnresearch.main', *map(str, arguments)]


def bnresearch(*arguments, **environment):
  return subprocess.run(
    command(*arguments),
    cwd=ROOT,
    env=os.environ | environment,
    capture_output=True,
    text=True,
  )


def begin(*arguments):
  return subprocess.Popen(
    command(*arguments),
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )


def wait_for_rows(process, run, rows):
  """Waits until the logbook of a run has so many rows, or the process ended."""
  file = run / 'metrics.jsonl'
  deadline = time.monotonic() + 120
  while process.poll() is None and time.monotonic() < deadline:
    if file.exists() and file.read_bytes().count(b'\n') >= rows:
      return
    time.sleep(0.005)
  raise AssertionError(process.communicate())


@pytest.fixture(scope='module')
def finished(tmp_path_factory):
  """A workdir in which a sweep of two points was trained to its end."""
  workdir = tmp_path_factory.mktemp('finished')
  done = bnresearch(f'{FIGURE1}:steps=4800', f'--workdir={workdir}', *SHORT)
  assert done.returncode == 0, done.stderr
  return workdir, done.stdout


def test_a_sweep_trains_every_point_and_prints_a_summary(finished):
  workdir, printed = finished
  names = sorted(path.name for path in workdir.iterdir())
  assert names == [
    'init_std=0.01,norm=batch,seed=0',
    'init_std=0.01,norm=none,seed=0',
  ]
  assert 'All is done.' in printed
  for name in names:
    run = bnr.open_run(workdir / name)
    assert run.status['status'] == 'done'
    assert run.metrics['test/accuracy'].steps.tolist() == [*range(0, 4801, 100)]
    assert run.metrics['train/loss'].steps.tolist() == [*range(20, 4801, 20)]
  assert run.metrics['test/examples'].values.tolist() == [355] * 49
  with_bn = bnr.open_run(workdir / names[0])
  assert with_bn.metrics['test/accuracy'].values[-1] > 0.9


def test_the_same_command_again_says_that_it_is_done(finished):
  workdir, _ = finished
  before = {f: f.stat().st_mtime_ns for f in workdir.rglob('*.json*')}
  again = bnresearch(f'{FIGURE1}:steps=4800', f'--workdir={workdir}', *SHORT)
  assert again.returncode == 0
  assert 'All is done.' in again.stdout
  assert before == {f: f.stat().st_mtime_ns for f in workdir.rglob('*.json*')}


def test_another_config_is_refused_and_nothing_is_touched(finished):
  workdir, _ = finished
  before = {f: f.stat().st_mtime_ns for f in workdir.rglob('*')}
  other = bnresearch(
    f'{FIGURE1}:steps=4800',
    f'--workdir={workdir}',
    *SHORT,
    '--config.optim.learning_rate=0.5',
    '--config.seed=0',
  )
  assert other.returncode == 2
  assert 'seed: this config sweeps it' in other.stderr
  other = bnresearch(
    f'{FIGURE1}:steps=9600',
    f'--workdir={workdir}',
    *SHORT,
    '--config.optim.learning_rate=0.5',
  )
  assert other.returncode == 2
  assert 'optim.learning_rate: 0.1 -> 0.5' in other.stderr
  assert 'train.steps: 4800 -> 9600' in other.stderr
  assert before == {f: f.stat().st_mtime_ns for f in workdir.rglob('*')}


def test_a_sweep_may_grow_but_not_mix_with_another(finished, tmp_path):
  workdir, _ = finished
  shutil.copytree(workdir, tmp_path / 'grown')
  arguments = (f'--workdir={tmp_path / "grown"}', *SHORT)
  mixed = bnresearch(
    f'{FIGURE1}:steps=4800,init=easy', *arguments, '--config.norm.momentum=0.9'
  )
  assert mixed.returncode == 2
  assert 'norm.momentum: 0.99 -> 0.9' in mixed.stderr
  grown = bnresearch(f'{FIGURE1}:steps=4800,seeds=2', *arguments)
  assert grown.returncode == 0, grown.stderr
  assert len(list((tmp_path / 'grown').iterdir())) == 4

  run = workdir / 'init_std=0.01,norm=none,seed=0'
  inside = bnresearch(f'{FIGURE1}:steps=4800', f'--workdir={run}', *SHORT)
  assert inside.returncode == 2
  assert 'is a run, not the directory of a sweep' in inside.stderr


def test_evaluation_restores_and_counts_every_example(finished):
  workdir, _ = finished
  run = workdir / 'init_std=0.01,norm=batch,seed=0'
  result = bnresearch('--mode=eval', f'--workdir={run}', '--step=best')
  assert result.returncode == 0, result.stderr
  best = max(bnr.open_run(run).metrics['test/accuracy'].values[2::2])
  ema = next(line for line in result.stdout.splitlines() if 'ema' in line)
  assert f'{best:.4%}' in ema
  assert '355' in ema
  assert 'population' in result.stdout

  missing = bnresearch('--mode=eval', f'--workdir={run}', '--step=7')
  assert missing.returncode == 2
  assert 'holds no checkpoint of step 7' in missing.stderr
  sweep = bnresearch('--mode=eval', f'--workdir={workdir}')
  assert sweep.returncode == 2
  assert str(run) in sweep.stderr


def test_every_problem_is_named_at_once():
  result = bnresearch(
    FIGURE1,
    '--config.optim.learning_rte=1',
    '--config.norm.momentum=1.5',
    '--config.train.steps=many',
    '--config.model.activation=sigmiod',
  )
  assert result.returncode == 2
  for part in (
    '4 problems',
    "optim.learning_rte: no such key. Did you mean 'optim.learning_rate'?",
    'norm.momentum = 1.5: needs a float of at least 0 and below 1.',
    "train.steps = 'many': needs int",
    "model.activation = 'sigmiod': needs one of own, relu,",
    "Did you mean 'sigmoid'?",
  ):
    assert part in result.stderr
  result = bnresearch('--confg=configs/figure1.py', 'stray')
  assert "Did you mean '--config'?" in result.stderr
  assert 'stray: no such flag' in result.stderr


def test_list_point_help_and_dry_run(tmp_path):
  listed = bnresearch(f'{FIGURE1}:init=both', '--list')
  assert listed.stdout.splitlines()[3] == '  3  init_std=0.1,norm=batch,seed=0'
  taught = bnresearch('--help').stdout
  assert '--config.dry_run=True' in taught
  assert '--mode=eval --step=best' in taught
  assert '--launcher=slurm' in taught
  assert '--collect=figure1.csv' in taught

  arguments = (f'{FIGURE1}:data=mnist', f'--workdir={tmp_path}')
  dry = bnresearch(*arguments, '--config.dry_run=True', BNRESEARCH_DATA_DIR='')
  assert dry.stdout.count(': done, its checkpoint restored') == 2, dry.stderr
  assert not list(tmp_path.iterdir())

  outside = bnresearch(FIGURE1, '--point=2')
  assert '--point=2: the points are 0 to 1.' in outside.stderr


@pytest.mark.study
def test_imagenet_passes_a_dry_run_without_its_data():
  """A narrow network of few modules; images, and all else, as published."""
  dry = bnresearch(
    '--config=configs/inception.py:scale=paper',
    '--point=2',
    '--config.model.blocks=(0, 0, 0)',
    '--config.model.width=0.1',
    '--config.dry_run=True',
    BNRESEARCH_DATA_DIR='',
  )
  assert 'bn_x5,seed=0: done, its checkpoint restored' in dry.stdout, dry.stderr


@pytest.mark.parametrize('seed', [1, pytest.param(2, marks=pytest.mark.kills)])
def test_a_killed_run_continues_bit_for_bit(finished, tmp_path, seed):
  """SIGKILL at three random rows; the last session ends the run."""
  workdir, _ = finished
  point = ('init_std=0.01,norm=none,seed=0', 'init_std=0.01,norm=batch,seed=0')
  run = tmp_path / point[1]
  arguments = (
    f'{FIGURE1}:steps=4800',
    '--point=1',
    f'--workdir={tmp_path}',
    *SHORT,
  )
  rows = (workdir / point[1] / 'metrics.jsonl').read_bytes().count(b'\n')
  # Well before the end: between the row and the signal it goes on.
  for kill_at in sorted(random.Random(seed).sample(range(1, rows // 2), 3)):
    process = begin(*arguments)
    wait_for_rows(process, run, kill_at)
    process.kill()
    process.communicate()
  assert bnr.open_run(run).status['status'] == 'interrupted'
  last = bnresearch(*arguments)
  assert last.returncode == 0, last.stderr

  whole, killed = bnr.open_run(workdir / point[1]), bnr.open_run(run)
  assert digest(whole.restore()) == digest(killed.restore())
  for name in ('metrics.jsonl', 'config.json'):
    assert (whole.path / name).read_bytes() == (run / name).read_bytes()
  sessions = json.loads((run / 'provenance.json').read_text())
  assert len(sessions) >= 2


@pytest.mark.parametrize('number', [signal.SIGHUP, signal.SIGINT])
@pytest.mark.kills
def test_an_interrupted_sweep_saves_and_continues(finished, tmp_path, number):
  """Two points in two processes; the signal goes to the parent."""
  workdir, _ = finished
  arguments = (
    f'{FIGURE1}:steps=4800',
    '--processes=2',
    f'--workdir={tmp_path}',
    *SHORT,
  )
  run = tmp_path / 'init_std=0.01,norm=batch,seed=0'
  process = begin(*arguments)
  wait_for_rows(process, run, 10)
  process.send_signal(number)
  printed, errors = process.communicate(timeout=300)
  assert process.returncode == 1, errors
  assert 'The same command again continues.' in printed
  status = bnr.open_run(run).status
  assert status['status'] == 'preempted'
  assert bnr.open_run(run).checkpoints[-1] == status['step']

  last = bnresearch(*arguments)
  assert last.returncode == 0, last.stderr
  for name in (
    'init_std=0.01,norm=batch,seed=0',
    'init_std=0.01,norm=none,seed=0',
  ):
    old, new = bnr.open_run(workdir / name), bnr.open_run(tmp_path / name)
    assert digest(old.restore()) == digest(new.restore())


def test_an_idle_process_does_not_end_the_ones_that_save(tmp_path):
  """One point is done, and its process idle, when the signal comes."""
  config = tmp_path / 'unequal.py'
  config.write_text(
    'from configs import default\n'
    'def get_config(arg):\n'
    '  c = default.get_config()\n'
    '  c.train.log_every = c.eval.every = 20\n'
    '  c.checkpoint.every = 20_000\n'
    "  c.sweep = tuple({'train.steps': s} for s in (20, 200_000))\n"
    '  return c\n'
  )
  workdir = tmp_path / 'runs'
  process = begin(f'--config={config}', '--processes=2', f'--workdir={workdir}')
  wait_for_rows(process, workdir / 'steps=200000', 10)
  short = workdir / 'steps=20'
  while bnr.open_run(short).status.get('status') != 'done':
    time.sleep(0.01)
  time.sleep(1)  # its process has handed the result over, and is idle
  process.send_signal(signal.SIGTERM)
  printed, errors = process.communicate(timeout=300)
  assert process.returncode == 1, errors
  assert 'failed' not in printed
  status = bnr.open_run(workdir / 'steps=200000').status
  assert status['status'] == 'preempted'


def test_divergence_is_a_result_and_the_sweep_goes_on(tmp_path):
  config = tmp_path / 'diverge.py'
  config.write_text(
    'from configs import default\n'
    'def get_config(arg):\n'
    '  c = default.get_config()\n'
    "  c.model.activation = 'relu'\n"
    "  c.norm.name = 'none'\n"
    '  c.train.steps = 200\n'
    '  c.train.log_every = c.eval.every = 50\n'
    '  c.checkpoint.every = 100\n'
    '  c.sweep = tuple(\n'
    "      {'optim.learning_rate': r} for r in (1e6, 0.01))\n"
    '  return c\n'
  )
  result = bnresearch(
    f'--config={config}', f'--workdir={tmp_path}/runs', '--processes=1'
  )
  assert result.returncode == 0, result.stderr
  bad = bnr.open_run(tmp_path / 'runs' / 'learning_rate=1000000.0')
  assert bad.status['status'] == 'diverged'
  loss = bad.metrics['train/loss']
  assert not np.isfinite(loss.values[-1])
  assert (
    f'call of steps {loss.steps[-1] - 49} to {loss.steps[-1]}'
    in (bad.status['message'])
  )
  good = bnr.open_run(tmp_path / 'runs' / 'learning_rate=0.01')
  assert good.status['status'] == 'done'


def test_everything_works_with_tensorflow_blocked(tmp_path):
  """Training and evaluation, on data that comes through TFDS if it is here."""
  data = 'mnist' if os.environ.get('BNRESEARCH_DATA_DIR') else 'digits'
  script = (
    'import sys\n'
    "sys.modules['tensorflow'] = None\n"
    'from bnresearch.main import main\n'
    'sys.exit(main(sys.argv[1:]))\n'
  )
  arguments = (
    f'{FIGURE1}:data={data},steps=200',
    '--point=1',
    f'--workdir={tmp_path}',
    *SHORT,
  )
  run = tmp_path / 'init_std=0.01,norm=batch,seed=0'
  for line in (arguments, ('--mode=eval', f'--workdir={run}')):
    result = subprocess.run(
      [sys.executable, '-c', script, *line],
      cwd=ROOT,
      capture_output=True,
      text=True,
    )
    assert result.returncode == 0, result.stderr
  assert '10,000' in result.stdout or '355' in result.stdout
