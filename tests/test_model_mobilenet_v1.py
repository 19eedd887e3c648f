"""MobileNet: slim's counts, equality with Keras, small images."""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from bnresearch import lookup, models
from bnresearch.models import Layers, mobilenet_v1, smallest_size
from bnresearch.models._layers import Conv
from bnresearch.models._network_call import NetworkCall
from tests.published import (
  assert_same_as_keras,
  batch_norm,
  depthwise_sizes,
  images,
  keras_network,
  network,
  parameters,
)

KERAS_EPSILON = 1e-3


def kernels(params):
  """Returns the sizes of all kernels by the name of the outermost layer."""
  sizes = {}
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    if path[-1].key == 'kernel':
      name = path[0].key
      sizes[name] = sizes.get(name, 0) + math.prod(leaf.shape)
  return sizes


def test_the_number_of_parameters_is_keras():
  assert parameters(network('mobilenet_v1'), 224) == 4_231_976


@pytest.mark.parametrize(
  ('width', 'count'), [(0.25, 470_072), (0.5, 1_331_592), (0.75, 2_585_560)]
)
def test_narrow_networks_have_keras_number_of_parameters(width, count):
  layers = {'width': width, 'min_width': 8}
  assert parameters(network('mobilenet_v1', layers=layers), 32) == count


def test_the_kernels_and_variables_below_the_logits_are_slims():
  """Slim counts beta, mean and variance of each channel, and no gamma."""
  variables = models.shapes(network('mobilenet_v1'), 32)
  sizes = kernels(variables['params'])
  base = sum(sizes.values()) - sizes['logits']
  assert base == 3_185_088
  stats = jax.tree.leaves(variables['batch_stats'])
  channels = sum(math.prod(leaf.shape) for leaf in stats) // 2
  assert base + 3 * channels == 3_217_920


def test_the_kernels_of_three_quarters_of_the_width_are_slims():
  model = network('mobilenet_v1', layers={'width': 0.75, 'min_width': 8})
  sizes = kernels(models.shapes(model, 128)['params'])
  assert sum(sizes.values()) - sizes['logits'] == 1_800_144


def test_a_separable_convolution_has_795_weights_for_6912():
  """From 3 to 256 channels: 3*3*3*256, against 3*3*3 and 3*256."""

  class Both(nn.Module):
    num_classes: int
    layers: Layers

    @nn.compact
    def __call__(self, x, *, train, mask=None):
      call = NetworkCall(self, x, train=train, mask=mask)
      Conv(256, 3, name='plain')(x, call)
      mobilenet_v1._Separable(256, 1, name='separable')(x, call)

  norm = lookup.find('norms', 'batch').Norm
  both = Both(10, Layers(norm=lambda path: norm))
  sizes = kernels(models.shapes(both, 8)['params'])
  assert sizes == {'plain': 6912, 'separable': 795}


def test_it_is_keras_network():
  make = functools.partial(keras.applications.MobileNet, dropout=0)
  theirs = keras_network(make)
  model = network(
    'mobilenet_v1', batch_norm(KERAS_EPSILON), layers={'activation': 'relu6'}
  )
  assert_same_as_keras(theirs, model, 224)


def test_the_small_stem_leaves_out_two_strides():
  sizes = functools.partial(depthwise_sizes, 'mobilenet_v1', stages=5)
  assert sizes('paper') == [16, 16, 8, 4, 2, 1]
  assert sizes('small') == [32, 32, 32, 16, 8, 4]
  make = functools.partial(
    network, 'mobilenet_v1', num_classes=10, blocks=(1,) * 5
  )
  assert smallest_size(make(stem='small')) <= 8
  assert smallest_size(make()) <= 28


def test_blocks_are_the_units_of_the_first_stages():
  model = network('mobilenet_v1', blocks=(1, 3))
  params = models.shapes(model, 32)['params']
  assert set(params) == {
    'stem',
    'stage_1_block_1',
    'stage_2_block_1',
    'stage_2_block_2',
    'stage_2_block_3',
    'logits',
  }
  with pytest.raises(ValueError, match=r'blocks = \(1, 1, 1, 1, 1, 1\): needs'):
    models.shapes(network('mobilenet_v1', blocks=(1,) * 6), 32)


def test_dropout_is_before_the_logits():
  """Of equal positive features: kept ones are all that the logits sum."""
  rate = 0.25
  model = network('mobilenet_v1', 'none', 10, blocks=(1,), dropout_rate=rate)
  variables = jax.tree.map(
    lambda leaf: jnp.full(leaf.shape, 0.1), models.shapes(model, 8)
  )
  variables['params']['logits']['bias'] *= 0
  apply = jax.jit(functools.partial(model.apply, train=True))
  x_NHWC = jnp.ones((8, 8, 8, 3))
  logits_NK, _ = apply(variables, x_NHWC)
  dropped_NK, _ = apply(variables, x_NHWC, rngs={'dropout': jax.random.key(0)})
  kept_NK = np.asarray(dropped_NK / logits_NK) * (1 - rate)
  assert kept_NK.mean() == pytest.approx(1 - rate, abs=0.1)
  np.testing.assert_allclose(kept_NK * 64, np.round(kept_NK * 64), atol=1e-3)
  assert len(np.unique(kept_NK.round(4))) > 1


def test_the_initial_kernels_are_slims():
  model = network('mobilenet_v1', num_classes=10, blocks=(1,))
  init = jax.jit(functools.partial(model.init, train=False))
  params = init(jax.random.key(0), images(4))['params']
  kernel = params['stage_1_block_1']['pointwise']['kernel']
  assert kernel.std() == pytest.approx(0.09 * 0.8796, rel=0.05)
  assert 0.17 < jnp.abs(kernel).max() <= 0.18
