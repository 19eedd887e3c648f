"""Studies of deep networks and of their layers: verdicts from numbers."""

import numpy as np
import pytest

from bnresearch.sweeps.points import points
from configs import activations as activations_config
from configs import depth as depth_config
from experiments import activations, depth

ONCE = 'reproduced, tried once'
NOT = f'not {ONCE}'

# Depth.


def kinds(growth, accuracy, seeds=1):
  """Returns networks of 2 and 4 layers; only the deep ones are as given."""
  found = {}
  for cure in depth_config.CURES:
    for layers in (2, 4):
      deep = layers == 4
      ends = np.linspace(growth[cure] if deep else 1, 1, layers)
      found['tanh', cure, layers] = depth.Found(
        np.full(seeds, accuracy[cure] if deep else 0.9),
        np.tile(ends, (seeds, 1)),
      )
  return found


def test_verdicts_on_a_cure_by_shortcuts():
  growth = {'neither': 1e-5, 'BN': 1e-4, 'shortcuts': 2, 'both': 0.5}
  accuracy = {'neither': 0.1, 'BN': 0.3, 'shortcuts': 0.86, 'both': 0.95}
  judged = depth.judge(kinds(growth, accuracy))
  assert [claim.verdict for claim in judged] == [ONCE] * 6
  assert {claim.setting for claim in judged} == {'tanh, 4 layers'}
  measured = [claim.measured for claim in judged]
  assert measured[0] == 'growth 1e-05'
  assert measured[2] == 'growth 2; with both growth 0.5'
  assert measured[3] == '30.0%; 10.0% with neither; the best of 2 layers 90.0%'


def test_verdicts_where_bn_is_the_cure():
  growth = {'neither': 0.5, 'BN': 2, 'shortcuts': 1e-7, 'both': 20}
  accuracy = {'neither': 0.9, 'BN': 0.95, 'shortcuts': 0.8, 'both': 0.95}
  judged = depth.judge(kinds(growth, accuracy, seeds=3))
  assert [claim.verdict for claim in judged] == ['not reproduced'] * 6
  assert judged[0].holds == (False,) * 3


def test_gradients_and_accuracies_are_read_by_kind_of_network(recorded):
  def run(seed, widths, norm, residual):
    config = {
      'model': {
        'activation': 'tanh',
        'features': widths,
        'residual': residual,
      },
      'norm': {'name': norm},
      'seed': seed,
    }
    gradients = {
      f'probe/backpropagated/hidden_{k}': [k + seed, 99.0]
      for k, _ in enumerate(widths, start=1)
    }
    accuracy = {'test/accuracy': [0.1, len(widths) / 10 + seed / 100]}
    name = f'{norm}{residual}{len(widths)}{seed}'
    return recorded(name, config, **gradients, **accuracy)

  runs = [
    run(seed, widths, norm, residual)
    for seed in (0, 1)
    for widths in ((4, 4), (4, 4, 4))
    for norm, residual in depth_config.CURES.values()
  ]
  found = depth.measure(runs)
  assert {cure for _, cure, _ in found} == {*depth_config.CURES}
  of = found['tanh', 'shortcuts', 3]
  assert of.accuracy_S.tolist() == [0.3, 0.31]
  assert of.gradient_SL.tolist() == [[1, 2, 3], [2, 3, 4]]
  assert of.growth_S == pytest.approx([1 / 3, 1 / 2])


def test_accuracies_and_growths_are_a_row_for_each_cure():
  result = {
    'runs': [
      {'run': f'tanh_{layers}_{cure},seed={seed}', 'test_accuracy': accuracy}
      for layers, accuracy in ((2, 0.9), (4, 0.5))
      for cure in ('BN', 'both')
      for seed in (0, 1)
    ],
    'growth': {
      f'tanh, {cure}, {layers}': [1.0, 2.0]
      for layers in (2, 4)
      for cure in ('BN', 'both')
    },
  }
  table = depth.table(result)
  assert [*table.columns[1:]] == ['2 layers', '4 layers']
  assert [*table.rows] == [
    [of, '90.0% ± 0.0%, growth 1.5', '50.0% ± 0.0%, growth 1.5']
    for of in ('tanh, BN', 'tanh, both')
  ]


