"""AlexNet: published counts, equality with PyTorch, groups, LRN, dropout."""

import functools
import math

import jax
import numpy as np
import pytest

from bnresearch import models
from tests.published import (
  NARROW,
  assert_same_as_torch,
  drawn,
  images,
  network,
  parameters,
)


@pytest.mark.parametrize(
  ('variant', 'count'),
  [
    ('one_weird_trick', 61_100_840),  # torchvision, num_params
    ('2012', 62_378_344),
    ('2012_groups', 60_965_224),
    ('slim_v2', 50_303_912),
  ],
)
def test_the_number_of_parameters_is_the_published_one(variant, count):
  assert parameters(network('alexnet', 'none', variant=variant), 224) == count


@pytest.mark.parametrize('keep_bias', [False, True])
def test_the_hidden_layers_have_no_normalizer(keep_bias):
  """So with BN there are a scale and a bias for each channel more."""
  model = network('alexnet', layers={'keep_bias': keep_bias})
  channels = 64 + 192 + 384 + 256 + 256
  more = 2 * channels if keep_bias else channels
  assert parameters(model, 224) == 61_100_840 + more


@pytest.mark.parametrize(
  ('variant', 'head', 'window'),
  [('slim_v2', None, 5), ('one_weird_trick', 'conv', 6), ('2012', 'conv', 6)],
)
def test_the_last_map_is_the_window_of_a_convolutional_head(
  variant, head, window
):
  model = network('alexnet', 'none', variant=variant, head=head)
  params = models.shapes(model, 224)['params']
  assert params['hidden_1']['kernel'].shape == (window, window, 256, 4096)
  assert params['hidden_2']['kernel'].shape == (1, 1, 4096, 4096)


def torchs(features, groups=(1, 1, 1, 1, 1), lrn=False):
  """Returns the table of layers in PyTorch, by torchvision's names.

  A local response normalization has no place of its own among the names.
  """
  import torch

  windows = ((11, 4, 2), (5, 1, 2), (3, 1, 1), (3, 1, 1), (3, 1, 1))
  layers, C = [], 3
  for n, (window, strides, padding) in enumerate(windows):
    act = torch.nn.ReLU()
    if lrn and n < 2:  # alpha is divided by 5 there
      norm = torch.nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2)
      act = torch.nn.Sequential(act, norm)
    conv = torch.nn.Conv2d(
      C, features[n], window, strides, padding, groups=groups[n]
    )
    layers += [conv, act]
    if n in (0, 1, 4):
      layers.append(torch.nn.MaxPool2d(3, 2))
    C = features[n]
  classifier = torch.nn.Sequential(
    torch.nn.Identity(),  # dropout
    torch.nn.Linear(C * 6 * 6, 4096),
    torch.nn.ReLU(),
    torch.nn.Identity(),
    torch.nn.Linear(4096, 4096),
    torch.nn.ReLU(),
    torch.nn.Linear(4096, 1000),
  )
  network = torch.nn.Sequential()
  network.add_module('features', torch.nn.Sequential(*layers))
  network.add_module('flatten', torch.nn.Flatten())
  network.add_module('classifier', classifier)
  return network


@pytest.mark.parametrize(
  ('variant', 'table'),
  [
    ('one_weird_trick', {'features': (64, 192, 384, 256, 256)}),
    (
      '2012_groups',
      {
        'features': (96, 256, 384, 384, 256),
        'groups': (1, 2, 1, 2, 2),
        'lrn': True,
      },
    ),
  ],
)
@pytest.mark.foreign
def test_it_is_pytorchs_network(variant, table):
  pytest.importorskip('torch', reason='PyTorch is not installed')
  model = network('alexnet', 'none', variant=variant)
  assert_same_as_torch(torchs(**table), model, 224)


@functools.cache
def outputs(variant, dropped=False, **fields):
  """Returns logits and taps of training, from the same parameters."""
  model = network(
    'alexnet', 'none', 10, NARROW, stem='small', variant=variant, **fields
  )
  rngs = {'dropout': jax.random.key(1)} if dropped else {}
  apply = jax.jit(functools.partial(model.apply, train=True, rngs=rngs))
  return apply(drawn(model, 8), images(8))


