"""The SLURM launcher, on a real SLURM of one node that the tests start."""

import json
import pathlib
import subprocess
import sys
import time

import pytest

# It sets logging up, which closes absl's stream: before tests have their own.
import submitit
from rich.console import Console

import bnresearch as bnr
from bnresearch import config as configs
from bnresearch.main import main
from bnresearch.runs import run_directory
from bnresearch.sweeps import launch, slurm, slurm_queue
from bnresearch.sweeps.points import points

pytestmark = pytest.mark.slurm

ROOT = pathlib.Path(__file__).parent.parent
# Four short runs for an array, three long ones that are interrupted, and one
# that fails. None saves itself before its end unless it is told to.
CONFIG = """
from configs import default
def get_config(arg):
  c = default.get_config()
  c.train.log_every = c.eval.every = 20
  c.checkpoint.every = 40_000
  c.slurm.memory = 1
  c.slurm.requeues = 7
  runs = [(60, s) for s in range(5)] + [(40_000, s) for s in range(3)]
  c.sweep = tuple({'train.steps': t, 'seed': s} for t, s in runs)
  return c
"""
QUIET = Console(quiet=True)


@pytest.fixture(scope='module')
def file(tmp_path_factory):
  """The config file of all runs here."""
  result = tmp_path_factory.mktemp('config') / 'short_and_long.py'
  result.write_text(CONFIG)
  return result


@pytest.fixture(scope='module')
def study(file):
  """Its points: the four short ones, the one that fails, the long ones."""
  found = points(configs.load(str(file)), {})
  return found[:4], found[4], found[5:]


