"""A sweep that is interrupted in every way ends complete and correct."""

import csv
import json
import os
import pathlib
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from bnresearch.runs import checkpoint, run_directory

ROOT = pathlib.Path(__file__).parent.parent
CONFIG = """
from configs import default

def get_config(arg):
  count = int(arg)
  config = default.get_config()
  config.model.features = (24, 16)
  config.train.steps = 6000
  config.train.log_every = 200
  config.eval.every = 1000
  config.checkpoint.every = 2000
  config.sweep = tuple(
    {'norm.name': norm, 'optim.learning_rate': rate, 'seed': seed}
    for norm in ('batch', 'none')
    for rate in (0.05, 0.1)
    for seed in range(count // 4)
  )
  return config
"""


def command(folder, count, *flags):
  file = folder / 'survival.py'
  file.write_text(CONFIG)
  return [
    sys.executable,
    '-m',
    'bnresearch.main',
    f'--config={file}:{count}',
    '--launcher=vectorized',
    *flags,
  ]


def run(arguments):
  return subprocess.run(arguments, cwd=ROOT, capture_output=True, text=True)


def began(workdir):
  """Returns after which steps the sessions of all runs began."""
  return {
    session['from_step']
    for file in workdir.glob('*/provenance.json')
    for session in json.loads(file.read_text())
  }


def missing(path):
  """Returns which rows a run has noted as lost."""
  return [
    session['missing_rows']
    for session in json.loads((path / 'provenance.json').read_text())
    if 'missing_rows' in session
  ]


def began_last(path):
  return json.loads((path / 'provenance.json').read_text())[-1]['from_step']


def rows(workdir):
  """Returns how many rows all logbooks have together."""
  files = workdir.glob('*/metrics.jsonl')
  return sum(file.read_bytes().count(b'\n') for file in files)


def interrupt(arguments, workdir, new_rows, number):
  """Sends a signal after so many more rows; returns the exit status."""
  before = rows(workdir)
  process = subprocess.Popen(
    arguments, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
  )
  deadline = time.monotonic() + 300
  while rows(workdir) < before + new_rows:
    assert process.poll() is None, process.communicate()
    assert time.monotonic() < deadline
    time.sleep(0.01)
  process.send_signal(number)
  process.communicate(timeout=120)
  return process.returncode


def lose_power(workdir, count):
  """Cuts the files that were written last to half their size."""
  files = [f for f in workdir.rglob('*') if f.is_file() and f.stat().st_size]
  newest = sorted(files, key=lambda file: file.stat().st_mtime_ns)[-count:]
  for file in newest:
    os.truncate(file, file.stat().st_size // 2)
  return newest


def survive(folder, count):
  """Interrupts a sweep three times; compares it with an uninterrupted one."""
  whole, broken = folder / 'whole', folder / 'broken'
  done = run(command(folder, count, f'--workdir={whole}'))
  assert done.returncode == 0, done.stderr
  again = command(folder, count, f'--workdir={broken}')
  some = 8 * count
  assert interrupt(again, broken, some, signal.SIGTERM) == 1
  assert began(broken) == {0}
  states = {
    run_directory.read_status(path.parent)['status']
    for path in broken.glob('*/status.json')
  }
  assert 'preempted' in states <= {'preempted', 'done'}
  assert interrupt(again, broken, some, signal.SIGKILL) == -signal.SIGKILL
  assert max(began(broken)) >= 2000  # what was saved was gone on with
  assert interrupt(again, broken, some, signal.SIGKILL) == -signal.SIGKILL
  assert len(lose_power(broken, count)) == count
  done = run(again)
  assert done.returncode == 0, done.stdout + done.stderr

  names = sorted(path.name for path in whole.iterdir())
  assert len(names) == count
  assert sorted(path.name for path in broken.iterdir()) == names
  for name in names:
    compare(whole / name, broken / name)
  lost = list(broken.glob('*/metrics.damaged'))
  assert all(str(f.with_suffix('.jsonl')) in done.stderr for f in lost)
  table = folder / 'table.csv'
  collected = run([*again, f'--collect={table}'])
  assert collected.returncode == 0, collected.stderr
  with table.open() as file:
    collected = list(csv.DictReader(file))
  assert len(collected) == count
  return collected


def compare(expected, path):
  """The same rows, each once; the same numbers up to rounding.

  If a checkpoint outlived rows from before it, these are missing, and the run
  has noted that.
  """
  assert run_directory.read_status(path)['status'] == 'done'
  a, b = (
    [
      json.loads(line)
      for line in (p / 'metrics.jsonl').read_text().splitlines()
    ]
    for p in (expected, path)
  )
  if missing(path):
    there = {(row['step'], *row) for row in b}
    lost = {(row['step'], *row) for row in a} - there
    assert lost
    assert max(lost)[0] <= began_last(path)
    a = [row for row in a if (row['step'], *row) in there]
  assert [(row['step'], *row) for row in a] == [(r['step'], *r) for r in b]
  for row, other in zip(a, b):
    for name, value in row.items():
      # Accuracies are of few images: one may change sides by rounding.
      atol = 0.01 if name.endswith('accuracy') else 1e-4
      np.testing.assert_allclose(
        other[name], value, rtol=1e-3, atol=atol, err_msg=f'{path} {name}'
      )
  for file in path.glob('*.json'):
    json.loads(file.read_text())


@pytest.mark.parametrize('count', [24])
@pytest.mark.kills
def test_a_sweep_survives_sigterm_sigkill_and_a_loss_of_power(tmp_path, count):
  collected = survive(tmp_path, count)
  assert {row['status'] for row in collected} == {'done'}


def test_a_run_that_cannot_save_says_so_and_ends(tmp_path):
  """Also under a path that is a pattern to others; Orbax's threads wait."""
  workdir = tmp_path / 'lr=[0.1,0.2]'
  process = subprocess.Popen(
    [
      sys.executable,
      '-m',
      'bnresearch.main',
      '--config=configs/default.py',
      '--config.data.name=synthetic',
      '--config.model.features=(8,)',
      '--config.train.steps=1_000_000',
      '--config.train.log_every=100',
      '--config.eval.every=1000',
      '--config.checkpoint.every=1000',
      '--config.probes.names=()',
      f'--workdir={workdir}',
    ],
    cwd=ROOT,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  with process:
    folder = workdir / 'checkpoints'
    deadline = time.monotonic() + 200
    while not [*folder.glob('[1-9]*000')]:
      assert process.poll() is None, process.communicate()
      assert time.monotonic() < deadline
      time.sleep(0.05)
    folder.rename(tmp_path / 'gone')
    folder.write_text('no folder')
    try:
      out, err = process.communicate(timeout=60)
    finally:
      process.kill()
  assert process.returncode == 1
  words = ' '.join(out.split())
  assert 'failed: The checkpoint ' in words
  assert 'cannot be written' in words
  assert '1 failed' in out
  assert 'Traceback' not in out + err
  status = run_directory.read_status(workdir)
  assert status['status'] == 'failed'
  assert 'cannot be written' in status['message']
  gone = checkpoint.Checkpoints(tmp_path / 'gone', None)
  assert gone.restore_variables()['params'].keys() == {'hidden_1', 'logits'}
