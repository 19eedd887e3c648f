"""The norms' experiments: verdicts from numbers."""

import numpy as np
import pytest

from configs import batch_size as batch_size_config
from configs import gradient_through_statistics as gradient_config
from configs import placement as placement_config
from experiments import (
  _study,
  affine,
  batch_size,
  gradient_through_statistics,
  ioffe2015_scale_invariance,
  placement,
  santurkar2018_shift,
)

ONCE = 'reproduced, tried once'

# What the experiments share.


def test_plus_minus_is_the_mean_and_deviation_of_several():
  assert _study.plus_minus([0.25], '.1%') == '25.0%'
  assert _study.plus_minus([1.0, 3.0], '.2f') == '2.00 ± 1.41'
  assert _study.plus_minus([1.0, 3.0], '+.2f') == '+2.00 ± 1.41'


def test_runs_are_grouped_by_their_config_in_the_order_of_the_sweep(recorded):
  runs = [
    recorded(f'{name}{seed}', {'norm': {'name': name}, 'seed': seed})
    for seed in (0, 1)
    for name in ('batch', 'none')
  ]
  groups = _study.grouped(runs, 'norm.name')
  assert {key: [r.path.name for r in g] for key, g in groups.items()} == {
    ('batch',): ['batch0', 'batch1'],
    ('none',): ['none0', 'none1'],
  }


@pytest.mark.parametrize(
  ('config', 'arg', 'message'),
  [
    (batch_size_config, 'seeds=0', 'seeds=0 after the colon: needs 1 or more'),
    (gradient_config, 'seeds=0', 'seeds=0 after the colon: needs 1 or more'),
    (placement_config, 'seeds=0', 'seeds=0 after the colon: needs 1 or more'),
    (gradient_config, 'affine=no', 'affine=no .*without, with, both'),
  ],
)
def test_a_wrong_argument_of_a_config_is_refused(config, arg, message):
  with pytest.raises(ValueError, match=message):
    config.get_config(arg)


def test_a_model_that_is_not_there_is_refused_before_any_run(tmp_path, capsys):
  arguments = ['--dry_run', '--models=mlp,mpl', f'--output={tmp_path / "out"}']
  assert placement.main(arguments) == 2
  assert "model.name = 'mpl'" in capsys.readouterr().err
  assert list(tmp_path.iterdir()) == []


# Scale invariance.


def test_errors_beyond_rounding_fail_an_equation_in_their_seed():
  factors_A = np.array([0.1, 1.0, 10.0])
  exact = np.full((2, 3, 4), 1e-16)
  one_bad = exact.copy()
  one_bad[1, 0, 2] = 1e-3  # seed 1, a = 0.1, the gradient by the weights
  errors = {('float64', 0.0): exact, ('float64', 1e-5): one_bad}
  judged = ioffe2015_scale_invariance.judge(errors, factors_A)
  assert [c.verdict for c in judged[:4]] == ['reproduced'] * 4
  assert [c.verdict for c in judged[4:]] == [
    'reproduced',
    'reproduced',
    '1 of 2 times',
    'reproduced',
  ]
  assert 'error at most 1.0e-03, at a = 0.1' in judged[6].measured


def test_a_layer_without_epsilon_is_scale_invariant_and_with_it_is_not():
  factors_A = np.array([0.01, 100.0])
  exact = ioffe2015_scale_invariance.measure('float64', 0.0, factors_A, 0)
  assert exact.shape == (2, 4)
  assert exact.max() < 1e-14
  blurred = ioffe2015_scale_invariance.measure('float64', 1e-5, factors_A, 0)
  # About epsilon / (2 a^2 variance) = 5% at a = 0.01.
  assert (blurred[0] > 0.01).all()
  assert (blurred[0] < 0.3).all()
  # The last equation has no a = 1 to compare with, and no error at a = 100.
  assert (blurred[1] < 1e-4).all()
  assert blurred[1, 3] < 1e-8


# The gradient through the statistics.

BIAS = 'probe/parameter_norm/hidden_1/bias'
BIAS_2 = 'probe/parameter_norm/hidden_2/bias'


