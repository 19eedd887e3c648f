"""VGG: published counts, equality with Keras and PyTorch, small images."""

import functools
import itertools

import jax
import keras
import numpy as np
import pytest

from bnresearch import models
from bnresearch.models import vgg
from tests.published import (
  NARROW,
  assert_same_as_keras,
  assert_same_as_torch,
  batch_norm,
  drawn,
  images,
  names_of,
  network,
  parameters,
)

# Of images compared with Keras: maps of 2 pixels are flattened, not of 7, and
# four fifths of the parameters need not be drawn.
SIZE = 64


def sum_of_convolutions(weights):
  """Returns the parameters of one convolution a block."""
  channels = 3, 64, 128, 256, 512, 512
  return sum(
    weights * before * after + after
    for before, after in itertools.pairwise(channels)
  )


@pytest.mark.parametrize(
  ('variant', 'count'),
  [
    ('11', 132_863_336),
    ('11_lrn', 132_863_336),
    ('13', 133_047_848),
    ('16', 138_357_544),
    ('16c', 133_638_952),
    ('19', 143_667_240),
    # Counted by hand: 25 or 9 weights for a pair of maps, and the dense layers.
    ('8_5x5', 123_642_856 + sum_of_convolutions(25)),
    ('8', 123_642_856 + sum_of_convolutions(9)),
  ],
)
def test_the_number_of_parameters_is_the_published_one(variant, count):
  assert parameters(network('vgg', 'none', variant=variant), 224) == count


@pytest.mark.parametrize(
  ('keep_bias', 'count'), [(False, 138_361_768), (True, 138_365_992)]
)
@pytest.mark.parametrize('head', ['dense', 'conv'])
def test_with_bn_the_number_is_with_or_without_the_biases(
  keep_bias, count, head
):
  """The latter is torchvision's."""
  model = network('vgg', layers={'keep_bias': keep_bias}, head=head)
  assert parameters(model, 224) == count


@pytest.mark.parametrize('depth', ['16', '19'])
@pytest.mark.foreign
def test_it_is_keras_network(depth):
  make = getattr(keras.applications, f'VGG{depth}')
  shape = SIZE, SIZE, 3
  theirs = make(weights=None, input_shape=shape, classifier_activation=None)
  assert_same_as_keras(theirs, network('vgg', 'none', variant=depth), SIZE)


def torchs(blocks, *, batch_norm):
  """Returns torchvision's modules by their names, from the layer table."""
  import torch

  layers, C = [], 3
  for count, features in zip(blocks, (64, 128, 256, 512, 512), strict=True):
    for _ in range(count):
      layers.append(torch.nn.Conv2d(C, features, 3, padding=1))
      layers += [torch.nn.BatchNorm2d(features)] if batch_norm else []
      layers.append(torch.nn.ReLU())
      C = features
    layers.append(torch.nn.MaxPool2d(2))
  classifier = torch.nn.Sequential(
    torch.nn.Linear(C * 7 * 7, 4096),
    torch.nn.ReLU(),
    torch.nn.Identity(),  # dropout
    torch.nn.Linear(4096, 4096),
    torch.nn.ReLU(),
    torch.nn.Identity(),
    torch.nn.Linear(4096, 1000),
  )
  network = torch.nn.Sequential()
  network.add_module('features', torch.nn.Sequential(*layers))
  network.add_module('flatten', torch.nn.Flatten())
  network.add_module('classifier', classifier)
  return network


@pytest.mark.foreign
def test_with_bn_it_is_pytorchs_network():
  pytest.importorskip('torch', reason='PyTorch is not installed')
  model = network(
    'vgg', batch_norm(1e-5), layers={'keep_bias': True}, variant='11'
  )
  theirs = torchs((1, 1, 2, 2, 2), batch_norm=True)
  assert_same_as_torch(theirs, model, 224)


@pytest.mark.parametrize('norm', ['none', 'batch'])
@pytest.mark.parametrize(
  ('variant', 'blocks'), [('16', (2, 2, 3, 3, 3)), ('19', (2, 2, 4, 4, 4))]
)
def test_torchvisions_names_are_known_with_and_without_bn(
  variant, blocks, norm
):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  with torch.device('meta'):
    theirs = torchs(blocks, batch_norm=norm == 'batch')
  kinds = torch.nn.Conv2d, torch.nn.Linear, torch.nn.BatchNorm2d
  modules = theirs.named_modules()
  expected = [name for name, module in modules if isinstance(module, kinds)]
  names = names_of('torchvision', network('vgg', norm, variant=variant))
  found = [
    name for theirs in names.values() for name in theirs[:2] if name is not None
  ]
  assert found == expected


@functools.cache
def outputs(dropped=False, **fields):
  """Returns logits and taps of training, from the same parameters."""
  model = network('vgg', 'none', 10, NARROW, **{'variant': '11'} | fields)
  rngs = {'dropout': jax.random.key(1)} if dropped else {}
  apply = jax.jit(functools.partial(model.apply, train=True, rngs=rngs))
  return apply(drawn(model, 32), images(32))


def changed(taps, other):
  return [name for name in taps if not np.array_equal(taps[name], other[name])]


def test_a_lrn_normalizes_responses_after_the_first_layer():
  _, taps = outputs()
  _, with_lrn = outputs(variant='11_lrn')
  assert changed(taps, with_lrn)[0] == 'block_2/conv_1'
  # Small responses are divided by 2 ** 0.75.
  expected = np.asarray(taps['block_2/conv_1']) / 2**0.75
  np.testing.assert_allclose(
    with_lrn['block_2/conv_1'],
    expected,
    rtol=0,
    atol=0.01 * np.abs(expected).max(),
  )


def test_dropout_is_of_what_the_hidden_layers_give():
  _, taps = outputs()
  _, dropped = outputs(dropped=True)
  assert changed(taps, dropped) == ['hidden_2']
  _, without = outputs(dropped=True, dropout_rate=0.0)
  assert changed(taps, without) == []


def test_with_a_small_stem_dropout_is_of_what_the_logits_take_in():
  logits_NK, taps = outputs(stem='small')
  other_NK, dropped = outputs(dropped=True, stem='small')
  assert changed(taps, dropped) == []
  assert not np.array_equal(logits_NK, other_NK)


@pytest.mark.parametrize(
  ('size', 'last'), [(8, 1), (28, 1), (32, 1), (64, 2), (224, 7)]
)
def test_with_a_small_stem_the_logits_are_of_the_last_map(size, last):
  layers = {'squeeze': False}
  model = network('vgg', 'none', 10, layers, stem='small')
  init = functools.partial(model.init_with_output, train=False)
  (logits, taps), variables = jax.eval_shape(
    init, jax.random.key(0), images(size)
  )
  assert logits.shape == (2, last, last, 10)
  hidden = (512 * 7 * 7 + 1) * 4096 + (4096 + 1) * 4096 + (4096 + 1) * 1000
  count = sum(leaf.size for leaf in jax.tree.leaves(variables))
  assert count == 138_357_544 - hidden + (512 + 1) * 10
  assert len(taps) == sum(map(len, vgg.VARIANTS['16']))


def test_less_than_32_pixels_need_the_small_stem():
  with pytest.raises(ValueError, match=r"32x32 or more\..* stem = 'small'"):
    models.shapes(network('vgg', 'batch', 10), 28)
