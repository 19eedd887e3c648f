"""Any network beside itself with a norm: configs/histograms.py."""

import pytest

from bnresearch import lookup
from bnresearch.knobs.conditions import of_a_norm
from bnresearch.sweeps.points import points
from configs import histograms


@pytest.mark.parametrize('norm', ['batch', 'group'])
@pytest.mark.parametrize('position', ['before', 'after'])
@pytest.mark.parametrize('initializer', ['own', 'kaiming', 'normal'])
@pytest.mark.parametrize('network', histograms.NETWORKS)
def test_all_choices_make_two_valid_points(
  network, initializer, position, norm
):
  config = histograms.get_config(
    f'network={network},norm={norm},position={position},steps=200,'
    f'initializer={initializer},init_std=0.02,rate=0.3,activation=tanh'
  )
  none, other = (point.config for point in points(config, {}))
  assert (none.norm.name, other.norm.name) == ('none', norm)
  assert other.model.norm_position == position
  assert none.model.norm_position == 'before'
  assert none.model.name == other.model.name == network
  assert other.optim.learning_rate == 0.3
  assert other.model.activation == 'tanh'
  by_std = initializer == 'normal' or (network, initializer) == ('mlp', 'own')
  assert other.model.init_std == (0.02 if by_std else 0.1)
  assert other.probes.statistics == ('batch' if norm == 'batch' else 'ema')
  deep = network != 'mlp' and norm == 'batch'
  assert other.norm.momentum == (0.9 if deep else 0.99)


def test_records_are_denser_at_first_and_begin_at_step_1():
  found = histograms.get_config('steps=60').probes
  assert found.steps == (1, 2, 3, 5, 7, 10, 14, 20, 30, 50)
  assert found.every == 3
  found = histograms.get_config().probes
  assert found.steps[-1] == 30_000
  assert found.every == 500


def test_the_norms_with_running_statistics_are_those_with_a_momentum():
  found = {n for n in lookup.names('norms') if 'momentum' in of_a_norm(n)}
  assert found == {*histograms._RUNNING}
