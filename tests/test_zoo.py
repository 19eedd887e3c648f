"""The published networks: counts, multiply-adds, depth, and their tables."""

import functools
import re

import jax
import pytest

from bnresearch import lookup, zoo
from bnresearch.models import __main__ as command_line
from bnresearch.models import measure, shapes
from tests.published import network


@functools.cache
def cost_of(name):
  found = zoo.published(name)
  return measure(zoo.network(name), found.size, found.channels)


@pytest.mark.parametrize('name', zoo.PUBLISHED)
def test_the_number_of_parameters_is_the_published_one(name):
  cost = cost_of(name)
  assert cost.parameters == zoo.published(name).parameters
  assert cost.depth > 0
  assert cost.macs > 0


@pytest.mark.parametrize(
  ('name', 'documented'),
  [
    ('googlenet', 6.67),
    ('inception_v2', 4.8),
    ('inception_v3', 3.5),
    ('inception_v4', 3.08),
  ],
)
def test_the_error_that_is_cited_is_that_of_an_ensemble(name, documented):
  found = zoo.published(name)
  error = found.ensemble.top_5_error
  assert error == pytest.approx(documented, abs=0.05)
  assert found.ensemble.networks > 3
  assert re.search(r' 20\d\d, 1\d{3}\.\d{4,5}$', found.ensemble.stated_by)
  if found.top_5:  # one network, one crop
    assert 100 - found.top_5 > 1.3 * error


def test_a_network_is_right_more_often_within_five_guesses():
  for name, found in zoo.PUBLISHED.items():
    if found.top_5 is not None:
      assert found.top_1 + 10 < found.top_5 < 100, name


def sizes(model, size):
  """Returns {collection: how many numbers}, and how many but for the logits."""
  variables = shapes(model, size)
  count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
  total = {name: count(tree) for name, tree in variables.items()}
  return total, sum(total.values()) - count(variables['params']['logits'])


@pytest.mark.parametrize(
  ('name', 'total', 'options'),
  [
    ('inception_v3', 23_851_784, {'use_scale': False}),
    ('densenet_121', 8_062_504, {}),
    ('mobilenet_v1', 4_253_864, {}),
    ('mobilenet_v2', 3_538_984, {}),
  ],
)
def test_the_number_of_all_variables_is_keras(name, total, options):
  found = zoo.published(name)
  counted, _ = sizes(zoo.network(name, **options), found.size)
  assert sum(counted.values()) == total


def test_the_number_of_all_variables_of_resnet_50_is_keras():
  model = network('resnet', layers={'keep_bias': True}, version='v1')
  assert sum(sizes(model, 224)[0].values()) == 25_636_712


def test_the_base_variables_of_inception_v1_are_slims():
  model = zoo.network('googlenet_torchvision', use_scale=False)
  total, base = sizes(model, 224)
  assert total['params'] == 6_617_624
  assert base == 5_607_184


def test_without_scale_the_parameters_of_inception_v2_are_slims():
  """And the logits tf_slim 1.1.0's on TensorFlow 2.21.0, to 6e-7."""
  model = zoo.network('inception_v2_slim', use_scale=False)
  total, _ = sizes(model, 224)
  assert total['params'] == 11_178_336


def test_every_architecture_is_among_them():
  models = {found.model for found in zoo.PUBLISHED.values()}
  assert models == set(lookup.names('models'))


@pytest.mark.parametrize(
  ('name', 'millions', 'source'),
  [
    ('inception_v2_caffe', 2048.06, 'osmr/imgclsmob'),
    ('inception_v4', 12304.93, 'osmr/imgclsmob'),
    ('mobilenet_v2', 300, 'the paper'),
  ],
)
def test_multiply_adds_are_those_that_others_state(name, millions, source):
  """Others count biases and normalizers too: theirs are a little more."""
  assert cost_of(name).macs / 1e6 == pytest.approx(millions, rel=0.01), source


def test_the_multiply_adds_of_mobilenet_are_slims():
  """Slim's sum leaves the logits out."""
  cost = cost_of('mobilenet_v1')
  *before, logits = cost.layers
  assert logits.path == 'logits'
  assert sum(layer.macs for layer in before) == 567_716_352


@pytest.mark.parametrize(
  ('name', 'depth'),
  [
    ('lenet_5', 5),
    ('alexnet', 8),
    ('vgg_16', 16),
    ('vgg_19', 19),
    ('googlenet', 22),
    ('resnet_18', 18),
    ('resnet_50', 50),
    ('resnet_152', 152),
    ('densenet_121', 121),
  ],
)
def test_the_depth_is_that_in_the_name_or_the_paper(name, depth):
  assert cost_of(name).depth == depth


