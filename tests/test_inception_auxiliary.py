"""The auxiliary head of Inception V3, V4 and Inception-ResNet-v2."""

import functools

import jax
import jax.numpy as jnp
import pytest

from bnresearch import models
from bnresearch.models import AUXILIARY
from tests.published import drawn, images, maps, network, small

MODELS = ('inception_v3', 'inception_v4', 'inception_resnet_v2')


@pytest.mark.parametrize(
  ('size', 'windows', 'shapes'),
  [
    (299, (5, 5), [(5, 5, 128), (1, 1, 768)]),
    (107, (1, 1), [(1, 1, 128), (1, 1, 768)]),  # of 5x5
    (379, (5, 5), [(6, 6, 128), (2, 2, 768)]),  # of 22x22
    (75, (1, 1), [(1, 1, 128), (1, 1, 768)]),  # of 3x3, with windows of 3x3
  ],
)
def test_windows_are_at_most_as_large_as_their_maps(size, windows, shapes):
  model = network('inception_v3', blocks=(0, 0, 0), auxiliary_heads=True)
  _, taps = maps(model, size)
  assert [taps[f'auxiliary_1/conv_{n}'] for n in (1, 2)] == shapes
  head = models.shapes(model, size)['params']['auxiliary_1']
  assert head['conv_2']['kernel'].shape == (*windows, 128, 768)
  assert taps[f'{AUXILIARY}1'] == (1000,)


@pytest.mark.parametrize('squeeze', [True, False])
def test_its_logits_are_always_of_examples_and_classes(squeeze):
  model = small(
    'inception_v3', layers={'squeeze': squeeze}, auxiliary_heads=True
  )
  _, taps = maps(model, 12)
  assert taps[f'{AUXILIARY}1'] == (10,)


@pytest.mark.parametrize('name', MODELS)
def test_it_is_there_only_if_it_is_wanted(name):
  assert 'auxiliary_1' not in models.shapes(small(name), 12)['params']


@pytest.mark.parametrize('name', MODELS)
def test_both_of_its_convolutions_are_normalized(name):
  model = small(name, auxiliary_heads=True)
  head = models.shapes(model, 12)['params']['auxiliary_1']
  assert set(head) == {'conv_1', 'conv_2', 'logits'}
  assert set(head['conv_1']) == set(head['conv_2']) == {'kernel', 'norm'}


@pytest.mark.parametrize('name', MODELS)
def test_it_sees_the_last_map_before_the_second_reduction(name):
  """What is changed there changes its logits; what is above changes others."""
  blocks = (0, 1, 0)
  below = 'block17_1' if name == 'inception_resnet_v2' else 'mixed_6b'
  model = small(name, blocks=blocks, auxiliary_heads=True)
  variables = drawn(model, 12)
  apply = jax.jit(functools.partial(model.apply, train=False))

  def logits(changed=None):
    params = dict(variables['params'])
    if changed:
      params[changed] = jax.tree.map(lambda p: 1.5 * p, params[changed])
    logits_NK, taps = apply({**variables, 'params': params}, images(12))
    return logits_NK, taps[f'{AUXILIARY}1']

  before = logits()
  for changed, own, auxiliary in [
    (below, True, True),
    ('mixed_7a', True, False),
    ('auxiliary_1', False, True),
  ]:
    after = logits(changed)
    assert bool(jnp.any(after[0] != before[0])) == own, changed
    assert bool(jnp.any(after[1] != before[1])) == auxiliary, changed
