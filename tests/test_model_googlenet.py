"""GoogLeNet: published counts, equality with PyTorch, heads, options."""

import functools

import jax
import jax.numpy as jnp
import pytest

from bnresearch import lookup, models
from bnresearch.models import AUXILIARY, _local_response, googlenet
from tests.published import (
  assert_same_as_torch,
  batch_norm,
  images,
  network,
  parameters,
  size_of,
  small,
)

KEEP_BIAS = {'keep_bias': True}


@pytest.mark.parametrize(
  ('norm', 'fields', 'without', 'with_heads'),
  [
    ('none', {}, 6_998_552, 13_378_280),
    # A norm in each head, of 128 channels, costs a scale more than a bias.
    ('batch', {}, 7_005_832, 13_378_280 + 7_280 + 256),
    ('batch', {'variant': 'torchvision'}, 6_624_904, 13_004_888),
    ('batch', {'five_by_five': '3x3'}, 6_624_904, 13_004_888),
  ],
)
def test_the_number_of_parameters_is_as_published(
  norm, fields, without, with_heads
):
  model = network('googlenet', norm, **fields)
  assert parameters(model, 224) == without
  assert parameters(model.clone(auxiliary_heads=True), 224) == with_heads


@pytest.mark.parametrize(
  ('num_classes', 'without', 'with_heads'),
  [(1000, 7_300_296, 13_680_536), (5, 6_280_421, 10_620_911)],
)
def test_with_two_3x3_and_all_biases_it_is_the_documents_network(
  num_classes, without, with_heads
):
  model = network(
    'googlenet', 'batch', num_classes, KEEP_BIAS, five_by_five='two_3x3'
  )
  assert parameters(model, 224) == without
  assert parameters(model.clone(auxiliary_heads=True), 224) == with_heads


class _AllHeads(googlenet.Model):
  """The same network, whose logits are those of all its heads, side by side."""

  # By it, names of pretrained weights are found.
  __module__ = googlenet.__name__

  def __call__(self, x_NHWC, *, train, mask=None):
    logits_NK, taps = super().__call__(x_NHWC, train=train, mask=mask)
    heads = [taps[f'{AUXILIARY}{n}'] for n in (1, 2)]
    return jnp.concatenate([logits_NK, *heads], axis=1), taps


