"""The experiments on networks and their training: verdicts from numbers."""

import numpy as np
import pytest

from bnresearch import knobs
from bnresearch.assembly import assemble
from bnresearch.models import measure
from bnresearch.sweeps.points import points
from configs import convolutions as exchanged
from configs import inception
from configs import lenet_to_alexnet as parts_of
from experiments import convolutions, ioffe2015_modifications, lenet_to_alexnet

# Convolutions and poolings that are exchanged for one another.


def of_points(**accuracies):
  """Returns points whose costs grow from one to the next."""
  names = dict.fromkeys(exchanged.POINTS, 0.8) | accuracies
  return {
    label: convolutions.Found(np.full(2, accuracy), 100 + n, 1000 + n)
    for n, (label, accuracy) in enumerate(names.items())
  }


def verdicts(module, *measured):
  return {
    (claim.setting, claim.claim): claim.verdict
    for claim in module.judge(*measured)
  }


def test_half_a_point_less_is_no_less_accurate():
  setting = 'strides, average for pooling', 'no less accurate'
  for accuracy, verdict in ((0.796, ''), (0.794, 'not ')):
    found = verdicts(convolutions, of_points(strided=accuracy))
    assert found[setting] == f'{verdict}reproduced'


def test_a_cost_is_that_of_the_exchanged_networks():
  found = verdicts(convolutions, of_points())
  # In the order of the points each costs more than the one before.
  assert found['two 3x3 for 5x5', 'fewer parameters'] == 'not reproduced'
  assert found['strides, average for dense layer', 'fewer parameters'] == (
    'reproduced'
  )
  (claim,) = [
    claim
    for claim in convolutions.judge(of_points())
    if (claim.setting, claim.claim) == ('two 3x3 for 5x5', 'fewer parameters')
  ]
  assert claim.measured == '101 instead of 100, +1.0%'


def test_two_3x3_are_compared_with_one():
  setting = 'two 3x3 for one 3x3', 'more accurate, as they see a field of 5x5'
  for accuracy, verdict in ((0.79, ''), (0.81, 'not ')):
    found = verdicts(convolutions, of_points(one_3x3=accuracy))
    assert found[setting] == f'{verdict}reproduced'


@pytest.fixture(scope='module')
def costs():
  """The cost of each point, {label: Cost}."""
  found = {}
  for point in points(exchanged.get_config(), {}):
    model = assemble(point.config).network.model
    found[point.config.label] = measure(model, 28, 1)
  return found


@pytest.mark.study
@pytest.mark.parametrize(
  ('cheap', 'dear', 'cost'),
  [
    ('one_3x3', '5x5', 'macs'),
    ('1x7_7x1', '7x7', 'macs'),
    ('strided', 'pooled', 'macs'),
    ('strided', 'dense', 'parameters'),
  ],
)
def test_the_cheaper_of_a_pair_is_cheaper(costs, cheap, dear, cost):
  assert getattr(costs[cheap], cost) < getattr(costs[dear], cost)


@pytest.mark.study
@pytest.mark.parametrize(
  ('label', 'side', 'maps'), [('5x5', 5, [28, 14, 7, 3, 1]), ('7x7', 7, [13])]
)
def test_windows_are_on_maps_of_the_stated_sizes(costs, label, side, maps):
  layers = costs[label].layers
  wide = [x.output[0] for x in layers if x.kernel[:2] == (side, side)]
  assert sorted({*wide}, reverse=True) == maps


# From LeNet to AlexNet.


def of_parts(**accuracies):
  """Returns what is measured of two seeds, at 80% unless said otherwise."""
  names = [point['label'] for point in parts_of.get_config().sweep]
  return {
    label: lenet_to_alexnet.Found(
      np.full(2, accuracies.get(label.replace('+', '_'), 0.8)),
      np.full(2, accuracies.get(f'{label}_gap', 0.1)),
    )
    for label in names
  }