def test_each_point_of_the_depths_has_a_name_and_its_own_initializer():
  arg = 'depths=2+50,activations=relu+tanh,seeds=2'
  chosen = points(depth_config.get_config(arg), {})
  assert len({point.name for point in chosen}) == len(chosen) == 32
  by_name = {point.name: point.config for point in chosen}
  config = by_name['relu_50_both,seed=1']
  assert config.model.initializer == 'kaiming'
  assert config.model.features == (64,) * 50
  assert config.model.residual is True
  assert by_name['tanh_2_BN,seed=0'].model.initializer == 'xavier'
  assert by_name['tanh_2_BN,seed=0'].model.residual is False


@pytest.mark.parametrize(
  ('arg', 'message'),
  [
    ('activations=relu+gelu', "'gelu' is none of sigmoid, tanh, relu, joined"),
    ('depths=3+four', r'depths=3\+four after the colon: needs whole numbers'),
  ],
)
def test_a_kind_of_network_that_is_none_is_refused(arg, message):
  with pytest.raises(ValueError, match=message):
    depth_config.get_config(arg)


# Activations and initializers.


def grid(value):
  """Returns accuracies of two seeds, (2,), from a function of a point."""
  return {
    (activation, init, norm): np.array([value(activation, init, norm)] * 2)
    for activation in activations_config.ACTIVATIONS
    for init in activations_config.INITIALIZERS
    for norm in activations_config.NORMS
  }


def as_published(activation, init, norm):
  if norm == 'batch':
    more = activations.PUBLISHED.get(activation, 0.499) - 0.499
    return 0.85 + more + (0.001 if init == 'lsuv' else 0)
  if activation == 'sigmoid':
    return {'xavier': 0.1, 'kaiming': 0.11, 'lsuv': 0.12}[init]
  own = 'xavier' if activation == 'tanh' else 'kaiming'
  return 0.8 if init in (own, 'lsuv') else 0.7


def test_verdicts_on_activations_as_published():
  judged = activations.judge(grid(as_published))
  assert [claim.verdict for claim in judged] == ['reproduced'] * 11
  care, relu, tanh, lsuv, sigmoid, *_ = judged
  assert 'relu 10.0 and 0.1' in care.measured
  assert len(care.holds) == len(lsuv.holds) == 14  # activations x seeds
  assert relu.claim == 'Kaiming is better than Xavier'
  assert tanh.claim == 'Xavier is better than Kaiming'
  assert 'relu +0.0, ' in lsuv.measured
  assert sigmoid.measured.startswith('82.7% ± 0.0% with BN, 12.0% ± 0.0% with')


def test_verdicts_on_activations_that_are_all_the_same():
  """Nothing is more or less than anything else; all else is no worse."""
  judged = activations.judge(grid(lambda *_: 0.85))
  held = {claim.claim for claim in judged if claim.verdict == 'reproduced'}
  assert held == {
    'LSUV is no worse than the better of Xavier and Kaiming',
    'with BN its limit costs no accuracy',
  }
  assert {c.verdict for c in judged} == {'reproduced', 'not reproduced'}


def test_activations_that_were_not_trained_are_not_judged():
  found = grid(as_published)
  few = {key: found[key] for key in found if key[0] in ('relu', 'elu')}
  care, made_for, lsuv, elu = activations.judge(few)
  assert len(care.holds) == len(lsuv.holds) == 4
  assert (made_for.setting, elu.setting) == ('relu, without BN', 'elu')


def test_accuracies_of_activations_have_the_published_beside_them():
  result = {
    'runs': [
      {
        'run': f'activation={name},initializer={init},norm={norm},seed={seed}',
        'test_accuracy': as_published(name, init, norm),
      }
      for seed in (0, 1)
      for name, init, norm in grid(as_published)
    ]
  }
  rows = {row[0]: [*row[1:]] for row in activations.table(result).rows}
  assert [*rows] == [*activations_config.ACTIVATIONS]
  assert rows['tanh'] == [
    *('80.0% ± 0.0%', '70.0% ± 0.0%', '80.0% ± 0.0%'),
    *('79.9% ± 0.0%', '79.9% ± 0.0%', '80.0% ± 0.0%', '44.8%'),
  ]
  assert rows['relu6'][-1] == ''
