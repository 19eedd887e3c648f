"""Inception-ResNet-v2: counts, equality with Keras, scaled residuals."""

import functools
import math

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from bnresearch import models
from bnresearch.models import smallest_size
from tests.published import (
  assert_same_as_keras,
  batch_norm,
  drawn,
  images,
  keras_network,
  maps,
  network,
  parameters,
  small,
  taken_from_keras,
)

SIZE = 299
WITHOUT_SCALE = functools.partial(batch_norm(1e-3), use_scale=False)

# Inputs, outputs and pixels of the windows of all convolutions that have a
# normalizer, from the layer table; of a unit's, those of one unit.
STEM = [(3, 32, 9), (32, 32, 9), (32, 64, 9), (64, 80, 1), (80, 192, 9)]
TO_35 = [
  (192, 96, 1),
  *[(192, 48, 1), (48, 64, 25)],
  *[(192, 64, 1), (64, 96, 9), (96, 96, 9)],
  (192, 64, 1),
]
BLOCK35 = [
  (320, 32, 1),
  *[(320, 32, 1), (32, 32, 9)],
  *[(320, 32, 1), (32, 48, 9), (48, 64, 9)],
]
TO_17 = [(320, 384, 9), (320, 256, 1), (256, 256, 9), (256, 384, 9)]
BLOCK17 = [(1088, 192, 1), (1088, 128, 1), (128, 160, 7), (160, 192, 7)]
TO_8 = [
  *[(1088, 256, 1), (256, 384, 9)],
  *[(1088, 256, 1), (256, 288, 9)],
  *[(1088, 256, 1), (256, 288, 9), (288, 320, 9)],
]
BLOCK8 = [(2080, 192, 1), (2080, 192, 1), (192, 224, 3), (224, 256, 3)]
LAST = [(2080, 1536, 1)]


@pytest.fixture(scope='module')
def theirs():
  return keras_network(keras.applications.InceptionResNetV2)


def test_the_number_of_parameters_is_that_of_the_table_and_keras(theirs):
  layers = [*STEM, *TO_35, *TO_17, *TO_8, *LAST]
  layers += BLOCK35 * 10 + BLOCK17 * 20 + BLOCK8 * 10
  kernels = sum(math.prod(layer) for layer in layers)
  channels = sum(outputs for _, outputs, _ in layers)
  linear = 10 * 129 * 320 + 20 * 385 * 1088 + 10 * 449 * 2080
  logits = 1537 * 1000
  without_scale = kernels + channels + linear + logits
  assert without_scale == 55_813_192
  trainable = sum(math.prod(w.shape) for w in theirs.trainable_weights)
  assert trainable == without_scale
  model = network('inception_resnet_v2', WITHOUT_SCALE)
  assert parameters(model, SIZE) == without_scale
  model = network('inception_resnet_v2')
  assert parameters(model, SIZE) == without_scale + channels


def test_all_variables_of_keras_network_are_ours(theirs):
  model = network('inception_resnet_v2', WITHOUT_SCALE)
  taken_from_keras(theirs, model, SIZE)


@pytest.mark.foreign
def test_it_is_keras_network(theirs):
  model = network('inception_resnet_v2', WITHOUT_SCALE)
  assert_same_as_keras(theirs, model, SIZE)


def test_its_maps_are_those_of_the_table():
  outputs, _ = maps(network('inception_resnet_v2', blocks=(1, 2, 1)), SIZE)
  assert outputs == {
    'stem': (35, 35, 192),
    'mixed_5b': (35, 35, 320),
    'block35_1': (35, 35, 320),
    'mixed_6a': (17, 17, 1088),
    'block17_1': (17, 17, 1088),
    'block17_2': (17, 17, 1088),
    'mixed_7a': (8, 8, 2080),
    'block8_1': (8, 8, 2080),
    'conv_7b': (8, 8, 1536),
    'logits': (1000,),
  }


def test_units_add_what_is_scaled_to_their_shortcut():
  """Where the linear convolution makes ones, the scale is what is added."""
  model = small('inception_resnet_v2', blocks=(2, 1, 3))
  variables = drawn(model, 8)
  scales = {'block35_1': 0.17, 'block35_2': 0.17, 'block17_1': 0.1}
  scales |= {'block8_1': 0.2, 'block8_2': 0.2, 'block8_3': 1.0}
  for unit in scales:
    linear = variables['params'][unit]['linear']
    linear['kernel'] = jnp.zeros_like(linear['kernel'])
    linear['bias'] = jnp.ones_like(linear['bias'])
  before = {
    'block35_1': 'mixed_5b',
    'block35_2': 'block35_1',
    'block17_1': 'mixed_6a',
    'block8_1': 'mixed_7a',
    'block8_2': 'block8_1',
    'block8_3': 'block8_2',
  }

  @jax.jit
  def run(variables):
    (_, taps), state = model.apply(
      variables,
      images(8),
      train=False,
      capture_intermediates=True,
      mutable=['intermediates'],
    )
    outputs = state['intermediates']
    # The last output is the unit's, those before it are its parts'.
    return taps, {
      name: outputs[name]['__call__'][-1]
      for name in {*before, *before.values()}
    }

  taps, outputs = run(variables)
  for unit, scale in scales.items():
    added = outputs[unit] - outputs[before[unit]]
    np.testing.assert_allclose(added, scale, rtol=1e-4, err_msg=unit)
  # The last unit has no nonlinearity.
  assert {tap for tap in taps if tap.endswith('sum')} == {
    f'{unit}/sum' for unit in scales if unit != 'block8_3'
  }


def test_what_a_unit_adds_has_a_bias_and_no_normalizer():
  model = small('inception_resnet_v2')
  unit = models.shapes(model, 8)['params']['block17_1']
  assert set(unit['linear']) == {'kernel', 'bias'}
  assert set(unit) == {'branch_1', 'branch_2', 'linear'}


def test_blocks_are_units_of_each_kind():
  model = small('inception_resnet_v2', blocks=(0, 2, 0))
  modules = set(models.shapes(model, 8)['params'])
  assert {name for name in modules if name.startswith('block')} == {
    'block17_1',
    'block17_2',
  }
  with pytest.raises(ValueError, match=r'blocks = \(1, 1\): needs three numbe'):
    models.shapes(small('inception_resnet_v2', blocks=(1, 1)), 8)


def test_with_the_small_stem_images_are_small():
  outputs, _ = maps(small('inception_resnet_v2'), 28)
  assert outputs['stem'][:2] == (28, 28)
  assert outputs['conv_7b'][:2] == (6, 6)
  models.shapes(small('inception_resnet_v2'), 8)


def test_the_published_stem_needs_images_of_75_pixels():
  model = network('inception_resnet_v2', blocks=(0, 0, 0))
  assert smallest_size(model) == 75


def test_dropout_is_before_the_logits_in_training():
  model = small('inception_resnet_v2', blocks=(0, 0, 0), dropout_rate=1.0)
  variables = drawn(model, 8)
  bias_K = variables['params']['logits']['bias']
  apply = jax.jit(functools.partial(model.apply, train=True))
  rngs = {'dropout': jax.random.key(1)}
  logits_NK, _ = apply(variables, images(8), rngs=rngs)
  assert bool(jnp.all(logits_NK == bias_K[None]))
  assert network('inception_resnet_v2').dropout_rate == 0.2
