"""Inception V3: published counts and maps, equality with Keras, options."""

import functools
import math

import flax
import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from bnresearch import models, pretrained
from bnresearch.models import inception_v3, smallest_size
from bnresearch.models._rows import convolutions
from tests.published import (
  assert_same_as_keras,
  batch_norm,
  drawn,
  images,
  keras_network,
  maps,
  names_of,
  network,
  parameters,
  small,
  taken_from_keras,
)

SIZE = 299
WITHOUT_SCALE = functools.partial(batch_norm(1e-3), use_scale=False)

# PyTorch's weights of one module of each kind: outputs, inputs, window.
TORCHVISION = """
Conv2d_1a_3x3 32 3 3 3
Conv2d_2a_3x3 32 32 3 3
Conv2d_2b_3x3 64 32 3 3
Conv2d_3b_1x1 80 64 1 1
Conv2d_4a_3x3 192 80 3 3
Mixed_5b.branch1x1 64 192 1 1
Mixed_5b.branch5x5_1 48 192 1 1
Mixed_5b.branch5x5_2 64 48 5 5
Mixed_5b.branch3x3dbl_1 64 192 1 1
Mixed_5b.branch3x3dbl_2 96 64 3 3
Mixed_5b.branch3x3dbl_3 96 96 3 3
Mixed_5b.branch_pool 32 192 1 1
Mixed_6a.branch3x3 384 256 3 3
Mixed_6a.branch3x3dbl_1 64 256 1 1
Mixed_6a.branch3x3dbl_2 96 64 3 3
Mixed_6a.branch3x3dbl_3 96 96 3 3
Mixed_6b.branch1x1 192 736 1 1
Mixed_6b.branch7x7_1 128 736 1 1
Mixed_6b.branch7x7_2 128 128 1 7
Mixed_6b.branch7x7_3 192 128 7 1
Mixed_6b.branch7x7dbl_1 128 736 1 1
Mixed_6b.branch7x7dbl_2 128 128 7 1
Mixed_6b.branch7x7dbl_3 128 128 1 7
Mixed_6b.branch7x7dbl_4 128 128 7 1
Mixed_6b.branch7x7dbl_5 192 128 1 7
Mixed_6b.branch_pool 192 736 1 1
AuxLogits.conv0 128 768 1 1
AuxLogits.conv1 768 128 5 5
Mixed_7a.branch3x3_1 192 768 1 1
Mixed_7a.branch3x3_2 320 192 3 3
Mixed_7a.branch7x7x3_1 192 768 1 1
Mixed_7a.branch7x7x3_2 192 192 1 7
Mixed_7a.branch7x7x3_3 192 192 7 1
Mixed_7a.branch7x7x3_4 192 192 3 3
Mixed_7b.branch1x1 320 1280 1 1
Mixed_7b.branch3x3_1 384 1280 1 1
Mixed_7b.branch3x3_2a 384 384 1 3
Mixed_7b.branch3x3_2b 384 384 3 1
Mixed_7b.branch3x3dbl_1 448 1280 1 1
Mixed_7b.branch3x3dbl_2 384 448 3 3
Mixed_7b.branch3x3dbl_3a 384 384 1 3
Mixed_7b.branch3x3dbl_3b 384 384 3 1
Mixed_7b.branch_pool 192 1280 1 1
"""


@pytest.mark.parametrize(
  ('norm', 'auxiliary_heads', 'count'),
  [
    ('batch', False, 23_834_568),  # imgclsmob
    ('batch', True, 27_161_264),  # torchvision
    (WITHOUT_SCALE, False, 23_817_352),  # Keras, trainable
  ],
)
def test_the_number_of_parameters_is_the_published_one(
  norm, auxiliary_heads, count
):
  model = network('inception_v3', norm, auxiliary_heads=auxiliary_heads)
  assert parameters(model, SIZE) == count


def test_the_number_of_variables_is_slims():
  """Kernels, beta and running statistics of all but the logits."""
  variables = models.shapes(network('inception_v3', WITHOUT_SCALE), SIZE)
  del variables['params']['logits']
  leaves = jax.tree.leaves(variables)
  assert sum(math.prod(leaf.shape) for leaf in leaves) == 21_802_784