def test_the_costs_of_lenet_by_hand():
  cost = cost_of('lenet_5')
  kernels = [25 * 6, 25 * 6 * 16, 400 * 120, 120 * 84, 84 * 10]
  outputs = [6, 16, 120, 84, 10]
  positions = [28 * 28, 10 * 10, 1, 1, 1]
  macs = [k * p for k, p in zip(kernels, positions)]
  assert [layer.macs for layer in cost.layers] == macs
  assert cost.macs == sum(macs)
  counted = [k + o for k, o in zip(kernels, outputs)]
  assert [layer.parameters for layer in cost.layers] == counted


def test_the_share_of_dense_layers_is_that_of_lenets_three_last(capsys):
  dense = 401 * 120 + 121 * 84 + 85 * 10
  assert cost_of('lenet_5').dense_share == pytest.approx(dense / 61_706)
  assert command_line.main(['--model=lenet_5']) == 0
  printed = ' '.join(capsys.readouterr().out.split())
  assert 'Dense layers have 95.8% of all.' in printed


def test_a_loop_costs_its_turns():
  cost = measure(network('lstm', 'none', 10, units=20), 5, 1)
  turn = 5 * 80 + 20 * 80
  assert cost.macs == 5 * turn + 20 * 10
  assert cost.depth == 2


def test_auxiliary_heads_cost_parameters_only():
  plain, headed = cost_of('googlenet'), cost_of('googlenet_heads')
  assert headed.macs == plain.macs
  assert headed.depth == plain.depth
  assert headed.parameters > plain.parameters
  assert len(headed.layers) == len(plain.layers) + 2 * 3


def test_an_unknown_network_names_the_nearest():
  with pytest.raises(
    LookupError, match=r"'resnet_5'\. Did you mean 'resnet_50'"
  ):
    zoo.network('resnet_5')


def test_another_norm_and_other_classes_may_be_asked_for():
  model = zoo.network(
    'resnet_18', norm='group', num_classes=7, channel_groups=4
  )
  assert model.num_classes == 7
  cost = measure(model, 64)
  assert cost.layers[-1].kernel == (512, 7)
  assert model.layers.norm('stem')().channel_groups == 4


def test_the_table_of_one_network_shows_layers_and_shapes(capsys):
  assert (
    command_line.main(['--model=resnet_18', '--size=64', '--classes=7']) == 0
  )
  printed = capsys.readouterr().out
  assert 'resnet_18, 64x64: 11,180,103 parameters' in printed
  for text in ('stage_4_block_2/conv_last', '3x3x512x512', '2x2x512', '512x7'):
    assert text in printed


@pytest.mark.parametrize(
  ('argument', 'message'),
  [
    ('--model=resnet_5', "Did you mean 'resnet_50'?"),
    ('--size=3', 'needs 17x17 or more'),
    ('--size=0', 'needs NHWC'),
    ('--classes=1', 'num_classes = 1: needs 2 or more'),
    ('--classes=0', 'num_classes = 0: needs 2 or more'),
  ],
)
def test_wrong_use_is_said_and_no_table_printed(argument, message, capsys):
  assert command_line.main(['--model=resnet_18', argument]) == 2
  printed = capsys.readouterr()
  assert message in printed.err
  assert printed.out == ''


def test_the_zoo_is_a_table_of_all(capsys, monkeypatch):
  names = ('mlp', 'resnet_18', 'inception_v2', 'mobilenet_v2_imgclsmob')
  some = {k: zoo.PUBLISHED[k] for k in names}
  monkeypatch.setattr(zoo, 'PUBLISHED', some)
  assert command_line.main([]) == 0
  printed = capsys.readouterr().out
  lines = printed.splitlines()
  row = next(line for line in lines if 'resnet_18' in line)
  for text in ('11,689,512', '1,814.1 M', '224x224x3', '69.6%', 'torchvision'):
    assert text in row
  row = next(line for line in lines if 'inception_v2' in line)
  for text in ('74.8%, 92.2%', '4.82%, of 6'):
    assert text in row
  assert 'mobilenet_v2_imgclsmob' in printed  # whole, though it is long
  assert 'inception_v2: 6 networks, 144 crops, test images; Ioffe' in printed
