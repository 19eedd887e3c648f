"""BN-Inception: counts, the sizes that Figure 5 prints, what may differ."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from bnresearch import lookup, models
from bnresearch.models import AUXILIARY, _local_response, _rows
from tests.published import network, parameters

WITHOUT_SCALE = functools.partial(
  lookup.find('norms', 'batch').Norm, use_scale=False
)
SLIM = {'pool_projection': 96, 'normalized_stem': False}


@pytest.mark.parametrize(
  ('fields', 'layers', 'count'),
  [
    ({'separable_stem': False}, {}, 11_285_224),
    ({'separable_stem': False}, {'keep_bias': True}, 11_295_240),
    ({}, {}, 11_278_528),
    ({'pool_projection': 96}, {}, 11_188_288),
    ({'pool_projection': 96, 'separable_stem': False}, {}, 11_194_984),
  ],
)
def test_the_number_of_parameters_is_as_published(fields, layers, count):
  model = network('inception_v2', layers=layers, **fields)
  assert parameters(model, 224) == count


def test_without_scale_and_norm_in_the_stem_it_is_slims():
  model = network('inception_v2', WITHOUT_SCALE, **SLIM)
  assert parameters(model, 224) == 11_178_336
  # Slim counts running statistics too, but not the logits' parameters.
  variables = models.shapes(model, 224)
  assert set(variables['params'].pop('logits')) == {'kernel', 'bias'}
  count = sum(leaf.size for leaf in jax.tree.leaves(variables))
  assert count == 10_173_112


def outputs(model, size=224):
  """Returns the shape (H, W, C) of what layers and modules make, by name."""
  shapes = {}

  def spy(call, args, kwargs, context):
    x = call(*args, **kwargs)
    if len(context.module.path) == 1 and context.method_name == '__call__':
      shapes[context.module.name] = x.shape[1:]
    return x

  with nn.intercept_methods(spy):
    layers = models.shapes(model, size)['params']
  return {name: shape for name, shape in shapes.items() if name in layers}


@pytest.mark.parametrize(
  ('pool_projection', 'channels_4', 'channels_5'),
  [(96, 576, 1024), (128, 608, 1056)],
)
@pytest.mark.parametrize('reduction', ['strided', 'pooled'])
def test_maps_are_those_of_figure_5(
  pool_projection, channels_4, channels_5, reduction
):
  model = network(
    'inception_v2', pool_projection=pool_projection, reduction=reduction
  )
  # With pooling, 3c and 4e themselves do not halve the map.
  a, b = (14, 7) if reduction == 'strided' else (28, 14)
  assert outputs(model) == {
    'stem_1_depthwise': (112, 112, 24),
    'stem_1': (112, 112, 64),
    'stem_2': (56, 56, 64),
    'stem_3': (56, 56, 192),
    'inception_3a': (28, 28, 256),
    'inception_3b': (28, 28, 320),
    'inception_3c': (a, a, 576),
    'inception_4a': (14, 14, 576),
    'inception_4b': (14, 14, 576),
    'inception_4c': (14, 14, channels_4),
    'inception_4d': (14, 14, channels_4),
    'inception_4e': (b, b, channels_5),
    'inception_5a': (7, 7, 1024),
    'inception_5b': (7, 7, 1024),
    'logits': (1000,),
  }


def taps(model, size=224):
  """Returns the shapes of the taps by their names."""
  x_NHWC = jax.ShapeDtypeStruct((2, size, size, 3), jnp.float32)
  init = functools.partial(model.init_with_output, train=True)
  (_, taps), _ = jax.eval_shape(init, jax.random.key(0), x_NHWC)
  return {name: x.shape for name, x in taps.items()}


@pytest.mark.parametrize('reduction', ['strided', 'pooled'])
def test_modules_pool_by_average_but_those_of_3c_4e_and_5b(
  monkeypatch, reduction
):
  pools = []

  def spy(kind, x, window, strides, padding, call):
    pools.append((kind, window, strides))
    return pool(kind, x, window, strides, padding, call)

  pool = _rows.pool
  monkeypatch.setattr(_rows, 'pool', spy)
  models.shapes(network('inception_v2', reduction=reduction), 224)
  average = ('avg', (3, 3), 1)
  halved = ('max', (3, 3), 2 if reduction == 'strided' else 1)
  largest = ('max', (3, 3), 1)
  assert pools == [
    *[average] * 2,
    halved,
    *[average] * 4,
    halved,
    average,
    largest,
  ]


def test_a_stride_is_that_of_the_last_convolution_of_a_branch():
  shapes = taps(network('inception_v2'))
  for module, size in (('3c', 28), ('4e', 14)):
    for branch, steps in ((1, 2), (2, 3)):
      sizes = [
        shapes[f'inception_{module}/branch_{branch}/conv_{n}'][1]
        for n in range(1, steps + 1)
      ]
      assert sizes == [size] * (steps - 1) + [size // 2]


def test_reductions_have_the_same_parameters():
  strided, pooled = (
    models.shapes(network('inception_v2', reduction=reduction), 224)
    for reduction in ('strided', 'pooled')
  )
  assert strided == pooled


def shapes_of(model, layer, channels=3):
  """Returns {variable: shape} of a layer, its norm's too."""
  params = models.shapes(model, 32, channels)['params'][layer]
  return {
    jax.tree_util.keystr(path, simple=True, separator='/'): leaf.shape
    for path, leaf in jax.tree_util.tree_leaves_with_path(params)
  }