def test_its_maps_are_the_published_ones():
  model = network('inception_v3', auxiliary_heads=True)
  outputs, taps = maps(model, SIZE)
  assert outputs == {
    'stem': (35, 35, 192),
    'mixed_5b': (35, 35, 256),
    'mixed_5c': (35, 35, 288),
    'mixed_5d': (35, 35, 288),
    'mixed_6a': (17, 17, 768),
    'mixed_6b': (17, 17, 768),
    'mixed_6c': (17, 17, 768),
    'mixed_6d': (17, 17, 768),
    'mixed_6e': (17, 17, 768),
    'auxiliary_1': (1000,),
    'mixed_7a': (8, 8, 1280),
    'mixed_7b': (8, 8, 2048),
    'mixed_7c': (8, 8, 2048),
    'logits': (1000,),
  }
  assert [taps[f'stem/conv_{n}'] for n in (1, 2, 3, 5, 6)] == [
    (149, 149, 32),
    (147, 147, 32),
    (147, 147, 64),
    (73, 73, 80),
    (71, 71, 192),
  ]
  assert taps['auxiliary_1/conv_1'] == (5, 5, 128)
  assert taps['auxiliary_1/conv_2'] == (1, 1, 768)


def keras_and_ours():
  theirs = keras_network(keras.applications.InceptionV3)
  return theirs, network('inception_v3', WITHOUT_SCALE)


def test_all_variables_of_keras_network_are_ours():
  taken_from_keras(*keras_and_ours(), SIZE)


@pytest.mark.foreign
def test_it_is_keras_network():
  assert_same_as_keras(*keras_and_ours(), SIZE)


def test_torchvisions_weights_fit():
  model = network('inception_v3', blocks=(1, 1, 1), auxiliary_heads=True)
  arrays = {
    'fc.weight': np.zeros((1000, 2048)),
    'fc.bias': np.zeros(1000),
    'AuxLogits.fc.weight': np.zeros((1000, 768)),
    'AuxLogits.fc.bias': np.zeros(1000),
  }
  for line in TORCHVISION.strip().splitlines():
    name, *shape = line.split()
    shape = [int(n) for n in shape]
    arrays[f'{name}.conv.weight'] = np.zeros(shape)
    for of_norm in ('weight', 'bias', 'running_mean', 'running_var'):
      arrays[f'{name}.bn.{of_norm}'] = np.zeros(shape[0])
  names = names_of('torchvision', model)
  template = models.shapes(model, SIZE)
  source = pretrained.SOURCES['torchvision']
  pretrained.convert(arrays, source, names, template)


def test_all_of_torchvisions_modules_are_named():
  names = names_of('torchvision', network('inception_v3', auxiliary_heads=True))
  modules = {theirs.layer.partition('.')[0] for theirs in names.values()}
  assert {m for m in modules if m.startswith('Mixed')} == {
    *(f'Mixed_5{letter}' for letter in 'bcd'),
    *(f'Mixed_6{letter}' for letter in 'abcde'),
    *(f'Mixed_7{letter}' for letter in 'abc'),
  }
  assert names['mixed_6e/branch_3/conv_2'] == pretrained.SourceLayer(
    'Mixed_6e.branch7x7dbl_2.conv', 'Mixed_6e.branch7x7dbl_2.bn'
  )