def _torch_network(window, last_pooling, normalized, num_classes):
  """Returns GoogLeNet in PyTorch, with torchvision's names.

  Its output is the logits of all heads. It has local response normalization
  where it has no batch normalization.
  """
  import torch
  from torch import nn

  class Basic(nn.Module):
    def __init__(self, inputs, outputs, window, stride=1):
      super().__init__()
      self.conv = nn.Conv2d(
        inputs, outputs, window, stride, window // 2, bias=not normalized
      )
      if normalized:
        self.bn = nn.BatchNorm2d(outputs, eps=0.001)

    def forward(self, x):
      x = self.conv(x)
      return torch.relu(self.bn(x) if normalized else x)

  class Module(nn.Module):
    def __init__(self, inputs, one, reduce_3, three, reduce_5, five, projected):
      super().__init__()
      self.branch1 = Basic(inputs, one, 1)
      self.branch2 = nn.Sequential(
        Basic(inputs, reduce_3, 1), Basic(reduce_3, three, 3)
      )
      self.branch3 = nn.Sequential(
        Basic(inputs, reduce_5, 1), Basic(reduce_5, five, window)
      )
      self.branch4 = nn.Sequential(
        nn.MaxPool2d(3, 1, 1), Basic(inputs, projected, 1)
      )

    def forward(self, x):
      branches = (self.branch1, self.branch2, self.branch3, self.branch4)
      return torch.cat([branch(x) for branch in branches], 1)

  class Head(nn.Module):
    def __init__(self, inputs):
      super().__init__()
      self.conv = Basic(inputs, 128, 1)
      self.fc1 = nn.Linear(2048, 1024)
      self.fc2 = nn.Linear(1024, num_classes)

    def forward(self, x):
      x = self.conv(nn.functional.avg_pool2d(x, 5, 3))
      return self.fc2(torch.relu(self.fc1(x.flatten(1))))

  class Network(nn.Module):
    def __init__(self):
      super().__init__()
      self.conv1 = Basic(3, 64, 7, 2)
      self.conv2 = Basic(64, 64, 1)
      self.conv3 = Basic(64, 192, 3)
      channels = 192
      for name, row in googlenet.ROWS.items():
        setattr(self, f'inception{name}', Module(channels, *row))
        channels = row[0] + row[2] + row[4] + row[5]
      self.aux1, self.aux2 = Head(512), Head(528)
      self.fc = nn.Linear(1024, num_classes)

    def forward(self, x):
      pool = functools.partial(
        nn.functional.max_pool2d, stride=2, ceil_mode=True
      )
      # PyTorch divides alpha by the size of the neighbourhood.
      lrn = nn.LocalResponseNorm(5, alpha=5e-4, beta=0.75, k=2.0)
      lrn = nn.Identity() if normalized else lrn
      x = self.conv2(lrn(pool(self.conv1(x), 3)))
      x = pool(lrn(self.conv3(x)), 3)
      x = pool(self.inception3b(self.inception3a(x)), 3)
      x = self.inception4a(x)
      auxiliary_1 = self.aux1(x)
      x = self.inception4d(self.inception4c(self.inception4b(x)))
      auxiliary_2 = self.aux2(x)
      x = pool(self.inception4e(x), last_pooling)
      x = self.inception5b(self.inception5a(x)).mean((2, 3))
      heads = [self.fc(x), auxiliary_1, auxiliary_2]
      for one, other in heads:
        assert (one - other).abs().max() > 0.01 * one.abs().max()
      return torch.cat(heads, 1)

  return Network()


@pytest.mark.parametrize('variant', ['torchvision', 'paper'])
@pytest.mark.foreign
def test_it_is_pytorchs_network_and_so_are_its_heads(variant):
  """Torchvision's with BN, and the paper's without."""
  pytest.importorskip('torch', reason='PyTorch is not installed')
  normalized = variant == 'torchvision'
  options = (3, 2, True) if normalized else (5, 3, False)
  norm = batch_norm(0.001) if normalized else 'none'
  model = network('googlenet', norm, 20, variant=variant, auxiliary_heads=True)
  fields = {
    name: getattr(model, name)
    for name in ('num_classes', 'layers', 'variant', 'auxiliary_heads')
  }
  theirs, ours = _torch_network(*options, 20), _AllHeads(**fields)
  assert_same_as_torch(theirs, ours, 224, published=normalized)


def test_local_response_normalization_is_as_chosen(monkeypatch):
  """Whatever the other normalizer is; the variant 'torchvision' has none."""
  shapes = []

  def spy(x):
    shapes.append(x.shape[1:])
    return x

  monkeypatch.setattr(_local_response, 'normalize', spy)
  both = [(56, 56, 64), (56, 56, 192)]
  for fields, expected in (
    ({}, both),
    ({'lrn': False}, []),
    ({'variant': 'torchvision'}, []),
    ({'variant': 'torchvision', 'lrn': True}, both),
  ):
    shapes.clear()
    models.shapes(network('googlenet', 'batch', 10, **fields), 224)
    assert shapes == expected


def test_branches_of_5x5_have_the_windows_that_are_chosen():
  for five_by_five, expected in (
    ('own', [(5, 5, 16, 32)]),
    ('5x5', [(5, 5, 16, 32)]),
    ('two_3x3', [(3, 3, 16, 32), (3, 3, 32, 32)]),
    ('3x3', [(3, 3, 16, 32)]),
  ):
    model = network('googlenet', five_by_five=five_by_five)
    params = models.shapes(model, 32)['params']
    branch = params['inception_3a']['branch_3']
    kernels = [
      branch[f'conv_{n}']['kernel'].shape for n in range(2, 4)[: len(expected)]
    ]
    assert kernels == expected
    assert len(branch) == 1 + len(expected)


