"""DenseNets: published counts, equality with Keras and torchvision."""

import functools
import math
from collections import OrderedDict

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from bnresearch import models
from bnresearch.models import densenet, smallest_size
from tests.published import (
  assert_same_as_keras,
  assert_same_as_torch,
  assert_takes_all,
  batch_norm,
  images,
  keras_network,
  network,
  parameters,
  taken_from_keras,
)

KERAS_EPSILON = 1.001e-5


def counted(variant, num_classes):
  """Returns parameters, and channels of normalizers, by the paper's rules."""
  blocks, growth = densenet.VARIANTS[variant]
  large = not variant.startswith('bc')
  C = 2 * growth
  total, normalized = (7 if large else 3) ** 2 * 3 * C, C if large else 0
  for block, count in enumerate(blocks):
    for _ in range(count):
      total += C * 4 * growth + 3 * 3 * 4 * growth * growth
      normalized += C + 4 * growth
      C += growth
    normalized += C  # of the transition, or of the head
    if block < len(blocks) - 1:
      total += C * (C // 2)
      C //= 2
  return total + 2 * normalized + (C + 1) * num_classes, normalized


@pytest.mark.parametrize(
  ('variant', 'num_classes', 'count'),
  [
    ('121', 1000, 7_978_856),  # torchvision, Keras
    ('169', 1000, 14_149_480),  # Keras: trainable
    ('201', 1000, 20_013_928),  # Keras: trainable
    ('bc_100_12', 10, 769_162),  # the paper, Table 2: 0.8M
    ('bc_190_40', 10, 25_624_430),  # 25.6M
  ],
)
def test_the_number_of_parameters_is_the_published_one(
  variant, num_classes, count
):
  model = network('densenet', num_classes=num_classes, variant=variant)
  assert parameters(model, 32) == counted(variant, num_classes)[0] == count


def test_the_count_of_the_widest_net_for_cifar_is_the_papers():
  count, _ = counted('bc_250_24', 10)  # shapes alone take 10 s
  assert count == 15_324_406
  assert densenet.VARIANTS['bc_250_24'][0] == ((250 - 4) // 6,) * 3


def test_normalizers_follow_the_concatenated_channels():
  stats = models.shapes(network('densenet'), 32)['batch_stats']
  channels = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(stats)) // 2
  assert channels == counted('121', 1000)[1] == 41_824


def keras_and_ours():
  theirs = keras_network(keras.applications.DenseNet121)
  return theirs, network('densenet', batch_norm(KERAS_EPSILON))


def test_all_variables_of_keras_network_are_ours():
  taken_from_keras(*keras_and_ours(), 224)


@pytest.mark.foreign
def test_it_is_keras_network():
  assert_same_as_keras(*keras_and_ours(), 224)


def torchvisions(variant, blocks):
  """Returns the network in PyTorch, with torchvision's names."""
  import torch.nn as tnn

  blocks = blocks or densenet.VARIANTS[variant][0]

  class Layer(tnn.Module):
    def __init__(self, C):
      super().__init__()
      self.norm1 = tnn.BatchNorm2d(C)
      self.conv1 = tnn.Conv2d(C, 128, 1, bias=False)
      self.norm2 = tnn.BatchNorm2d(128)
      self.conv2 = tnn.Conv2d(128, 32, 3, padding=1, bias=False)

    def forward(self, x):
      y = self.conv1(self.norm1(x).relu())
      return tnn.functional.pad(x, (0, 0, 0, 0, 0, 32)) + tnn.functional.pad(
        self.conv2(self.norm2(y).relu()), (0, 0, 0, 0, x.shape[1], 0)
      )

  C, features = 64, OrderedDict()
  features['conv0'] = tnn.Conv2d(3, C, 7, 2, 3, bias=False)
  features['norm0'] = tnn.BatchNorm2d(C)
  features['relu0'] = tnn.ReLU()
  features['pool0'] = tnn.MaxPool2d(3, 2, 1)
  for b, count in enumerate(blocks, start=1):
    layers = {f'denselayer{n + 1}': Layer(C + 32 * n) for n in range(count)}
    features[f'denseblock{b}'] = tnn.Sequential(OrderedDict(layers))
    C += 32 * count
    if b == len(blocks):
      features[f'norm{b + 1}'] = tnn.BatchNorm2d(C)
      continue
    transition = OrderedDict(
      norm=tnn.BatchNorm2d(C),
      relu=tnn.ReLU(),
      conv=tnn.Conv2d(C, C // 2, 1, bias=False),
      pool=tnn.AvgPool2d(2),
    )
    features[f'transition{b}'] = tnn.Sequential(transition)
    C //= 2

  class Net(tnn.Module):
    def __init__(self):
      super().__init__()
      self.features = tnn.Sequential(features)
      self.classifier = tnn.Linear(C, 1000)

    def forward(self, x):
      return self.classifier(self.features(x).relu().mean((2, 3)))

  return Net()


def test_it_is_torchvisions_network():
  pytest.importorskip('torch', reason='PyTorch is not installed')
  theirs = torchvisions('121', (2, 1))
  model = network('densenet', batch_norm(1e-5), blocks=(2, 1))
  assert_same_as_torch(theirs, model, 64)


def test_torchvisions_names_are_those_of_the_whole_network():
  pytest.importorskip('torch', reason='PyTorch is not installed')
  theirs = torchvisions('121', ())
  assert 'features.norm5.running_var' in theirs.state_dict()
  assert_takes_all(theirs, network('densenet'))


def test_dropout_is_of_what_each_layer_and_each_transition_adds():
  """Where all is positive and nothing normalized, what is dropped is 0."""
  rate, growth = 0.25, 32
  model = network(
    'densenet',
    'none',
    10,
    stem='small',
    blocks=(1, 1),
    dropout_rate=rate,
  )
  x_NHWC = jnp.abs(images(8)) + 0.1
  variables = jax.tree.map(
    lambda leaf: jnp.full(leaf.shape, 0.01), models.shapes(model, 8)
  )
  apply = jax.jit(functools.partial(model.apply, train=True))
  _, taps = apply(variables, x_NHWC, rngs={'dropout': jax.random.key(1)})
  zeros = {site: np.asarray(x) == 0 for site, x in taps.items()}
  for site in ('transition_1/pre', 'head'):
    assert zeros[site][..., -growth:].mean() == pytest.approx(rate, abs=0.06)
  # The mean of the 4 pixels that a transition pools is 0 if all of them are.
  assert 0 < zeros['block_2_1/pre'].mean() < 3 * rate**4
  assert not zeros['transition_1/pre'][..., :-growth].any()
  assert not zeros['block_1_1/conv_1'].any()
  _, taps = apply(variables, x_NHWC)
  assert all((x != 0).all() for x in taps.values())


def test_width_multiplies_growth_and_stem_and_transitions_halve():
  layers = {'width': 0.75, 'min_width': 1}
  model = network('densenet', layers=layers, blocks=(2, 3))
  params = models.shapes(model, 64)['params']
  stem, growth = 48, 24
  assert params['stem']['kernel'].shape == (7, 7, 3, stem)
  kernel = params['block_1_2']['conv_1']['kernel']
  assert kernel.shape == (1, 1, stem + growth, 4 * growth)
  C = stem + 2 * growth
  kernel = params['transition_1']['conv']['kernel']
  assert kernel.shape == (1, 1, C, C // 2)
  assert params['logits']['kernel'].shape[0] == C // 2 + 3 * growth


def test_networks_for_cifar_and_small_stems_keep_the_size_of_small_images():
  for fields in ({'stem': 'small'}, {'variant': 'bc_100_12'}):
    model = network('densenet', num_classes=10, blocks=(1, 1, 1), **fields)
    init = functools.partial(model.init_with_output, train=False)
    (_, taps), variables = jax.eval_shape(init, jax.random.key(0), images(8))
    assert taps['block_1_1/pre'].shape[1:3] == (8, 8)
    assert taps['head'].shape[1:3] == (2, 2)
    assert 'stem' not in taps
    assert list(variables['params']['stem']) == ['kernel']


def test_four_blocks_run_on_8_pixels_with_the_small_stem():
  model = functools.partial(network, 'densenet', blocks=(1, 1, 1, 1))
  assert smallest_size(model(stem='small')) == 8
  assert smallest_size(model()) == 29
