"""Outputs of modules by the names of TF-Slim's end_points."""

import functools

import jax
import numpy as np
import pytest

from bnresearch import lookup, models
from tests.published import drawn, images, network, size_of, small

V2 = {  # the depths of Figure 5 with 576 channels, and slim's own test
  'Conv2d_1a_7x7': (112, 64),
  'MaxPool_2a_3x3': (56, 64),
  'Conv2d_2b_1x1': (56, 64),
  'Conv2d_2c_3x3': (56, 192),
  'MaxPool_3a_3x3': (28, 192),
  'Mixed_3b': (28, 256),
  'Mixed_3c': (28, 320),
  'Mixed_4a': (14, 576),
  'Mixed_4b': (14, 576),
  'Mixed_4c': (14, 576),
  'Mixed_4d': (14, 576),
  'Mixed_4e': (14, 576),
  'Mixed_5a': (7, 1024),
  'Mixed_5b': (7, 1024),
  'Mixed_5c': (7, 1024),
}
V3 = {
  'Conv2d_1a_3x3': (149, 32),
  'Conv2d_2a_3x3': (147, 32),
  'Conv2d_2b_3x3': (147, 64),
  'MaxPool_3a_3x3': (73, 64),
  'Conv2d_3b_1x1': (73, 80),
  'Conv2d_4a_3x3': (71, 192),
  'MaxPool_5a_3x3': (35, 192),
  'Mixed_5b': (35, 256),
  'Mixed_5c': (35, 288),
  'Mixed_5d': (35, 288),
  'Mixed_6a': (17, 768),
  'Mixed_6b': (17, 768),
  'Mixed_6c': (17, 768),
  'Mixed_6d': (17, 768),
  'Mixed_6e': (17, 768),
  'Mixed_7a': (8, 1280),
  'Mixed_7b': (8, 2048),
  'Mixed_7c': (8, 2048),
}
V1 = {
  'Conv2d_1a_7x7': (112, 64),
  'MaxPool_2a_3x3': (56, 64),
  'Conv2d_2b_1x1': (56, 64),
  'Conv2d_2c_3x3': (56, 192),
  'MaxPool_3a_3x3': (28, 192),
  'Mixed_3b': (28, 256),
  'Mixed_3c': (28, 480),
  'MaxPool_4a_3x3': (14, 480),
  'Mixed_4b': (14, 512),
  'Mixed_4c': (14, 512),
  'Mixed_4d': (14, 512),
  'Mixed_4e': (14, 528),
  'Mixed_4f': (14, 832),
  'MaxPool_5a_2x2': (7, 832),
  'Mixed_5b': (7, 832),
  'Mixed_5c': (7, 1024),
}


def shapes(model, size):
  found = {}

  def find(variables, x_NHWC):
    end_points = models.end_points(model, variables, x_NHWC)
    found.update({name: x.shape[1:] for name, x in end_points.items()})

  jax.eval_shape(find, models.shapes(model, size), images(size, N=1))
  return found


@pytest.mark.parametrize(
  ('name', 'fields', 'size', 'maps', 'C'),
  [
    ('googlenet', {'variant': 'torchvision'}, 224, V1, 1024),
    ('inception_v2', {'pool_projection': 96}, 224, V2, 1024),
    ('inception_v3', {}, 299, V3, 2048),
  ],
)
def test_the_inceptions_have_slims_end_points(name, fields, size, maps, C):
  model = network(name, auxiliary_heads=True, **fields)
  found = shapes(model, size)
  one = name == 'inception_v3'
  aux = ['AuxLogits'] if one else ['AuxLogits_1', 'AuxLogits_2']
  assert list(found) == [*maps, *aux, 'PreLogits', 'Logits', 'Predictions']
  assert {n: (x[0], x[2]) for n, x in found.items() if len(x) == 3} == maps
  assert all(found[name] == (1000,) for name in (*aux, 'Logits'))
  assert found['PreLogits'] == (C,)


