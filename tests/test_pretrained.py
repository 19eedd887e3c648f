"""Pretrained weights: what is read, what is refused, and with which message."""

import functools

import jax
import numpy as np
import pytest
import safetensors.numpy

from bnresearch import lookup, models, pretrained
from configs import default
from tests.published import batch_norm, images, names_of, network

SIZE = 16
SMALL = {'variant': '18', 'blocks': (1,), 'stem': 'small'}
MODEL = network('resnet', 'batch', 10, **SMALL)
KERAS = network('resnet', batch_norm(1.001e-5), 10, version='v1', **SMALL)
ROOMS = lookup.names('pretrained')
MODELS = {'torchvision': MODEL, 'keras': KERAS}


def theirs(source='torchvision'):
  """Returns a small network's weights in the names and layout of others."""
  random = np.random.RandomState(0)
  about, names = pretrained.SOURCES[source], names_of(source, MODELS[source])
  arrays = {}
  for path, leaf in flat(models.shapes(MODEL, SIZE)).items():
    collection, *layer, variable = path.split('/')
    if layer[-1] == 'norm':
      prefix = names['/'.join(layer[:-1])].norm
      name = about.norm[collection, variable]
    else:
      prefix, name = names['/'.join(layer)].layer, about.layer[variable][0]
    value = random.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
    if name == 'weight' and value.ndim > 1:
      order = (3, 2, 0, 1) if value.ndim == 4 else (1, 0)
      value = np.ascontiguousarray(value.transpose(order))
    arrays[f'{prefix}{about.separator}{name}'] = value
  return arrays


def flat(tree):
  leaves = jax.tree_util.tree_leaves_with_path(tree)
  return {'/'.join(k.key for k in path): leaf for path, leaf in leaves}


def saved(path, arrays):
  if path.suffix == '.npz':
    np.savez(path, **arrays)
  else:
    safetensors.numpy.save_file(arrays, path)
  return path


@pytest.mark.parametrize('ending', ['npz', 'safetensors'])
@pytest.mark.parametrize('source', ['torchvision', 'keras'])
def test_a_file_of_weights_becomes_our_variables(tmp_path, source, ending):
  arrays = theirs(source)
  file = saved(tmp_path / f'weights.{ending}', arrays)
  variables = pretrained.load(file, source, MODELS[source], SIZE)
  template = flat(models.shapes(MODEL, SIZE))
  found = flat(variables)
  assert {k: v.shape for k, v in found.items()} == {
    k: v.shape for k, v in template.items()
  }
  total = sum(float(a.sum()) for a in arrays.values())
  assert sum(float(v.sum()) for v in found.values()) == pytest.approx(total)
  logits, _ = MODEL.apply(variables, images(SIZE), train=False)
  assert np.isfinite(logits).all()


def test_kernels_are_transposed_to_ours(tmp_path):
  arrays = theirs()
  file = saved(tmp_path / 'weights.npz', arrays)
  params = pretrained.load(file, 'torchvision', MODEL, SIZE)['params']
  OIHW = arrays['layer1.0.conv1.weight']
  HWIO = params['stage_1_block_1']['conv_1']['kernel']
  assert HWIO[2, 1, 5, 7] == OIHW[7, 5, 2, 1]
  assert params['logits']['kernel'][3, 4] == arrays['fc.weight'][4, 3]


def test_all_names_that_do_not_match_are_listed(tmp_path):
  arrays = theirs()
  arrays['layer9.weight'] = np.zeros(3, np.float32)
  arrays['bn1.num_batches_tracked'] = np.zeros((), np.int64)  # not needed
  arrays['fc.weight'] = arrays['fc.weight'][:5]
  del arrays['conv1.weight'], arrays['bn1.running_var']
  file = saved(tmp_path / 'weights.npz', arrays)
  with pytest.raises(pretrained.Unmatched) as error:
    pretrained.load(file, 'torchvision', MODEL, SIZE)
  first, *listed = str(error.value).split('\n  ')
  assert first == 'These variables do not fit:'
  assert sorted(listed) == [
    'batch_stats/stem/norm/var: bn1.running_var, is missing',
    'fc.weight: (64, 5) in our layout, params/logits/kernel is (64, 10)',
    'layer9.weight: belongs to no layer of ours',
    'params/stem/kernel: conv1.weight, is missing',
  ]


