"""Many hosts, as processes of this machine: like one, and lost one at a time.

They are started as users start them, by JAX's variables or by `srun`, and
compute together with JAX's collectives for CPUs.
"""

import contextlib
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from rich.console import Console

import bnresearch as bnr
from bnresearch import config as configs
from bnresearch.assembly import assemble
from bnresearch.machine import hosts, process
from bnresearch.runs import run_directory
from bnresearch.sweeps import points
from bnresearch.sweeps.vectorized import launcher as vectorized
from bnresearch.training import parallel
from configs import default
from tests import folders

ROOT = pathlib.Path(__file__).parents[1]
# Each call saves, so that no run is over before a signal reaches it.
CONFIG = """
from configs import default
def get_config(arg):
  c = default.get_config()
  c.train.batch_size = 64
  c.train.steps = 100
  c.train.log_every = c.eval.every = c.probes.every = c.checkpoint.every = 10
  c.probes.names = ('activation_moments', 'saturation')
  return c
"""
MAIN = 'import sys; from bnresearch.main import main; sys.exit(main())'
# Tells each batch, also of an evaluation and of population statistics, as the
# devices of all hosts have it; evaluates a stream.
TELLING = """
import hashlib, sys
from jax.experimental import multihost_utils
from bnresearch.training import parallel, stream
from bnresearch.main import main

split, stream.RESIDENT_BYTES = parallel.split, 0

def told(batch):
  placed = split(batch)
  images, labels, *mask = multihost_utils.process_allgather(placed, tiled=True)
  if mask:  # it is evaluated, and padded by anything
    images, labels = images[mask[0]], labels[mask[0]]
  both = hashlib.sha256(images.tobytes() + labels.tobytes())
  print('given', images.shape, both.hexdigest(), flush=True)
  return placed

parallel.split = told
sys.exit(main())
"""
NETWORK = (
  '--config.data.name=image_folder',
  '--config.data.image_size=16',
  '--config.augment.crop=resized',
  '--config.augment.flip=True',
  '--config.model.name=lenet',
  '--config.model.dropout_rate=0.3',
  '--config.norm.group_size=4',
  '--config.train.batch_size=8',
  '--config.train.steps=6',
  '--config.train.log_every=2',
  '--config.train.average=0.5',
  '--config.eval.population_batches=2',
  '--config.eval.every=2',
  '--config.eval.batch_size=4',
  '--config.checkpoint.every=6',
)