def test_the_norm_of_b_is_that_of_all_hidden_biases(recorded):
  run = recorded(
    'run',
    **{
      BIAS: [0.0, 3.0, 6.0],
      BIAS_2: [0.0, 4.0, 8.0],
      'probe/parameter_norm/logits/bias': [9.0, 9.0, 9.0],
      'probe/parameter_norm/hidden_1/norm/bias': [9.0, 9.0, 9.0],
    },
  )
  steps, norm = gradient_through_statistics.bias_norm(run)
  assert steps.tolist() == [0, 100, 200]
  assert norm.tolist() == [0, 5, 10]
  assert gradient_through_statistics.late_growth(run) == 2


def judge_gradients(recorded, name, through, stopped):
  """Judges one seed of which no network is stored."""
  runs = [
    recorded(
      f'{name}{k}',
      {'data': {'name': 'digits'}},
      status=status,
      **{BIAS: bias, 'test/accuracy': accuracy, 'train/loss': loss},
    )
    for k, (status, bias, accuracy, loss) in enumerate((through, stopped))
  ]
  return gradient_through_statistics.judge_one('here', [runs[0]], [runs[1]])


def test_verdicts_on_a_growing_bias(recorded):
  still = ('done', [0, 1e-6, 2e-6], [0.5, 0.9, 0.9], [1, 0.5, 0.1])
  grows = ('done', [0, 2.0, 4.0], [0.5, 0.6, 0.7], [1, 0.5, 0.3])
  stays, moves, less, blown = judge_gradients(recorded, 'a', still, grows)
  assert stays.verdict == moves.verdict == less.verdict == ONCE
  assert 'p = 1.00' in moves.measured
  assert '70.00% without, 90.00% with' in less.measured
  assert blown.verdict == f'not {ONCE}'
  assert 'guessing has 2.3' in blown.measured

  stays, _, less, blown = judge_gradients(recorded, 'b', grows, still)
  for claim in (stays, less, blown):
    assert claim.verdict == f'not {ONCE}'


@pytest.mark.parametrize(
  ('status', 'loss'), [('diverged', np.nan), ('done', 5.0), ('done', np.inf)]
)
def test_a_model_blows_up_if_it_diverges_or_is_worse_than_guessing(
  recorded, status, loss
):
  still = ('done', [0, 0, 0], [0.5, 0.9, 0.9], [1, 0.5, 0.1])
  wild = (status, [0, 2.0, 2.0], [0.5, 0.1, 0.1], [1, 2, loss])
  _, moves, _, blown = judge_gradients(recorded, 'c', still, wild)
  assert moves.verdict == f'not {ONCE}'  # b does not grow any more
  assert blown.verdict == ONCE


def test_only_hidden_biases_are_shifted():
  params = {
    'hidden_1': {
      'kernel': np.ones(2),
      'bias': np.zeros(2),
      'norm': {'bias': np.zeros(2)},
    },
    'logits': {'kernel': np.ones(2), 'bias': np.zeros(2)},
  }
  shifted = gradient_through_statistics._shifted(params)
  assert shifted['hidden_1']['bias'].tolist() == [10, 10]
  assert shifted['hidden_1']['kernel'].tolist() == [1, 1]
  assert shifted['logits'] == params['logits']
  assert shifted['hidden_1']['norm'] == params['hidden_1']['norm']


# Batch size.


def test_errors_are_read_by_norm_and_group_size(recorded):
  accuracy = {
    'norm=batch,group_size=2,seed=0': 0.5,
    'norm=batch,group_size=128,seed=0': 0.75,
    'norm=none,seed=0': 0.25,
    'norm=batch,group_size=2,seed=1': 1.0,
  }
  runs = [
    recorded(name, **{'test/accuracy': [0.0, value]})
    for name, value in accuracy.items()
  ]
  errors = batch_size.errors_of(runs)
  assert errors['batch'][2].tolist() == [0.5, 0.0]
  assert errors['batch'][128].tolist() == [0.25]
  assert errors['none'][0].tolist() == [0.75]


