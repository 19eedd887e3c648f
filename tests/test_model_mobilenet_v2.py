"""MobileNetV2: counts at any width, equality with Keras and torchvision."""

import functools

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from bnresearch import models
from bnresearch.models import mobilenet_v2, smallest_size
from tests.published import (
  assert_same_as_keras,
  assert_same_as_torch,
  assert_takes_all,
  batch_norm,
  depthwise_sizes,
  keras_network,
  network,
  parameters,
  taken_from_keras,
)

KERAS_EPSILON = 1e-3


def test_the_number_of_parameters_is_torchvisions():
  assert parameters(network('mobilenet_v2'), 224) == 3_504_872


def test_imgclsmobs_has_one_more_1x1_and_no_bias_at_the_logits():
  paper, other = (
    models.shapes(network('mobilenet_v2', variant=variant), 32)['params']
    for variant in mobilenet_v2.VARIANTS
  )
  expand = other['stage_1_block_1'].pop('expand')
  assert expand['kernel'].shape == (1, 1, 32, 32)
  del paper['logits']['bias']
  assert other == paper


@pytest.mark.parametrize(
  ('width', 'count'),
  [
    (0.1, 1_367_080),  # where a tenth less matters
    (0.35, 1_677_128),
    (0.5, 1_968_680),
    (0.75, 2_636_424),
    (1.3, 5_386_792),
    (1.4, 6_108_776),
  ],
)
def test_networks_of_other_widths_have_keras_number_of_parameters(width, count):
  layers = {'width': width, 'min_width': 8}
  assert parameters(network('mobilenet_v2', layers=layers), 32) == count


def test_the_last_1x1_is_widened_and_never_narrowed():
  for width, features in ((0.5, 1280), (1.0, 1280), (1.4, 1792)):
    model = network('mobilenet_v2', layers={'width': width}, blocks=(1,))
    params = models.shapes(model, 32)['params']
    assert params['head']['kernel'].shape[-1] == features


def test_no_layer_is_narrower_than_min_width_unless_published_so():
  layers = {'width': 0.1, 'min_width': 20}
  model = network('mobilenet_v2', layers=layers)
  params = models.shapes(model, 32)['params']
  narrow = params['stage_1_block_1']['project']['kernel']
  assert narrow.shape[-1] == 16
  assert params['stage_2_block_1']['project']['kernel'].shape[-1] == 20


def keras_and_ours():
  theirs = keras_network(keras.applications.MobileNetV2)
  return theirs, network('mobilenet_v2', batch_norm(KERAS_EPSILON))


def test_all_variables_of_keras_network_are_ours():
  taken_from_keras(*keras_and_ours(), 224)


@pytest.mark.foreign
def test_it_is_keras_network():
  assert_same_as_keras(*keras_and_ours(), 224)


def torchvisions(stages):
  """Returns the network in PyTorch, without dropout, by torchvision's names."""
  import torch.nn as tnn

  def conv(C, features, window, strides=1, groups=1):
    padding = window // 2
    return tnn.Sequential(
      tnn.Conv2d(C, features, window, strides, padding, 1, groups, False),
      tnn.BatchNorm2d(features),
      tnn.ReLU6(),
    )

  class Unit(tnn.Module):
    def __init__(self, C, features, strides, expansion):
      super().__init__()
      wide = C * expansion
      self.added = strides == 1 and features == C
      self.conv = tnn.Sequential(
        *[conv(C, wide, 1)] * (expansion > 1),
        conv(wide, wide, 3, strides, wide),
        tnn.Conv2d(wide, features, 1, bias=False),
        tnn.BatchNorm2d(features),
      )

    def forward(self, x):
      return x + self.conv(x) if self.added else self.conv(x)

  C, layers = 32, [conv(3, 32, 3, 2)]
  for expansion, features, count, strides in stages:
    for n in range(count):
      layers.append(Unit(C, features, 1 if n else strides, expansion))
      C = features

  class Net(tnn.Module):
    def __init__(self):
      super().__init__()
      self.features = tnn.Sequential(*layers, conv(C, 1280, 1))
      self.classifier = tnn.Sequential(tnn.Identity(), tnn.Linear(1280, 1000))

    def forward(self, x):
      return self.classifier(self.features(x).mean((2, 3)))

  return Net()


def test_it_is_torchvisions_network():
  pytest.importorskip('torch', reason='PyTorch is not installed')
  model = network(
    'mobilenet_v2', batch_norm(1e-5), blocks=(1, 2, 1), padding='symmetric'
  )
  stages = [
    (expansion, features, count, strides)
    for (expansion, features, _, strides), count in zip(
      mobilenet_v2.STAGES, model.blocks, strict=False
    )
  ]
  assert_same_as_torch(torchvisions(stages), model, 64)


def test_torchvisions_names_are_those_of_the_whole_network():
  pytest.importorskip('torch', reason='PyTorch is not installed')
  theirs = torchvisions(mobilenet_v2.STAGES)
  assert 'features.18.1.running_var' in theirs.state_dict()
  assert_takes_all(theirs, network('mobilenet_v2'))


def test_the_small_stem_leaves_out_two_strides():
  sizes = functools.partial(depthwise_sizes, 'mobilenet_v2', stages=7)
  assert sizes('paper') == [16, 16, 8, 4, 2, 2, 1, 1]
  assert sizes('small') == [32, 32, 32, 16, 8, 8, 4, 4]
  make = functools.partial(
    network, 'mobilenet_v2', num_classes=10, blocks=(1,) * 7
  )
  assert smallest_size(make(stem='small')) <= 8
  assert smallest_size(make()) <= 28


def test_blocks_are_the_units_of_the_first_stages():
  params = models.shapes(network('mobilenet_v2', blocks=(1, 2)), 32)
  assert set(params['params']) == {
    'stem',
    'stage_1_block_1',
    'stage_2_block_1',
    'stage_2_block_2',
    'head',
    'logits',
  }
  with pytest.raises(ValueError, match=r'blocks = .*: needs at most 7 numbers'):
    models.shapes(network('mobilenet_v2', blocks=(1,) * 8), 32)


def test_dropout_is_before_the_logits():
  """Of equal positive features: kept ones are all that the logits sum."""
  model = network('mobilenet_v2', 'none', 10, blocks=(1,))
  variables = jax.tree.map(
    lambda leaf: jnp.full(leaf.shape, 0.1), models.shapes(model, 8)
  )
  variables['params']['logits']['bias'] *= 0
  apply = jax.jit(functools.partial(model.apply, train=True))
  x_NHWC = jnp.ones((8, 8, 8, 3))
  logits_NK, _ = apply(variables, x_NHWC)
  dropped_NK, _ = apply(variables, x_NHWC, rngs={'dropout': jax.random.key(0)})
  kept_NK = np.asarray(dropped_NK / logits_NK) * 0.8
  assert kept_NK.mean() == pytest.approx(0.8, abs=0.02)
  np.testing.assert_allclose(
    kept_NK * 1280, np.round(kept_NK * 1280), atol=0.02
  )
  assert len(np.unique(kept_NK.round(4))) > 1