@contextlib.contextmanager
def begun(count, *arguments, program=MAIN, of_last=()):
  """Yields processes that run as hosts together; a single one is no host.

  Args:
    count: of processes.
    *arguments: of their command.
    program: that they run.
    of_last: arguments of the last one only.
  """
  with socket.socket() as free:
    free.bind(('127.0.0.1', 0))
    port = free.getsockname()[1]
  processes = []
  for index in range(count):
    variables = {
      'JAX_COORDINATOR_ADDRESS': f'127.0.0.1:{port}',
      'JAX_NUM_PROCESSES': str(count),
      'JAX_PROCESS_ID': str(index),
    }
    own = of_last if index == count - 1 else ()
    processes.append(
      subprocess.Popen(
        [sys.executable, '-c', program, *map(str, (*arguments, *own))],
        cwd=ROOT,
        env=os.environ | (variables if count > 1 else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
      )
    )
  try:
    yield processes
  finally:
    for process in processes:
      process.kill()
      process.communicate()


def ends(processes):
  """Waits for all; returns their exit statuses, and what each has printed."""
  printed = [process.communicate(timeout=120)[0] for process in processes]
  return [process.returncode for process in processes], printed


def finish(count, *arguments, **options):
  """Runs hosts to their end; returns what each has printed."""
  with begun(count, *arguments, **options) as processes:
    statuses, printed = ends(processes)
  assert statuses == [0] * count, printed
  return printed


def wait_for_checkpoint(processes, path, step):
  """Waits until a run has a checkpoint of this step or a later one."""
  deadline = time.monotonic() + 120
  while time.monotonic() < deadline:
    saved = [
      int(f.name) for f in path.glob('checkpoints/*') if f.name.isdigit()
    ]
    if max(saved, default=-1) >= step:
      return
    if any(process.poll() is not None for process in processes):
      break
    time.sleep(0.005)
  raise AssertionError(ends(processes))


def rows(path):
  with (path / 'metrics.jsonl').open() as file:
    return [json.loads(line) for line in file]


def sessions(path, key):
  """Returns what each session of a run has noted."""
  noted = json.loads((path / 'provenance.json').read_text())
  return [session[key] for session in noted]


@pytest.fixture(scope='module')
def file(tmp_path_factory):
  """The config file of all runs here."""
  result = tmp_path_factory.mktemp('config') / 'short.py'
  result.write_text(CONFIG)
  return result


@pytest.fixture(scope='module')
def alone(file, tmp_path_factory):
  """The run as one process makes it."""
  path = tmp_path_factory.mktemp('alone')
  finish(1, f'--config={file}', f'--workdir={path}')
  return path


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
  """A folder of 13 training and 6 validation images, of all sizes."""
  folder = tmp_path_factory.mktemp('photographs')
  return folders.fill(
    folder, {'train/a': 7, 'train/b': 6, 'val/a': 3, 'val/b': 3}
  )


@pytest.fixture
def assert_same_run(assert_close):
  """Returns a comparison of two finished runs, up to rounding."""

  def compare(path, expected):
    run, other = bnr.open_run(path), bnr.open_run(expected)
    assert run.status['status'] == 'done'
    assert [list(row) for row in rows(path)] == [
      list(row) for row in rows(expected)
    ]
    assert run.checkpoints[-2:] == other.checkpoints[-2:]
    for name, (steps, values) in other.metrics.items():
      assert run.metrics[name].steps.tolist() == steps.tolist()
      # Rounding may turn one example over.
      rtol = 1e-2 if name.endswith('accuracy') else 1e-4
      assert_close(run.metrics[name].values, values, rtol)
    a, b = run.restore(), other.restore()
    assert int(a.step) == int(b.step) == run.config.train.steps
    assert_close(
      (a.params, a.collections), (b.params, b.collections), rtol=1e-4
    )

  return compare


@pytest.mark.parametrize(
  ('count', 'on_device'),
  [(2, 'always'), pytest.param(4, 'never', marks=pytest.mark.hosts)],
)
def test_hosts_leave_what_one_process_leaves(
  file, alone, tmp_path, assert_same_run, count, on_device
):
  printed = finish(
    count,
    f'--config={file}',
    f'--workdir={tmp_path}',
    f'--config.data.on_device={on_device}',
  )
  assert_same_run(tmp_path, alone)
  examples = bnr.open_run(tmp_path).metrics['test/examples'].values
  assert examples.tolist() == [355] * 11
  # Each file is written by the first one, and only it speaks.
  names = [sorted(f.name for f in p.iterdir()) for p in (tmp_path, alone)]
  assert names[0] == names[1]
  assert sessions(tmp_path, 'hosts') == [count]
  assert sessions(tmp_path, 'devices') == [count]
  assert ['All is done.' in text for text in printed] == [
    index == 0 for index in range(count)
  ]


@pytest.mark.hosts
def test_photographs_reach_the_devices_of_hosts_byte_for_byte(
  photographs, tmp_path, file, assert_same_run
):
  """In the same order, by another back-end; and are evaluated each once."""
  arguments = (f'--config={file}', f'--config.data.folder={photographs}')
  arguments += NETWORK
  one, two = tmp_path / 'one', tmp_path / 'two'
  (whole,) = finish(
    1,
    *arguments,
    '--config.parallel.devices=1',
    f'--workdir={one}',
    program=TELLING,
  )
  texts = finish(
    2,
    *arguments,
    '--config.parallel.backend=shard_map',
    f'--workdir={two}',
    program=TELLING,
  )
  batches, *others = (
    [line for line in text.splitlines() if line.startswith('given')]
    for text in (whole, *texts)
  )
  assert len(set(batches)) == 6 + 2 + 2
  assert others == [batches, batches]
  assert_same_run(two, one)
  assert set(bnr.open_run(two).metrics['test/examples'].values) == {6}


@pytest.mark.hosts
def test_a_signal_to_any_host_saves_all_and_one_alone_continues(
  file, alone, tmp_path, assert_same_run
):
  arguments = (f'--config={file}', f'--workdir={tmp_path}')
  with begun(2, *arguments) as processes:
    wait_for_checkpoint(processes, tmp_path, 20)
    processes[1].send_signal(signal.SIGTERM)
    statuses, printed = ends(processes)
  assert statuses == [1, 1], printed
  assert 'The same command again continues.' in printed[0]
  status = bnr.open_run(tmp_path).status
  assert status['status'] == 'preempted'
  assert 20 <= status['step'] < 100
  assert bnr.open_run(tmp_path).checkpoints[-1] == status['step']
  devices = min(2, process.cores())
  finish(1, *arguments, f'--config.parallel.devices={devices}')
  assert_same_run(tmp_path, alone)
  assert sessions(tmp_path, 'hosts') == [2, 1]
  assert sessions(tmp_path, 'devices') == [2, devices]
  assert sessions(tmp_path, 'from_step') == [0, status['step']]


@pytest.mark.parametrize('lost', [0, 1])
@pytest.mark.hosts
def test_a_host_that_is_killed_ends_the_others_and_the_run_continues(
  file, alone, tmp_path, assert_same_run, lost
):
  arguments = (f'--config={file}', f'--workdir={tmp_path}')
  with begun(2, *arguments) as processes:
    wait_for_checkpoint(processes, tmp_path, 20)
    processes[lost].kill()
    left = processes[1 - lost]
    text, _ = left.communicate(timeout=300)
  # JAX itself ends a process whose coordinator, the first one, is gone.
  assert left.returncode in (1, -signal.SIGABRT)
  if left.returncode == 1:
    assert '.: A host is lost (' in text
    assert 'continues from the last checkpoint' in text
  else:
    assert 'another task died' in text
  assert 'Traceback' not in text
  status = run_directory.read_status(tmp_path)['status']
  assert status in ('preempted', 'interrupted')
  finish(2, *arguments)
  assert_same_run(tmp_path, alone)
  begun_at, continued_at = sessions(tmp_path, 'from_step')
  assert begun_at == 0
  assert 20 <= continued_at < 100


@pytest.mark.slurm
def test_srun_makes_hosts_of_its_tasks(
  slurm, file, alone, tmp_path, assert_same_run
):
  done = slurm.run(
    'srun',
    '--ntasks=2',
    f'--chdir={ROOT}',
    *(sys.executable, '-c', MAIN, f'--config={file}', f'--workdir={tmp_path}'),
  )
  assert done.returncode == 0, done.stderr
  assert_same_run(tmp_path, alone)
  assert sessions(tmp_path, 'hosts') == [2]


@pytest.mark.slurm
def test_a_job_that_is_one_task_joins_no_other(slurm, tmp_path):
  """Within an allocation for two: without srun, and as srun's only task."""
  script = tmp_path / 'joining.py'
  script.write_text(
    'import os\n'
    'from bnresearch.machine import hosts\n'
    "print(os.environ['SLURM_NTASKS'], hosts.join())\n"
  )
  for srun, tasks in ((), '2'), (('srun', '--ntasks=1'), '1'):
    command = ('salloc', '--ntasks=2', *srun, sys.executable, script)
    done = slurm.run(*command, PYTHONPATH=str(ROOT))
    assert done.stdout.split() == [tasks, 'False'], done.stderr


def test_wrong_variables_are_named(file, tmp_path, monkeypatch):
  for name in hosts._VARIABLES:
    monkeypatch.delenv(name, raising=False)
  assert not hosts.join()
  monkeypatch.setenv('JAX_COORDINATOR_ADDRESS', '127.0.0.1:1234')
  monkeypatch.setenv('JAX_NUM_PROCESSES', '2')
  with begun(1, f'--config={file}', f'--workdir={tmp_path}') as processes:
    statuses, (printed,) = ends(processes)
  assert statuses == [2]
  assert 'JAX_PROCESS_ID: not set.' in printed
  assert 'needs JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES, JAX_PROC' in printed
  assert 'Traceback' not in printed
  assert not list(tmp_path.iterdir())
  for wrong in ('2', '-1', 'first'):
    monkeypatch.setenv('JAX_PROCESS_ID', wrong)
    with pytest.raises(
      configs.ConfigError, match=rf"JAX_PROCESS_ID = '{wrong}"
    ):
      hosts.join()


@pytest.mark.hosts
def test_a_batch_that_hosts_do_not_divide_is_refused_on_all(file, tmp_path):
  with begun(
    2,
    f'--config={file}',
    f'--workdir={tmp_path}',
    '--config.train.batch_size=63',
  ) as processes:
    statuses, printed = ends(processes)
  assert statuses == [2, 2]
  for text in printed:
    assert '= 63: must be a multiple of the 2 devices' in text
    assert 'Traceback' not in text
  assert not list(tmp_path.iterdir())


@pytest.mark.hosts
def test_a_directory_of_another_config_is_refused_on_all(file, alone):
  before = {f: f.stat().st_mtime_ns for f in alone.rglob('*')}
  with begun(
    2, f'--config={file}', f'--workdir={alone}', '--config.seed=1'
  ) as processes:
    statuses, printed = ends(processes)
  assert statuses == [2, 2]
  assert all('seed: 0 -> 1' in text for text in printed)
  assert before == {f: f.stat().st_mtime_ns for f in alone.rglob('*')}


@pytest.mark.hosts
def test_what_one_host_refuses_ends_all(photographs, file, tmp_path):
  """The first one finds the run in use; another time, the last has no data."""
  config = configs.load(str(file))
  with (
    run_directory.claim(tmp_path, config) as run,
    begun(2, f'--config={file}', f'--workdir={tmp_path}') as processes,
  ):
    run.update(status='running', **run_directory.this_process())
    statuses, (first, second) = ends(processes)
  assert statuses == [1, 1]
  assert f'belongs to process {os.getpid()}' in first
  assert 'Host 0 of 2 cannot go on, and tells why' in second

  with begun(
    2,
    f'--config={file}',
    *NETWORK,
    f'--config.data.folder={photographs}',
    f'--workdir={tmp_path}/run',
    of_last=[f'--config.data.folder={tmp_path}/nothing'],
  ) as processes:
    statuses, (first, second) = ends(processes)
  assert statuses == [2, 2]
  assert 'Host 1 of 2 cannot go on, and tells why' in first
  assert f'{tmp_path}/nothing' in second
  assert not (tmp_path / 'run').exists()


# What takes no second process to be seen.


def config_of(**values):
  config = default.get_config()
  assert not configs.override(config, {'train.batch_size': 64} | values)
  return config


def test_hosts_know_no_pmap(monkeypatch):
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  config = config_of(**{'parallel.backend': 'pmap'})
  with pytest.raises(ValueError, match="'pmap': 2 hosts need jit or shard_map"):
    assemble(config).training.mesh()
  config = config_of(**{'parallel.devices': 4})
  with pytest.raises(ValueError, match='2 hosts use all their 8 devices'):
    assemble(config).training.mesh()


def test_hosts_are_not_vectorized(monkeypatch, tmp_path):
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  monkeypatch.setattr(process, 'prepare', lambda devices: None)
  todo = [points.Point('.', config_of())]
  with pytest.raises(run_directory.Refused, match='one of 2 hosts'):
    vectorized.run(todo, tmp_path, Console(quiet=True))


def test_lack_of_memory_is_no_lost_host(monkeypatch):
  def fail(message):
    with hosts.watched():
      raise jax.errors.JaxRuntimeError(message)

  with pytest.raises(jax.errors.JaxRuntimeError, match='UNKNOWN'):
    fail('UNKNOWN: Gloo AllGather failed')
  monkeypatch.setattr(jax, 'process_count', lambda: 2)
  with pytest.raises(hosts.Lost, match=r'is lost \(UNKNOWN: .* continues'):
    fail('UNKNOWN: Gloo AllGather failed')
  with pytest.raises(jax.errors.JaxRuntimeError, match='RESOURCE_EXHAUSTED'):
    fail('RESOURCE_EXHAUSTED: Out of memory')


def test_a_wish_of_this_host_is_a_decision_at_once():
  agree = hosts.Agreement(parallel.mesh_of(jax.devices()))
  assert agree(True)
  assert not agree(False)
  assert np.isscalar(hosts.of_first(7))
