"""Inception V4: published counts and maps, equality with PyTorch, options."""

import functools

import jax
import jax.numpy as jnp
import pytest

from bnresearch import models
from bnresearch.models import smallest_size
from tests.published import (
  assert_same_as_torch,
  batch_norm,
  drawn,
  images,
  maps,
  names_of,
  network,
  parameters,
  small,
)

SIZE = 299


@pytest.mark.parametrize(
  ('auxiliary_heads', 'count'),
  [(False, 42_679_816), (True, 46_039_280)],  # imgclsmob; arithmetic
)
def test_the_number_of_parameters_is_the_published_one(auxiliary_heads, count):
  model = network('inception_v4', auxiliary_heads=auxiliary_heads)
  assert parameters(model, SIZE) == count


def test_its_maps_are_the_published_ones():
  outputs, taps = maps(network('inception_v4'), SIZE)
  assert outputs == {
    'stem': (147, 147, 64),
    'mixed_3a': (73, 73, 160),
    'mixed_4a': (71, 71, 192),
    'mixed_5a': (35, 35, 384),
    **{f'mixed_5{letter}': (35, 35, 384) for letter in 'bcde'},
    'mixed_6a': (17, 17, 1024),
    **{f'mixed_6{letter}': (17, 17, 1024) for letter in 'bcdefgh'},
    'mixed_7a': (8, 8, 1536),
    **{f'mixed_7{letter}': (8, 8, 1536) for letter in 'bcd'},
    'logits': (1000,),
  }
  assert taps['stem/conv_1'] == (149, 149, 32)
  assert taps['stem/conv_2'] == (147, 147, 32)


def pytorch():
  """Returns the network in PyTorch, with timm's names, from the table."""
  import torch
  from torch import nn

  class Conv(nn.Module):
    def __init__(self, inputs, outputs, window, stride=1, padding='same'):
      super().__init__()
      self.conv = nn.Conv2d(
        inputs, outputs, window, stride, padding, bias=False
      )
      self.bn = nn.BatchNorm2d(outputs, eps=1e-3)

    def forward(self, x):
      return torch.relu(self.bn(self.conv(x)))

  class Branches(nn.Module):
    """Modules by name; a branch is their names, one after the other."""

    def __init__(self, branches, **modules):
      super().__init__()
      self.branches = branches
      for name, module in modules.items():
        self.add_module(name, module)

    def follow(self, branch, x):
      for name in branch:
        if isinstance(name, str):
          x = getattr(self, name)(x)
        else:  # it divides
          x = torch.cat([getattr(self, part)(x) for part in name], 1)
      return x

    def forward(self, x):
      return torch.cat([self.follow(branch, x) for branch in self.branches], 1)

  valid = functools.partial(Conv, padding=0)
  average = lambda: nn.AvgPool2d(3, 1, 1, count_include_pad=False)
  sequence = nn.Sequential

  def side_by_side(*branches):
    named = {f'branch{k}': branch for k, branch in enumerate(branches)}
    return Branches([[name] for name in named], **named)

  def on_35():
    return side_by_side(
      Conv(384, 96, 1),
      sequence(Conv(384, 64, 1), Conv(64, 96, 3)),
      sequence(Conv(384, 64, 1), Conv(64, 96, 3), Conv(96, 96, 3)),
      sequence(average(), Conv(384, 96, 1)),
    )

  def on_17():
    return side_by_side(
      Conv(1024, 384, 1),
      sequence(
        Conv(1024, 192, 1), Conv(192, 224, (1, 7)), Conv(224, 256, (7, 1))
      ),
      sequence(
        Conv(1024, 192, 1),
        Conv(192, 192, (7, 1)),
        Conv(192, 224, (1, 7)),
        Conv(224, 224, (7, 1)),
        Conv(224, 256, (1, 7)),
      ),
      sequence(average(), Conv(1024, 128, 1)),
    )

  def on_8():
    return Branches(
      [
        ['branch0'],
        ['branch1_0', ('branch1_1a', 'branch1_1b')],
        ['branch2_0', 'branch2_1', 'branch2_2', ('branch2_3a', 'branch2_3b')],
        ['branch3'],
      ],
      branch0=Conv(1536, 256, 1),
      branch1_0=Conv(1536, 384, 1),
      branch1_1a=Conv(384, 256, (1, 3)),
      branch1_1b=Conv(384, 256, (3, 1)),
      branch2_0=Conv(1536, 384, 1),
      branch2_1=Conv(384, 448, (3, 1)),
      branch2_2=Conv(448, 512, (1, 3)),
      branch2_3a=Conv(512, 256, (1, 3)),
      branch2_3b=Conv(512, 256, (3, 1)),
      branch3=sequence(average(), Conv(1536, 256, 1)),
    )

  to_73 = Branches(
    [['pool'], ['conv']], pool=nn.MaxPool2d(3, 2), conv=valid(64, 96, 3, 2)
  )
  to_71 = side_by_side(
    sequence(Conv(160, 64, 1), valid(64, 96, 3)),
    sequence(
      Conv(160, 64, 1),
      Conv(64, 64, (1, 7)),
      Conv(64, 64, (7, 1)),
      valid(64, 96, 3),
    ),
  )
  to_35 = Branches(
    [['conv'], ['pool']], pool=nn.MaxPool2d(3, 2), conv=valid(192, 192, 3, 2)
  )
  to_17 = side_by_side(
    valid(384, 384, 3, 2),
    sequence(Conv(384, 192, 1), Conv(192, 224, 3), valid(224, 256, 3, 2)),
    nn.MaxPool2d(3, 2),
  )
  to_8 = side_by_side(
    sequence(Conv(1024, 192, 1), valid(192, 192, 3, 2)),
    sequence(
      Conv(1024, 256, 1),
      Conv(256, 256, (1, 7)),
      Conv(256, 320, (7, 1)),
      valid(320, 320, 3, 2),
    ),
    nn.MaxPool2d(3, 2),
  )
  features = sequence(
    *(valid(3, 32, 3, 2), valid(32, 32, 3), Conv(32, 64, 3)),
    *(to_73, to_71, to_35),
    *(on_35() for _ in range(4)),
    to_17,
    *(on_17() for _ in range(7)),
    to_8,
    *(on_8() for _ in range(3)),
  )

  class Network(nn.Module):
    def __init__(self):
      super().__init__()
      self.features = features
      self.last_linear = nn.Linear(1536, 1000)

    def forward(self, x):
      return self.last_linear(self.features(x).mean((2, 3)))

  return Network()