def same(a, b):
  return bool(np.array_equal(a, b))


def test_responses_are_normalized_after_the_first_two_activations():
  logits_NK, taps = outputs('2012')
  without, taps_without = outputs('2012', lrn=False)
  with_, _ = outputs('2012', lrn=True)
  assert same(logits_NK, with_)
  assert not same(logits_NK, without)
  assert same(taps['conv_1'], taps_without['conv_1'])
  # Small responses are divided by 2 ** 0.75, once and twice.
  for name, times in (('conv_2', 1), ('conv_3', 2), ('conv_4', 2)):
    expected = np.asarray(taps_without[name]) / 2 ** (0.75 * times)
    atol = 0.01 * np.abs(expected).max()
    np.testing.assert_allclose(taps[name], expected, rtol=0, atol=atol)


def test_one_weird_trick_has_no_response_normalization_unless_wanted():
  own, _ = outputs('one_weird_trick')
  assert same(own, outputs('one_weird_trick', lrn=False)[0])
  assert not same(own, outputs('one_weird_trick', lrn=True)[0])


@pytest.mark.parametrize(
  ('variant', 'first'), [('one_weird_trick', 'hidden_1'), ('2012', 'hidden_2')]
)
def test_dropout_is_of_what_hidden_layers_take_in_or_give(variant, first):
  _, taps = outputs(variant)
  _, dropped = outputs(variant, dropped=True)
  changed = [name for name in taps if not same(taps[name], dropped[name])]
  assert changed[0] == first
  _, without = outputs(variant, dropped=True, dropout_rate=0.0)
  assert all(same(taps[name], without[name]) for name in taps)


def test_initial_kernels_are_the_variants():
  def stds(variant):
    model = network(
      'alexnet', 'none', 10, NARROW, stem='small', variant=variant
    )
    key = jax.random.key(0, impl='rbg')  # which compiles faster
    init = jax.jit(functools.partial(model.init, train=False))
    params = init(key, images(8))['params']
    layers = ('conv_4', 'hidden_2', 'logits')
    return [float(params[layer]['kernel'].std()) for layer in layers]

  assert stds('2012') == pytest.approx([0.01, 0.01, 0.01], rel=0.05)
  # Xavier's; then truncated at two deviations.
  conv, *dense = stds('slim_v2')
  assert conv == pytest.approx(math.sqrt(2 / (9 * (38 + 38))), rel=0.05)
  assert dense == pytest.approx([0.005 * 0.88] * 2, rel=0.05)


def test_groups_that_do_not_divide_the_channels_are_refused():
  model = network('alexnet', 'none', 10, NARROW, variant='2012_groups')
  with pytest.raises(ValueError, match=r'conv_2 has 2 groups and meets 9 chan'):
    models.shapes(model, 224)


@pytest.mark.parametrize(('size', 'last'), [(8, 1), (28, 4), (32, 4)])
def test_with_a_small_stem_it_takes_small_images(size, last):
  model = network('alexnet', 'none', 10, stem='small', head='conv')
  params = models.shapes(model, size)['params']
  assert params['conv_1']['kernel'].shape == (3, 3, 3, 64)
  assert params['hidden_1']['kernel'].shape[:2] == (last, last)


@pytest.mark.parametrize('count', [1, 2, 3])
def test_it_pools_after_as_many_convolutions_as_wanted(count):
  model = network('alexnet', 'none', 10, stem='small', blocks=(1, 1, count))
  params = models.shapes(model, 28)['params']
  convs = [name for name in params if name.startswith('conv')]
  assert convs == [f'conv_{n}' for n in range(1, 3 + count)]
  # Of 28 pixels, three poolings leave 4.
  channels = (384, 256, 256)[count - 1]
  assert params['hidden_1']['kernel'].shape == (4 * 4 * channels, 4096)


@pytest.mark.parametrize('blocks', [(1, 1), (1, 1, 0), (1, 1, 4), (2, 1, 3)])
def test_other_numbers_of_convolutions_are_refused(blocks):
  model = network('alexnet', 'none', 10, stem='small', blocks=blocks)
  with pytest.raises(ValueError, match=r'needs \(1, 1, n\), n convolutions'):
    models.shapes(model, 28)