@pytest.mark.parametrize(
  ('name', 'modules'),
  [
    ('googlenet', ['inception_4a', 'inception_4d']),
    ('inception_v2', ['inception_3c', 'inception_4e']),
  ],
)
def test_heads_stand_after_their_modules_from_the_bottom_to_the_top(
  name, modules
):
  """And their logits are (N, K), also where the network's keep positions."""
  model = small(
    name,
    layers={'squeeze': False},
    blocks=lookup.find('models', name).Model.blocks,
    auxiliary_heads=True,
  )
  order = []

  def heads(x_NHWC):
    (_, taps), _ = model.init_with_output(
      jax.random.key(0), x_NHWC, train=False
    )
    order.extend(dict.fromkeys(site.partition('/')[0] for site in taps))
    return [taps[f'{AUXILIARY}{n}'] for n in (1, 2)]

  shapes = [x.shape for x in jax.eval_shape(heads, images(size_of(name), N=4))]
  assert shapes == [(4, 10)] * 2
  for n, module in enumerate(modules, start=1):
    at = order.index(f'auxiliary_{n}')
    assert order[at - 1] == module
    assert order[at + 1] == f'{AUXILIARY}{n}'


def test_dropout_is_before_all_logits_and_0_is_none():
  rates = []

  def logits(rate, **fields):
    model = small(
      'googlenet',
      blocks=(0, 4, 0),
      dropout_rate=rate,
      auxiliary_heads=True,
      **fields,
    )
    x_NHWC = images(8)
    apply = lambda key: model.init_with_output(
      {'params': jax.random.key(0), 'dropout': key}, x_NHWC, train=True
    )[0]
    return jax.eval_shape(apply, jax.random.key(0))

  drop = googlenet.NetworkCall.dropout

  def spy(self, x, rate):
    rates.append(rate)
    return drop(self, x, rate)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(googlenet.NetworkCall, 'dropout', spy)
    logits(0.4)
    logits(0.0)
    assert rates == [0.7, 0.7, 0.4, 0, 0, 0]
    rates.clear()
    logits(0.4, variant='bn_googlenet')
    logits(0.0, variant='bn_googlenet')
  assert rates == [0.5, 0.5, 0.5, 0.5, 0.4, 0, 0, 0]


@pytest.mark.parametrize(
  ('stem', 'size', 'maps'),
  [('paper', 224, [112, 56, 28, 14, 7]), ('small', 28, [28, 28, 28, 14, 7])],
)
def test_maps_are_as_large_as_published_or_as_small_images_allow(
  stem, size, maps
):
  model = network('googlenet', 'batch', 10, stem=stem)
  x_NHWC = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
  init = functools.partial(model.init_with_output, train=False)
  (_, taps), _ = jax.eval_shape(init, jax.random.key(0), x_NHWC)
  sites = [
    'stem_1',
    'stem_3',
    *(f'inception_{m}/branch_1/conv_1' for m in ('3b', '4e', '5b')),
  ]
  assert [taps[site].shape[1] for site in sites] == maps


def test_blocks_are_the_first_modules_of_each_stage():
  params = models.shapes(network('googlenet', blocks=(1, 2, 1)), 32)
  modules = [m for m in params['params'] if m.startswith('inception')]
  assert modules == [f'inception_{m}' for m in ('3a', '4a', '4b', '5a')]
  for blocks in ((2, 5), (2, 6, 2)):
    with pytest.raises(ValueError, match=r'blocks = .* at most \(2, 5, 2\)'):
      models.shapes(network('googlenet', blocks=blocks), 32)