@pytest.mark.foreign
def test_it_is_the_network_of_the_table_in_pytorch():
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  torch.manual_seed(0)
  model = network('inception_v4', batch_norm(1e-3))
  # In float64 they are the same to 2e-12; in float32, under the statistics of
  # the batch, PyTorch's own logits are off by 2e-4 from those.
  assert_same_as_torch(
    pytorch(), model, SIZE, source='timm', training_in='float64'
  )


def test_timms_names_are_places_in_a_sequence():
  """A few as they are in timm, in case that the network above has others."""
  names = names_of('timm', network('inception_v4'))
  layers = {path: theirs.layer for path, theirs in names.items()}
  for path, layer in [
    ('stem/conv_3', 'features.2.conv'),
    ('mixed_3a/branch_2/conv_1', 'features.3.conv.conv'),
    ('mixed_4a/branch_2/conv_4', 'features.4.branch1.3.conv'),
    ('mixed_5a/branch_1/conv_1', 'features.5.conv.conv'),
    ('mixed_5b/branch_1/conv_1', 'features.6.branch0.conv'),
    ('mixed_5e/branch_4/conv_2', 'features.9.branch3.1.conv'),
    ('mixed_6a/branch_1/conv_1', 'features.10.branch0.conv'),
    ('mixed_6h/branch_3/conv_5', 'features.17.branch2.4.conv'),
    ('mixed_7a/branch_1/conv_2', 'features.18.branch0.1.conv'),
    (
      'mixed_7d/branch_2/split_2/branch_1/conv_1',
      'features.21.branch1_1a.conv',
    ),
    (
      'mixed_7d/branch_3/split_4/branch_2/conv_1',
      'features.21.branch2_3b.conv',
    ),
    ('logits', 'last_linear'),
  ]:
    assert layers[path] == layer


def test_blocks_are_modules_of_each_kind():
  model = small('inception_v4', blocks=(2, 0, 1))
  modules = set(models.shapes(model, 8)['params'])
  assert {name for name in modules if name > 'mixed_5a'} == {
    'mixed_5b',
    'mixed_5c',
    'mixed_6a',
    'mixed_7a',
    'mixed_7b',
    'stem',
  }
  with pytest.raises(ValueError, match=r'blocks = \(4,\): needs three numbers'):
    models.shapes(small('inception_v4', blocks=(4,)), 8)


@pytest.mark.parametrize('size', [8, 28])
def test_with_the_small_stem_images_are_small(size):
  outputs, _ = maps(small('inception_v4'), size)
  assert outputs['mixed_5a'][:2] == (size, size)
  assert outputs['mixed_7b'][:2] == {8: (1, 1), 28: (6, 6)}[size]


def test_the_published_stem_needs_images_of_75_pixels():
  assert smallest_size(network('inception_v4', blocks=(0, 0, 0))) == 75


def test_dropout_is_before_the_logits_in_training():
  model = small('inception_v4', blocks=(0, 0, 0), dropout_rate=1.0)
  variables = drawn(model, 8)
  bias_K = variables['params']['logits']['bias']
  apply = jax.jit(functools.partial(model.apply, train=True))
  rngs = {'dropout': jax.random.key(1)}
  logits_NK, _ = apply(variables, images(8), rngs=rngs)
  assert bool(jnp.all(logits_NK == bias_K[None]))
  assert network('inception_v4').dropout_rate == 0.2