def test_inception_v4_has_slims_end_points():
  found = shapes(network('inception_v4'), 299)
  letters = {3: 'a', 4: 'a', 5: 'abcde', 6: 'abcdefgh', 7: 'abcd'}
  assert list(found) == [
    *('Conv2d_1a_3x3', 'Conv2d_2a_3x3', 'Conv2d_2b_3x3'),
    *(f'Mixed_{n}{letter}' for n in letters for letter in letters[n]),
    *('PreLogits', 'Logits', 'Predictions'),
  ]
  assert found['Mixed_7d'] == (8, 8, 1536)


@pytest.mark.parametrize('name', lookup.names('models'))
def test_every_network_has_end_points_and_its_logits_among_them(name):
  model = small(name)
  found = shapes(model, size_of(name))
  assert found['Logits'] == found['Predictions'] == (10,)
  params = models.shapes(model, size_of(name))['params']
  inputs, _ = params['logits']['kernel'].shape
  assert found['PreLogits'][-1] == inputs
  # A cell's output is its state; slim's stem is one module.
  modules = {*params} - {'logits', 'cell', 'stem_1_depthwise'}
  assert len(found) - 3 >= len(modules)


def test_end_points_are_what_the_network_computes():
  model = small('inception_v3', layers={'remat': 'blocks'})
  variables, x_NHWC = drawn(model, 16), images(16)
  found = models.end_points(model, variables, x_NHWC)
  plain = small('inception_v3')
  (logits_NK, _), state = plain.apply(
    variables, x_NHWC, train=False, capture_intermediates=True, mutable=True
  )
  inside = state['intermediates']
  close = functools.partial(np.testing.assert_allclose, rtol=1e-5, atol=1e-6)
  close(found['Logits'], logits_NK)
  for ours, name in (
    ('mixed_5b', 'Mixed_5b'),
    ('mixed_7a', 'Mixed_7a'),
    ('stem', 'MaxPool_5a_3x3'),
  ):
    close(found[name], inside[ours]['__call__'][-1])
  close(found['Conv2d_1a_3x3'], inside['stem']['conv_1']['__call__'][-1])
  close(found['PreLogits'], found['Mixed_7b'].mean((1, 2)))
  close(found['Predictions'], jax.nn.softmax(logits_NK))
  close(found['Predictions'].sum(-1), 1)
  assert 'MaxPool_3a_3x3' not in found  # the small stem has none


def test_prelogits_are_those_after_dropout():
  model = small('mobilenet_v1', dropout_rate=0.5, blocks=(1,))
  variables, x_NHWC = drawn(model, 8), images(8)
  rngs = {'dropout': jax.random.key(0)}
  find = functools.partial(models.end_points, model, variables, x_NHWC)
  found = find(train=True, rngs=rngs)
  layer = variables['params']['logits']
  bias = layer['bias'][None]
  for points in (found, find(), find(train=True)):
    logits_NK = points['PreLogits'] @ layer['kernel'] + bias
    np.testing.assert_allclose(
      points['Logits'], logits_NK, rtol=1e-4, atol=1e-5
    )
  assert (found['PreLogits'] == 0).mean() > 0.3
  assert (find(train=True)['PreLogits'] == 0).mean() < 0.2


def test_the_compiler_removes_what_nobody_reads():
  model = small('googlenet', 'none')
  variables, x_NHWC = models.shapes(model, 8), images(8)

  def cost(*names):
    def read(variables, x_NHWC):
      found = models.end_points(model, variables, x_NHWC)
      return [found[name] for name in names]

    program = jax.jit(read).lower(variables, x_NHWC).compile()
    return program.cost_analysis()['flops']

  first, all_of_it = cost('Mixed_3b'), cost('Mixed_3b', 'Logits')
  assert 0 < first < 0.9 * all_of_it
  apply = functools.partial(model.apply, train=False)
  logits = jax.jit(lambda *args: apply(*args)[0]).lower(variables, x_NHWC)
  assert cost('Logits') == logits.compile().cost_analysis()['flops']
