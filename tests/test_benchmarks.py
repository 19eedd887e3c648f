"""Benchmarks: each passes a dry run, is listed, and tells what it is."""

import subprocess
import sys

import pytest

from benchmarks import _timing, inception
from bnresearch.sweeps.points import points
from configs import inception as study
from tests import folders, studies

BENCHMARKS = studies.names('benchmarks')


@pytest.mark.parametrize('name', BENCHMARKS)
@pytest.mark.study
def test_a_benchmark_passes_its_dry_run(name, tmp_path):
  arguments = []
  if name == 'data':
    arguments = [f'--folder={folders.in_order(tmp_path / "photographs")}']
  if name == 'accelerator':  # the rest have dry runs of their own here
    arguments = ['--items=selftest,figure1_points,input,figure2_small']
  studies.dry_run('benchmarks', name, tmp_path, *arguments)


@pytest.mark.parametrize('name', BENCHMARKS)
def test_the_header_has_claim_source_command_cost_and_result(name):
  studies.assert_header('benchmarks', name)


def test_all_benchmarks_are_listed_with_their_verdicts():
  result = studies.run('benchmarks')
  assert result.returncode == 0, result.stderr
  for name in BENCHMARKS:
    assert f'benchmarks.{name}\n' in result.stdout
  figure1 = result.stdout.partition('benchmarks.figure1\n')[2]
  _, found, verdict = figure1.splitlines()[:3]
  assert found.startswith('  On mnist, 50,000 steps, ')
  assert verdict.startswith('    not reproduced, tried once    whole time, ')


def test_networks_that_differ_in_numbers_only_are_timed_once(monkeypatch):
  timed = []
  monkeypatch.setattr(
    inception, '_training', lambda point: timed.append(point.config.label)
  )
  monkeypatch.setattr(
    _timing, 'fastest', lambda calls, *_: dict.fromkeys(calls, 0.5)
  )
  chosen = points(study.get_config('scale=paper'), {})
  rows = inception._rows(chosen, rounds=1)
  assert timed == [
    'inception',
    'bn_baseline',
    'bn_x5',
    'bn_x5_sigmoid',
    'inception_sigmoid',
  ]
  assert [row['label'] for row in rows] == [p.config.label for p in chosen]
  assert rows[0]['images_per_s'] == 64
  assert rows[0]['days'] == pytest.approx(180.6, abs=0.1)  # 31.2M / 2 seconds


# Contestants play in children; here each says instead whether its parent has
# started JAX.
WATCHED = """
import sys
from jax._src import xla_bridge
from benchmarks import _sweep_contestants, _timing, figure1, networks, sweep

def play(name, *_):
  print('child of', xla_bridge.backends_are_initialized())
  numbers = 'gflops', 'gflop_lenet_5', 'seconds', 'whole_s', 'train_s'
  counts = 'programs', 'training_programs', 'devices', 'threads'
  ones = dict.fromkeys(numbers, 1.0) | dict.fromkeys(counts, 1)
  return {'platform': '', **ones}

_sweep_contestants.measure = figure1._measure = networks._measure = play
_timing.finish = lambda *_, **__: 0
for benchmark in networks, sweep, figure1:
  assert benchmark.main(['--dry_run']) == 0
"""


def test_a_benchmark_leaves_the_device_to_its_contestants():
  """A GPU's memory, or a whole TPU, belongs to the process that starts JAX."""
  done = subprocess.run(
    [sys.executable, '-c', WATCHED],
    cwd=studies.ROOT,
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  told = [line for line in done.stdout.splitlines() if 'child of' in line]
  assert len(told) >= 3 + 3 + 4
  assert {*told} == {'child of False'}