def test_without_factorization_kernels_are_square():
  model = network('inception_v3', asymmetric=False)
  params = models.shapes(model, SIZE)['params']
  kernels = {
    path.removesuffix('/kernel'): leaf.shape
    for path, leaf in flax.traverse_util.flatten_dict(params, sep='/').items()
    if path.endswith('kernel') and len(leaf.shape) == 4
  }
  assert all(h == w for h, w, *_ in kernels.values())
  inside = lambda name: [
    shape for path, shape in kernels.items() if path.startswith(f'{name}/')
  ]
  assert sorted(inside('mixed_6c/branch_2')) == [
    (1, 1, 768, 160),
    (7, 7, 160, 192),
  ]
  assert sorted(inside('mixed_6c/branch_3')) == [
    (1, 1, 768, 160),
    (7, 7, 160, 160),
    (7, 7, 160, 192),
  ]
  assert sorted(inside('mixed_7a/branch_2')) == [
    (1, 1, 768, 192),
    (3, 3, 192, 192),
    (7, 7, 192, 192),
  ]
  assert sorted(inside('mixed_7b/branch_2')) == [
    (1, 1, 1280, 384),
    (3, 3, 384, 768),
  ]
  assert sorted(inside('mixed_7b/branch_3')) == [
    (1, 1, 1280, 448),
    (3, 3, 384, 768),
    (3, 3, 448, 384),
  ]
  # What was square before is as it was.
  assert inside('mixed_5b/branch_2') == [(1, 1, 192, 48), (5, 5, 48, 64)]


def test_blocks_are_modules_of_each_kind():
  rows = inception_v3.rows(network('inception_v3', blocks=(4, 1, 0)))
  assert list(rows) == [
    *('stem', 'mixed_5b', 'mixed_5c', 'mixed_5d', 'mixed_5e'),
    *('mixed_6a', 'mixed_6b', 'mixed_7a'),
  ]
  # A projection to 32 channels in the first one, to 64 in all others.
  projections = [
    step.features
    for name in ('mixed_5b', 'mixed_5c', 'mixed_5d', 'mixed_5e')
    for path, step in convolutions(rows[name])
    if path == 'branch_4/conv_2'
  ]
  assert projections == [32, 64, 64, 64]


@pytest.mark.parametrize(
  ('blocks', 'words'),
  [
    ((3, 4), r'blocks = \(3, 4\): needs three numbers'),
    ((3, 26, 2), r'blocks: 26 modules .* Take 25 or fewer'),
  ],
)
def test_blocks_that_cannot_be_are_refused(blocks, words):
  with pytest.raises(ValueError, match=words):
    models.shapes(network('inception_v3', blocks=blocks), SIZE)


@pytest.mark.parametrize('size', [8, 28])
def test_with_the_small_stem_images_are_small(size):
  model = network('inception_v3', stem='small', blocks=(1, 1, 1))
  outputs, _ = maps(model, size)
  assert outputs['stem'] == (size, size, 192)
  assert outputs['mixed_7b'][:2] == {8: (1, 1), 28: (6, 6)}[size]


def test_the_published_stem_needs_images_of_75_pixels():
  """As Keras's network does."""
  assert smallest_size(network('inception_v3', blocks=(0, 0, 0))) == 75


def test_kernels_begin_as_published():
  model = network(
    'inception_v3', stem='small', blocks=(0, 0, 0), auxiliary_heads=True
  )

  @jax.jit
  def initial(key):
    params = model.init(key, images(9), train=False)['params']
    auxiliary = params['auxiliary_1']
    return [
      params['mixed_6a']['branch_2']['conv_3']['kernel'],
      params['logits']['kernel'],
      auxiliary['conv_1']['kernel'],
      auxiliary['conv_2']['kernel'],
      auxiliary['logits']['kernel'],
    ]

  stds = [kernel.std() for kernel in initial(jax.random.key(0))]
  # What truncation at two deviations leaves.
  expected = 0.8796 * np.array([0.1, 0.1, 0.1, 0.01, 0.001])
  np.testing.assert_allclose(stds, expected, rtol=0.03)


def test_dropout_is_before_the_logits_in_training():
  model = small('inception_v3', blocks=(0, 0, 0), dropout_rate=1.0)
  variables = drawn(model, 8)
  bias_K = variables['params']['logits']['bias']
  for train in (False, True):
    apply = jax.jit(functools.partial(model.apply, train=train))
    rngs = {'dropout': jax.random.key(1)}
    logits_NK, _ = apply(variables, images(8), rngs=rngs)
    dropped = bool(jnp.all(logits_NK == bias_K[None]))
    assert dropped == train
  assert network('inception_v3').dropout_rate == 0.2
