"""A probe that compares with the record before, in runs that are killed."""

import itertools

import numpy as np
import pytest

from bnresearch import config as configs
from bnresearch.assembly import assemble
from bnresearch.probes import distribution_shift
from bnresearch.runs import logbook, session
from configs import default

PROBE = 'probe/distribution_shift'


@pytest.fixture(scope='module')
def parts():
  config = default.get_config()
  values = {
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
  assert configs.override(config, values) == []
  return assemble(config)


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