def test_the_stem_is_separable_or_plain_with_a_norm_or_a_bias():
  make = functools.partial(network, 'inception_v2')
  norm = {'norm/bias': (64,), 'norm/scale': (64,)}
  mixing, plain = (1, 1, 24, 64), (7, 7, 3, 64)
  assert shapes_of(make(), 'stem_1') == {'kernel': mixing, **norm}
  without = make(normalized_stem=False)
  assert shapes_of(without, 'stem_1') == {'kernel': mixing, 'bias': (64,)}
  for model in (make(), without):
    kernel = {'kernel': (7, 7, 1, 24)}
    assert shapes_of(model, 'stem_1_depthwise') == kernel
  in_one = make(separable_stem=False)
  assert shapes_of(in_one, 'stem_1') == {'kernel': plain, **norm}
  assert 'stem_1_depthwise' not in models.shapes(in_one, 32)['params']
  # Nothing is between the two steps: only the second has a pre-activation.
  assert 'stem_1_depthwise' not in taps(make(), 32)


@pytest.mark.parametrize(
  ('width', 'channels', 'maps'),
  [(1.0, 3, 24), (1.0, 1, 8), (0.25, 3, 15), (0.25, 1, 5)],
)
def test_the_separable_stem_makes_8_maps_of_each_channel_or_fewer(
  width, channels, maps
):
  """Slim's rule: min(int(64 * width / 3), 8)."""
  model = network('inception_v2', layers={'width': width})
  kernels = shapes_of(model, 'stem_1_depthwise', channels)
  assert kernels == {'kernel': (7, 7, 1, maps)}


@pytest.mark.parametrize('blocks', [(2, 4), (3, 4, 2)])
def test_modules_that_were_not_published_are_refused(blocks):
  with pytest.raises(ValueError, match=r'blocks = .* at most \(2, 4, 2\)'):
    models.shapes(network('inception_v2', blocks=blocks), 32)


def test_blocks_are_modules_besides_those_that_halve_the_map():
  shapes = outputs(network('inception_v2', blocks=(1, 0, 1)))
  modules = [name for name in shapes if name.startswith('inception')]
  assert modules == [f'inception_{m}' for m in ('3a', '3c', '4e', '5a')]


def test_width_multiplies_channels_down_to_16():
  """Slim's rule; what passes through is as wide as it came."""
  model = network('inception_v2', layers={'width': 0.25})
  shapes = outputs(model)
  assert shapes['stem_1'] == (112, 112, 16)
  assert shapes['stem_3'] == (56, 56, 48)
  assert shapes['inception_3a'][-1] == 16 + 16 + 24 + 16
  assert shapes['inception_3b'][-1] == 16 + 24 + 24 + 16
  assert shapes['inception_3c'][-1] == 40 + 24 + shapes['inception_3b'][-1]
  assert shapes['inception_5b'][-1] == 256


def test_heads_of_3c_and_4e_are_those_of_googlenet():
  """Pooled 5x5/3, a map of 14x14 becomes 4x4, and one of 7x7 a pixel."""
  model = network('inception_v2', auxiliary_heads=True)
  shapes = taps(model)
  assert shapes['auxiliary_1/conv'] == (2, 4, 4, 128)
  assert shapes['auxiliary_2/conv'] == (2, 1, 1, 128)
  for n in (1, 2):
    assert shapes[f'auxiliary_{n}/hidden'] == (2, 1024)
    assert shapes[f'{AUXILIARY}{n}'] == (2, 1000)
  pooled = model.clone(reduction='pooled')
  assert taps(pooled)['auxiliary_1/conv'] == (2, 4, 4, 128)
  kernels = models.shapes(model, 224)['params']
  assert kernels['auxiliary_1']['conv']['kernel'].shape == (1, 1, 576, 128)
  assert kernels['auxiliary_2']['conv']['kernel'].shape == (1, 1, 1056, 128)


def test_the_baseline_has_local_response_normalization_on_demand(monkeypatch):
  shapes = []
  monkeypatch.setattr(
    _local_response, 'normalize', lambda x: shapes.append(x.shape[1:]) or x
  )
  taps(network('inception_v2', 'none'))
  assert shapes == []
  taps(network('inception_v2', 'none', lrn=True))
  assert shapes == [(56, 56, 64), (56, 56, 192)]


@pytest.mark.parametrize(
  ('stem', 'size', 'maps'),
  [
    ('paper', 224, [28, 14, 7]),
    ('paper', 32, [4, 2, 1]),
    ('medium', 28, [14, 7, 4]),
    ('small', 28, [28, 14, 7]),
    ('small', 8, [8, 4, 2]),
  ],
)
def test_the_stems_leave_small_images_more_of_their_size(stem, size, maps):
  shapes = outputs(network('inception_v2', stem=stem), size)
  modules = ('3b', '4a', '5b')
  assert [shapes[f'inception_{m}'][0] for m in modules] == maps