@pytest.fixture(scope='module')
def local_runs(file, tmp_path_factory):
  """A workdir in which the local launcher has made all runs."""
  workdir = tmp_path_factory.mktemp('local')
  arguments = [f'--config={file}', f'--workdir={workdir}']
  done = subprocess.run(
    [sys.executable, '-m', 'bnresearch.main', *arguments],
    cwd=ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  return workdir


@pytest.fixture
def here(slurm, monkeypatch):
  """The cluster, which also this process now speaks to."""
  for name, value in slurm.environment.items():
    monkeypatch.setenv(name, value)
  return slurm


def wait_until(condition, seconds=300):
  deadline = time.monotonic() + seconds
  while not condition():
    assert time.monotonic() < deadline, 'did not happen'
    time.sleep(0.05)


def rows(path):
  file = path / 'metrics.jsonl'
  return file.read_bytes().count(b'\n') if file.exists() else 0


def let_fail(point, workdir):
  """Prepares a directory in which the first try of this point fails."""
  path = point.directory(workdir)
  with run_directory.claim(path, point.config):
    (path / 'class_names.json').write_text('["others"]')
    (path / 'data.json').write_text('{"image_shape": [8, 8, 1]}')


def logs(workdir):
  return '\n'.join(
    f'{f.name}:\n{f.read_text()}' for f in sorted(workdir.glob('slurm/*.err'))
  )


def assert_same_runs(these, workdir, reference):
  for point in these:
    path, other = point.directory(workdir), point.directory(reference)
    assert bnr.open_run(path).status['status'] == 'done', logs(workdir)
    for name in ('metrics.jsonl', 'config.json'):
      assert (path / name).read_bytes() == (other / name).read_bytes()


def test_srun_starts_a_command_as_several_processes(slurm):
  code = 'import os; print(os.environ["SLURM_PROCID"])'
  done = slurm.run('srun', '-n', '2', sys.executable, '-c', code)
  assert sorted(done.stdout.split()) == ['0', '1'], done.stderr


def test_an_array_leaves_what_the_local_launcher_leaves(
  here, file, study, local_runs, tmp_path, capsys
):
  short, bad, _ = study
  let_fail(bad, tmp_path)
  submitted = slurm.run([*short, bad], tmp_path, QUIET)
  assert set(submitted.values()) == {'queued'}
  jobs = json.loads((tmp_path / 'slurm' / 'jobs.json').read_text())
  arrays, tasks = zip(*(job.split('_') for job in jobs.values()))
  assert len(set(arrays)) == 1
  assert sorted(tasks) == [*'01234']
  file_of_job = next((tmp_path / 'slurm').glob('*_submitted.pkl'))
  job = submitit.helpers.DelayedSubmission.load(file_of_job)
  assert job._timeout_countdown == 7  # times that it comes again

  # What is queued or running is not submitted again.
  going = launch.statuses_of(short, tmp_path, QUIET)
  assert set(going.values()) <= {'queued', 'running'}
  slurm.run([*short, bad], tmp_path, QUIET)
  assert json.loads((tmp_path / 'slurm' / 'jobs.json').read_text()) == jobs

  ended = slurm.run([*short, bad], tmp_path, QUIET, wait=True)
  assert ended == dict.fromkeys(submitted, 'done') | {bad.name: 'failed'}
  assert_same_runs(short, tmp_path, local_runs)

  # What has failed is told, and run again on request: one job, no array.
  again = [f'--config={file}', f'--workdir={tmp_path}', '--point=4']
  again.append('--launcher=slurm')
  assert main(again) == 1
  told = capsys.readouterr().out
  assert f'{bad.name} has failed: Refused: ' in told
  assert '--retry_failed runs what has failed again' in told
  assert 'Submitted' not in told
  assert main([*again, '--retry_failed', '--wait']) == 0, logs(tmp_path)
  told = capsys.readouterr().out
  assert 'Submitted job ' in told
  assert f'Logs: {tmp_path}/slurm/' in told
  assert 'All is done.' in told
  assert_same_runs([bad], tmp_path, local_runs)


def test_interrupted_jobs_are_queued_again_and_continue_bit_for_bit(
  here, study, local_runs, tmp_path
):
  """By SLURM's warning, by its operator, and by a job that is more urgent."""
  _, _, long = study
  slurm.run(long, tmp_path, QUIET)
  jobs = slurm_queue.active(tmp_path)
  paths = [point.directory(tmp_path) for point in long]
  wait_until(lambda: all(rows(path) > 3 for path in paths))

  def statuses():
    return launch.statuses_of(long, tmp_path, QUIET)

  def queued():
    return {name for name, s in statuses().items() if s == 'queued'}

  # One CPU is free, so that one of the three jobs has to go.
  options = ['--partition=urgent', f'--cpus-per-task={here.cpus - 2}']
  here.run('sbatch', *options, '--output=/dev/null', '--wrap=sleep 5')
  wait_until(queued)
  warned, requeued = (n for n, s in statuses().items() if s == 'running')
  here.run('scancel', '--signal=USR2', jobs[warned])
  here.run('scontrol', 'requeue', jobs[requeued])
  # The first may have begun again before the last has saved itself.
  seen = set()
  wait_until(lambda: seen.update(queued()) or seen == {*jobs})
  slurm.run(long, tmp_path, QUIET)
  assert slurm_queue.active(tmp_path) == jobs
  wait_until(lambda: set(statuses().values()) == {'done'})
  assert_same_runs(long, tmp_path, local_runs)
  for path in paths:
    sessions = json.loads((path / 'provenance.json').read_text())
    begun, continued = (session['from_step'] for session in sessions)
    assert begun == 0
    assert 0 < continued < 40_000


def test_a_cancelled_job_saves_itself_and_does_not_come_again(
  here, study, tmp_path
):
  _, _, (point, *_) = study
  slurm.run([point], tmp_path, QUIET)
  path = point.directory(tmp_path)
  wait_until(lambda: rows(path) > 3)
  here.run('scancel', slurm_queue.active(tmp_path)[point.name])
  wait_until(lambda: not slurm_queue.active(tmp_path))
  status = bnr.open_run(path).status
  assert status['status'] == 'preempted'
  assert bnr.open_run(path).checkpoints == [status['step']]


def test_what_slurm_refuses_is_told_with_its_words(here, study, tmp_path):
  _, _, (point, *_) = study
  configs.override(point.config, {'slurm.partition': 'nowhere'})
  with pytest.raises(run_directory.Refused, match='invalid partition'):
    slurm.run([point], tmp_path, QUIET)
