"""Probes in runs that are killed, and in runs of one program."""

import itertools

import numpy as np
import pytest

from bnresearch import config as configs
from bnresearch.assembly import assemble
from bnresearch.probes import distribution_shift
from bnresearch.runs import logbook, session
from bnresearch.sweeps.points import Point
from bnresearch.sweeps.vectorized import launcher
from bnresearch.terminal import Console
from configs import default

PROBE = 'probe/distribution_shift'


UNITS = (
  'activation_histogram',
  'affine',
  'channel_correlation',
  'class_separability',
  'dead_units',
  'distribution_shift',
  'saturation',
  'signal_propagation',
  'statistics_distance',
  'update_ratio',
)


def config_of(**values):
  config = default.get_config()
  given = {
    'data.name': 'synthetic',
    'model.features': (6,),
    'train.steps': 40,
    'train.log_every': 10,
    'train.batch_size': 12,
    'eval.every': 20,
    'checkpoint.every': 20,
    'probes.names': ('distribution_shift',),
    'probes.every': 10,
    'probes.examples': 50,
  }
  assert configs.override(config, given | values) == []
  return config.lock()


@pytest.fixture(scope='module')
def parts():
  return assemble(config_of())


@pytest.fixture(scope='module')
def whole(parts, tmp_path_factory):
  """The logbook of a run that nobody killed."""
  path = tmp_path_factory.mktemp('whole') / 'run'
  assert session.train(parts, path) == 'done'
  return path / 'metrics.jsonl'


def killed_at(call):
  calls = itertools.count(1)

  def interrupted():
    if next(calls) == call:
      raise KeyboardInterrupt
    return False

  return interrupted


@pytest.mark.parametrize('call', [1, 2, 3, 4])
def test_a_run_that_was_killed_has_the_same_distances(
  parts, whole, tmp_path, call
):
  with pytest.raises(KeyboardInterrupt):
    session.train(parts, tmp_path / 'run', killed_at(call))
  assert session.train(parts, tmp_path / 'run') == 'done'
  assert (tmp_path / 'run/metrics.jsonl').read_text() == whole.read_text()


def test_only_the_first_record_has_no_distance(whole):
  found = logbook.read(whole)
  for name in distribution_shift.SCALARS:
    steps, values = found[f'{PROBE}/{name}']
    assert steps.tolist() == [0, 10, 20, 30, 40]
    assert np.isnan(values[0])
    assert (values[1:] > 0).all()


def test_distances_are_between_neighbours(whole, assert_close):
  found = logbook.read(whole)
  _, quantiles_TQC = found[f'{PROBE}/hidden_1/quantiles']
  _, distance_T = found[f'{PROBE}/wasserstein']
  expected_T = np.abs(np.diff(quantiles_TQC, axis=0)).mean((1, 2))
  assert_close(distance_T[1:], expected_T, 1e-5)


@pytest.mark.grid
def test_members_of_a_program_have_every_probe_of_units(tmp_path, assert_close):
  given = {
    'model.features': (6, 5),
    'model.init_std': 0.3,
    'train.steps': 20,
    'probes.names': UNITS,
  }
  alone = assemble(config_of(**given))
  assert session.train(alone, tmp_path / 'alone') == 'done'
  members = [
    Point(f'seed={seed}', config_of(**given, seed=seed), ('seed',))
    for seed in (0, 1)
  ]
  launcher.run(members, tmp_path, Console(quiet=True))
  expected, found = (
    logbook.read(tmp_path / name / 'metrics.jsonl')
    for name in ('alone', 'seed=0')
  )
  assert [*found] == [*expected]
  for name, (steps, values) in expected.items():
    assert found[name].steps.tolist() == steps.tolist()
    known = np.isfinite(values)
    np.testing.assert_array_equal(np.isfinite(found[name].values), known)
    if not name.endswith('/counts'):  # a value may lie on an edge
      assert_close(found[name].values[known], values[known], rtol=5e-3)