def test_scales_and_biases_that_are_missing_are_listed(tmp_path):
  arrays = theirs('keras')
  del arrays['conv1_bn/gamma'], arrays['conv1_bn/beta']
  del arrays['predictions/bias']
  file = saved(tmp_path / 'weights.npz', arrays)
  with pytest.raises(pretrained.Unmatched) as error:
    pretrained.load(file, 'keras', KERAS, SIZE)
  assert str(error.value).split('\n  ') == [
    'These variables do not fit:',
    'params/logits/bias: predictions/bias, is missing',
    'params/stem/norm/bias: conv1_bn/beta, is missing',
    'params/stem/norm/scale: conv1_bn/gamma, is missing',
  ]


def test_values_that_no_network_has_are_refused(tmp_path):
  arrays = theirs()
  arrays['conv1.weight'][0, 0, 0, :2] = np.nan, np.inf
  arrays['bn1.bias'] = np.full(64, 1e300)  # too large for float32
  arrays['bn1.running_var'][:3] = -1e-9
  file = saved(tmp_path / 'weights.npz', arrays)
  with pytest.raises(pretrained.Unmatched) as error:
    pretrained.load(file, 'torchvision', MODEL, SIZE)
  assert sorted(str(error.value).split('\n  ')[1:]) == [
    'bn1.bias: 64 of 64 values are not finite',
    'bn1.running_var: 3 of 64 variances are negative',
    'conv1.weight: 2 of 1728 values are not finite',
  ]
  # What is left out may be anything.
  arrays = theirs() | {'fc.bias': np.full(10, np.nan)}
  file = saved(tmp_path / 'weights.npz', arrays)
  left_out = {'params/logits/bias'}
  pretrained.load(file, 'torchvision', MODEL, SIZE, left_out)


def test_a_layer_that_has_no_bias_there_has_one_of_0():
  """The first two of a unit in Keras's V2; the third one has a bias."""
  template = {
    'params': {
      'stage_1_block_1': {
        name: {'bias': np.zeros(4)} for name in ('conv_1', 'conv_last')
      }
    }
  }
  model = KERAS.clone(version='v2', variant='50')
  found = pretrained.convert(
    {'conv2_block1_3_conv/bias': np.ones(4)},
    pretrained.SOURCES['keras'],
    names_of('keras', model),
    template,
  )['params']['stage_1_block_1']
  np.testing.assert_array_equal(found['conv_1']['bias'], 0)
  np.testing.assert_array_equal(found['conv_last']['bias'], 1)


RIGHT = {
  ('resnet', 'torchvision'): {},
  ('resnet', 'keras'): {'epsilon': 1.001e-5, 'version': 'v1'},
  ('mobilenet_v2', 'torchvision'): {'padding': 'symmetric'},
  ('mobilenet_v2', 'keras'): {'epsilon': 1e-3},
  ('mobilenet_v1', 'keras'): {'epsilon': 1e-3, 'activation': 'relu6'},
  ('googlenet', 'torchvision'): {'epsilon': 1e-3, 'variant': 'torchvision'},
  ('inception_v3', 'torchvision'): {'epsilon': 1e-3, 'count_padding': True},
  ('inception_v3', 'keras'): {'epsilon': 1e-3, 'use_scale': False},
  ('inception_v4', 'timm'): {'epsilon': 1e-3},
  ('inception_resnet_v2', 'keras'): {'epsilon': 1e-3, 'use_scale': False},
  ('densenet', 'torchvision'): {},
  ('densenet', 'keras'): {'epsilon': 1.001e-5},
  ('vgg', 'torchvision'): {'keep_bias': True},
  ('vgg', 'keras'): {'norm': 'none'},
  ('alexnet', 'torchvision'): {'norm': 'none'},
}
# What gave other logits in silence, and how far off they were, of the largest
# one: random weights and two images of torchvision 0.29.1 and timm 1.0.31.
WRONG = [
  ('mobilenet_v2', 'torchvision', {'padding': 'same'}),  # 0.13
  ('mobilenet_v2', 'torchvision', {'stem': 'small'}),  # 0.13
  ('inception_v3', 'torchvision', {'count_padding': False}),  # 0.069
  ('inception_v3', 'torchvision', {'epsilon': 1e-5}),  # 0.018
  ('inception_v4', 'timm', {'epsilon': 1e-5}),  # 0.026
  ('googlenet', 'torchvision', {'epsilon': 1e-5}),  # 0.010
  ('googlenet', 'torchvision', {'lrn': True}),  # 0.65
  ('resnet', 'torchvision', {'version': 'v1'}),  # 0.069
  ('resnet', 'torchvision', {'strides_at': 'last'}),  # 0.069
  ('resnet', 'torchvision', {'padding': 'same'}),  # 0.025
  ('resnet', 'keras', {'version': 'v2'}),  # strides_at is another there
  ('densenet', 'torchvision', {'weight_standardization': 'standard'}),
  ('vgg', 'keras', {'activation': 'elu'}),
]


