"""Weights of others: what is read, what is refused, and how that is said."""

import jax
import numpy as np
import pytest
import safetensors.numpy

from bnresearch import lookup, models, pretrained
from tests.published import images, names_of, network

SIZE = 16
MODEL = network('resnet', 'batch', 10, variant='18', blocks=(1,), stem='small')


def theirs(source='torchvision'):
  """Returns a small network's weights in the names and layout of others."""
  random = np.random.RandomState(0)
  about, names = pretrained.SOURCES[source], names_of(source, MODEL)
  arrays = {}
  for path, leaf in flat(models.shapes(MODEL, SIZE)).items():
    collection, *layer, variable = path.split('/')
    if layer[-1] == 'norm':
      prefix = names['/'.join(layer[:-1])].norm
      name = about.norm[collection, variable]
    else:
      prefix, name = names['/'.join(layer)].layer, about.layer[variable][0]
    value = random.normal(1, 0.3, leaf.shape).astype(np.float32)
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
  variables = pretrained.load(file, source, MODEL, SIZE)
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
  assert first == '4 names do not match:'
  assert sorted(listed) == [
    'batch_stats/stem/norm/var: bn1.running_var, is missing',
    'fc.weight: (64, 5) in our layout, params/logits/kernel is (64, 10)',
    'layer9.weight: belongs to no layer of ours',
    'params/stem/kernel: conv1.weight, is missing',
  ]


def test_what_they_lack_and_leaves_all_as_it_is_is_added(tmp_path):
  arrays = theirs('keras')
  del arrays['conv1_bn/gamma'], arrays['conv1_bn/beta']
  file = saved(tmp_path / 'weights.npz', arrays)
  norm = pretrained.load(file, 'keras', MODEL, SIZE)['params']['stem']['norm']
  np.testing.assert_array_equal(norm['scale'], 1)
  np.testing.assert_array_equal(norm['bias'], 0)


@pytest.mark.parametrize('name', ['weights.pth', 'weights.bin', 'weights'])
def test_a_pickle_is_not_read(tmp_path, name):
  file = tmp_path / name
  file.write_bytes(b'never read')
  with pytest.raises(ValueError, match=r'needs \.safetensors or \.npz'):
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


@pytest.mark.parametrize('name', lookup.names('pretrained'))
def test_every_file_is_of_an_architecture_and_has_a_source(name):
  assert name in lookup.names('models')
  entry = lookup.find('pretrained', name)
  assert any(hasattr(entry, source) for source in pretrained.SOURCES)