def test_the_points_are_all_combinations_of_what_alexnet_adds():
  config = parts_of.get_config('data=digits,examples=600')
  found = {
    point.config.label: knobs.leaves(point.config)
    for point in points(config, {})
  }
  assert len(found) == 8
  plain, every = found[lenet_to_alexnet.NONE], found[lenet_to_alexnet.ALL]
  assert {key for key in plain if plain[key] != every[key]} == {
    *('label', 'model.blocks', 'model.dropout_rate'),
    *('augment.crop', 'augment.padding'),  # a mirrored 2 is not a 2
  }
  assert every['model.blocks'] == (1, 1, 3)
  assert parts_of.parts('cifar10')['augmentation']['augment.flip']


def test_a_part_is_judged_alone_and_beside_the_others():
  found = verdicts(
    lenet_to_alexnet,
    of_parts(
      dropout=0.82,
      convolutions_dropout_augmentation=0.9,
      convolutions_augmentation=0.95,
    ),
  )
  said = {
    part: [
      found[name, f'{how}, it raises the accuracy']
      for how in ('alone', 'beside the other two')
    ]
    for part, name in lenet_to_alexnet.PARTS.items()
  }
  assert said == {
    'convolutions': ['not reproduced', 'reproduced'],
    'dropout': ['reproduced', 'not reproduced'],
    'augmentation': ['not reproduced', 'reproduced'],
  }
  assert (
    found[
      'all three', 'the network with them is more accurate than that without'
    ]
    == 'reproduced'
  )


def test_a_gap_narrows_if_it_is_smaller_than_without():
  found = verdicts(lenet_to_alexnet, of_parts(dropout_gap=0.05))
  claim = 'alone, it narrows the gap of training and test'
  assert found['dropout', claim] == 'reproduced'
  assert found['augmentation', claim] == 'not reproduced'


# The seven modifications of section 4.2.1.


@pytest.fixture
def networks(recorded):
  """Makes what is measured of two seeds, from {label: accuracies}."""

  def make(diverged=(), **accuracies):
    labels = ['bn_baseline', 'bn_x5']
    for name in ioffe2015_modifications.NAMES:
      labels += [f'bn_baseline_with_{name}', f'bn_x5_without_{name}']
    config = {'train': {'steps': 300}}
    return ioffe2015_modifications.measure(
      {
        label: [
          recorded(
            f'{label}/{seed}',
            config,
            'diverged' if label in diverged else 'done',
            **{'test/accuracy': accuracies.get(label, [0.1, 0.5, 0.6, 0.7])},
          )
          for seed in range(2)
        ]
        for label in labels
      }
    )

  return make


def test_all_are_compared_after_a_third_of_the_steps(networks):
  found = networks(
    diverged=['bn_x5_without_l2'],
    bn_baseline_with_decay=[0.1, 0.55],  # which ends there
  )
  assert found['bn_baseline'].after_R.tolist() == [0.5, 0.5]
  assert found['bn_baseline'].last_R.tolist() == [0.7, 0.7]
  assert found['bn_baseline_with_decay'].after_R.tolist() == [0.55, 0.55]
  assert found['bn_x5_without_l2'].after_R.tolist() == [0.1, 0.1]  # a guess


def test_a_modification_is_judged_added_and_left_out(networks):
  found = networks(
    bn_baseline_with_dropout=[0.1, 0.6],
    bn_x5_without_dropout=[0.1, 0.55],
    bn_x5_without_learning_rate=[0.1, 0.4],
  )
  said = verdicts(ioffe2015_modifications, found)
  added, left_out = (
    'added alone, it raises the accuracy',
    'left out alone, it lowers the accuracy',
  )
  assert said['no dropout', added] == 'reproduced'
  assert said['no dropout', left_out] == 'not reproduced'
  assert said['learning rate 5 times higher', added] == 'not reproduced'
  assert said['learning rate 5 times higher', left_out] == 'reproduced'
  assert said['L2 divided by 5', left_out] == 'not reproduced'  # no difference
  most = 'the learning rate, first in the list of the paper, matters most'
  assert said['added alone', most] == 'not reproduced'
  assert said['left out alone', most] == 'reproduced'
  order = ioffe2015_modifications.judge(found)[-1].measured
  assert 'from the most to the least: learning_rate,' in order
  assert order.endswith('dropout')


def test_the_names_are_those_of_the_config():
  config = inception.get_config('study=modifications,steps=300')
  every = inception.modifications(config)
  assert [*every] == [*ioffe2015_modifications.NAMES]