def of_options(name, norm='batch', **options):
  """Returns a network with options of `config.model` and `config.norm`."""
  cls = lookup.find('norms', norm).Norm
  make = functools.partial(cls, **lookup.picked(cls, options))
  layers = lookup.picked(models.Layers, options)
  model = lookup.find('models', name).Model
  return network(name, make, layers=layers, **lookup.picked(model, options))


def test_each_source_has_options_that_suit_it():
  rooms = {name: lookup.find('pretrained', name) for name in ROOMS}
  known = {
    (name, source)
    for name, room in rooms.items()
    for source in pretrained.SOURCES
    if hasattr(room, source)
  }
  assert known == set(RIGHT)
  for (name, source), options in RIGHT.items():
    pretrained.check(source, of_options(name, **options))


@pytest.mark.parametrize(('name', 'source', 'options'), WRONG, ids=str)
def test_options_that_give_other_logits_are_refused(name, source, options):
  right = RIGHT[name, source]
  with pytest.raises(pretrained.Unmatched) as refused:
    pretrained.check(source, of_options(name, **right | options))
  first, *listed = str(refused.value).split('\n  ')
  assert f"of {source}'s {name}." in first
  ((option, value),) = options.items()
  group = 'norm' if option == 'epsilon' else 'model'
  knob = f'{group}.{option} = {value!r}: needs '
  if source == 'keras' and value == 'v2':
    knob = "model.strides_at = 'first': needs 'last'"
  assert [line[: len(knob)] for line in listed] == [knob]


def test_an_epsilon_is_free_where_the_norms_are_left_out():
  model = of_options('inception_v4')
  with pytest.raises(
    pretrained.Unmatched, match=r'norm.epsilon = 1e-05: needs '
  ):
    pretrained.check('timm', model)
  pretrained.check('timm', model, excluded=lambda path: path.endswith('/norm'))


def test_sizes_whose_maps_are_padded_in_another_way_are_refused():
  """At 225 pixels torchvision has logits 0.065 off, at 240 6e-7."""
  model = of_options('googlenet', **RIGHT['googlenet', 'torchvision'])
  pretrained.check('torchvision', model, 240)
  with pytest.raises(pretrained.Unmatched, match=r'image_size = 225: .* 16'):
    pretrained.check('torchvision', model, 225)


def test_all_options_of_sources_are_knobs():
  config = default.get_config()
  for name in ROOMS:
    for options in getattr(
      lookup.find('pretrained', name), 'OPTIONS', {}
    ).values():
      for knob in options:
        group, _, option = knob.partition('.')
        assert option in config[group]


@pytest.mark.parametrize(
  ('name', 'message'),
  [
    ('weights.pkl', r'needs \.safetensors, \.npz or, of PyTorch, \.pth, \.pt'),
    ('weights', r'needs \.safetensors, \.npz or, of PyTorch, \.pth, \.pt'),
    ('weights.pth', r'weights\.pth: holds no state dict of PyTorch'),
    ('weights.bin', r'weights\.bin: holds no state dict of PyTorch'),
  ],
)
def test_a_file_that_holds_no_weights_is_refused(tmp_path, name, message):
  file = tmp_path / name
  file.write_bytes(b'never read')
  with pytest.raises(ValueError, match=message):
    pretrained.load(file, 'torchvision', MODEL, SIZE)


def test_objects_in_an_npz_are_not_read(tmp_path):
  np.savez(tmp_path / 'weights.npz', fc=np.array([{}], object))
  with pytest.raises(ValueError, match='allow_pickle'):
    pretrained.load(tmp_path / 'weights.npz', 'torchvision', MODEL, SIZE)


def test_an_unknown_source_is_refused_with_those_that_there_are():
  with pytest.raises(
    ValueError, match=r"'caffe': of resnet, needs one of keras, torchvision"
  ):
    pretrained.load('weights.npz', 'caffe', MODEL, SIZE)


def test_an_architecture_without_names_is_refused():
  model = network('mlp', 'none', 10)
  with pytest.raises(LookupError, match=r"No pretrained weights 'mlp'.*resnet"):
    pretrained.load('weights.npz', 'keras', model, SIZE)


@pytest.mark.parametrize('name', ROOMS)
def test_every_file_is_of_an_architecture_and_has_a_source(name):
  assert name in lookup.names('models')
  entry = lookup.find('pretrained', name)
  assert any(hasattr(entry, source) for source in pretrained.SOURCES)