def test_verdicts_on_small_groups():
  errors = {
    'batch': {1: [0.9, 0.9], 2: [0.4, 0.4], 4: [0.2, 0.3], 32: [0.1, 0.2]},
    'batch_renorm': {2: [0.3, 0.3], 4: [0.25, 0.25]},
    'group': {0: [0.15, 0.15]},
  }
  errors = {
    name: {size: np.array(e) for size, e in sizes.items()}
    for name, sizes in errors.items()
  }
  judged = batch_size.judge(errors)
  assert [(c.setting, c.verdict) for c in judged] == [
    ('groups of 2', 'reproduced'),
    ('groups of 2', 'reproduced'),
    ('groups of 2', 'reproduced'),
    ('groups of 4', '1 of 2 times'),
    ('groups of 32', '1 of 2 times'),
    ('groups of 1', 'reproduced'),
  ]
  assert '34.7% against 23.6%' in judged[0].published
  assert '40.0% ± 0.0% of 2' in judged[0].measured


def test_every_group_size_sees_batches_of_128():
  config = batch_size_config.get_config('steps=1600')
  assert config.train.batch_size == 128
  sizes = {(p['norm.name'], p.get('norm.group_size')) for p in config.sweep}
  assert {size for name, size in sizes if name == 'batch'} == {
    2**k for k in range(8)
  }
  assert ('batch_renorm', 1) not in sizes
  assert {name for name, size in sizes if size is None} == {
    'group',
    'layer',
    'none',
  }
  norm = config.norm
  assert (norm.renorm_start, norm.d_max_at, norm.r_max_at) == (100, 500, 800)


# Placement.


def test_verdicts_on_the_place_of_the_norm(recorded):
  def run(place, seed, accuracy):
    norm, position = place
    config = {
      'model': {
        'name': 'mlp',
        'activation': 'tanh',
        'norm_position': position,
      },
      'norm': {'name': norm},
    }
    return recorded(
      f'{norm}{position}{seed}', config, **{'test/accuracy': [0, accuracy]}
    )

  runs = [
    run(place, seed, accuracy)
    for place, both in zip(
      placement_config.PLACES, ([0.7, 0.8], [0.8, 0.9], [0.85, 0.85])
    )
    for seed, accuracy in enumerate(both)
  ]
  measured = placement.accuracies(runs)
  assert {k: v.tolist() for k, v in measured['mlp', 'tanh'].items()} == {
    'nowhere': [0.7, 0.8],
    'before': [0.8, 0.9],
    'after': [0.85, 0.85],
  }
  after, before = placement.judge(measured)
  assert (after.verdict, before.verdict) == ('1 of 2 times', 'reproduced')
  assert after.setting == 'mlp, tanh'
  assert 'CaffeNet 49.9/49.3% against 47.4/47.8%' in after.published
  assert '44.8%' in after.published
  assert '75.00% ± 7.07% without' in before.measured


def test_several_models_are_joined_by_plus():
  config = placement_config.get_config('models=mlp+other')
  assert {p['model.name'] for p in config.sweep} == {'mlp', 'other'}
  assert len(config.sweep) == 2 * 3 * 3


# Internal covariate shift by gradients.


def shifted(recorded, name, growth, relative):
  """Returns a run of 20 records, every 100 steps; the last tenth is late."""
  early, late = relative
  numbers = {
    'probe/gradient_norm/growth': [growth] * 20,
    'probe/gradient_shift/relative': [early] * 18 + [late] * 2,
    'probe/gradient_shift/cosine': [0.5] * 20,
  }
  config = {'train': {'steps': 1900}, 'data': {'name': 'digits'}}
  return recorded(name, config, **numbers)


def test_verdicts_on_the_shift_of_gradients(recorded):
  plain = shifted(recorded, 'plain', growth=1e-5, relative=(0.1, 0.9))
  normed = shifted(recorded, 'normed', growth=0.5, relative=(0.7, 0.2))
  found = santurkar2018_shift.judge_one('here', [plain], [normed])
  vanish, early, late = found
  assert vanish.verdict == early.verdict == ONCE
  assert late.verdict == f'not {ONCE}'
  assert '0.7 with BN, 0.1 without' in early.measured
  assert '0.2 with BN, 0.9 without' in late.measured


# Gamma and beta.


def test_gamma_and_beta_can_undo_the_normalization():
  assert 0 < affine.identity_error(0) < 1e-14


def test_the_share_in_the_linear_regime_is_that_of_a_normal_variable():
  x = np.random.RandomState(0).normal(size=400_000)
  assert abs(affine.share(x) - affine.OF_A_NORMAL) < 2e-3
  assert f'{affine.OF_A_NORMAL:.2%}' == '95.45%'
