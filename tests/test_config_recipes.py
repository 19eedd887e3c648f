"""Presets: slim's argument scopes, and the documents' recipe for flowers."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import config as configs
from bnresearch import knobs, lookup, models
from bnresearch.assembly.data_set import DataSet
from bnresearch.assembly.network import Network
from bnresearch.data import Spec
from bnresearch.sweeps.points import points
from bnresearch.training import optimizer
from tests.published import images, parameters


def first(path):
  """Returns the config of the first point of a file."""
  return points(configs.load(f'configs/{path}'), {})[0].config


def model_of(config, K=1000, **changes):
  """Returns the network of a config, for K classes."""
  config = config.copy_and_resolve_references()
  assert configs.override(config, changes) == []
  spec = Spec((224, 224, 3), tuple(map(str, range(K))))
  data = DataSet(config.data, read_spec=lambda: spec)
  return Network(config, data).model


HEADS = 'model.auxiliary_heads'


def test_the_scope_of_inception_v2_is_slims():
  config = first('slim.py:scope=inception_v2')
  own = knobs.leaves(config)
  assert (own['norm.momentum'], own['norm.epsilon']) == (0.9997, 1e-3)
  assert (own['norm.use_scale'], own['norm.use_bias']) == (False, True)
  assert own['norm.running_variance'] == 'unbiased'
  assert own['optim.l2'] == 0.00004
  assert own['model.dropout_rate'] == pytest.approx(1 - 0.8)  # keep_prob
  assert own['data.image_size'] == 224
  model = model_of(config)
  assert parameters(model, 224) == 11_178_336
  # Slim's own test counts the rest otherwise: without logits, but with running
  # statistics.
  stats = models.shapes(model, 224)['batch_stats']
  running = sum(leaf.size for leaf in jax.tree.leaves(stats))
  assert 11_178_336 - 1025 * 1000 + running == 10_173_112


def test_each_layer_of_slims_inception_v2_has_its_trunc_normal():
  config = first('slim.py:data=cifar10')
  wide = {'model.width': 1.0, 'model.blocks': (1, 0, 1)}
  model = model_of(config, 10, **wide)
  init = functools.partial(model.init, train=False)
  params = jax.jit(init)(jax.random.key(0), images(8))['params']
  left = 0.8796  # of the deviation, by truncation

  def std(path):
    layer = functools.reduce(
      lambda tree, name: tree[name], path.split('/'), params
    )
    kernel = np.asarray(layer['kernel'])
    return kernel.std() / left, np.sqrt(2 / np.prod(kernel.shape[:-1])) / left

  for path, expected in (
    ('stem_1_depthwise', 1.0),
    ('stem_1', 1.0),
    ('stem_2', 0.1),
    ('inception_3a/branch_2/conv_1', 0.09),
    ('inception_3a/branch_3/conv_1', 0.09),
    ('inception_3a/branch_4/conv_2', 0.1),
    ('inception_3c/branch_1/conv_1', 0.09),
    ('inception_3c/branch_2/conv_1', 0.09),
    ('inception_5a/branch_4/conv_2', 0.1),
  ):
    assert std(path)[0] == pytest.approx(expected, rel=0.1), path
  for path in (
    'stem_3',
    'inception_3a/branch_1/conv_1',
    'inception_3a/branch_2/conv_2',
    'inception_3c/branch_1/conv_2',
    'inception_4e/branch_2/conv_3',
  ):
    found, scaled = std(path)
    assert found == pytest.approx(scaled, rel=0.05), path


def test_the_scope_of_inception_v3_is_that_of_the_documents():
  config = first('slim.py:scope=inception_v3')
  v2 = knobs.leaves(first('slim.py'))
  own = knobs.leaves(config)
  for key in ('norm.momentum', 'norm.epsilon', 'norm.use_scale', 'optim.l2'):
    assert own[key] == v2[key]
  assert own['data.image_size'] == 299
  assert parameters(model_of(config, **{HEADS: False}), 299) == 23_817_352
  gammas = 23_834_568 - 23_817_352
  assert parameters(model_of(config), 299) == (
    27_161_264 - gammas - 128 - 768  # those of the head
  )
  path = 'mixed_5b/branch_1/conv_1'
  narrow = {'model.width': 0.25, 'model.stem': 'small', HEADS: False}
  model = model_of(config, 10, **narrow, **{'model.blocks': (1, 0, 0)})
  init = functools.partial(model.init, train=False)
  params = jax.jit(init)(jax.random.key(0), images(8))['params']
  kernel = params['mixed_5b']['branch_1']['conv_1']['kernel']
  assert float(kernel.std()) == pytest.approx(0.1 * 0.8796, rel=0.1), path


@pytest.mark.parametrize(
  ('K', 'without', 'heads'),
  [(1000, 7_300_296, 13_680_536), (5, 6_280_421, 10_620_911)],
)
def test_the_documents_recipe_for_flowers_has_their_network(K, without, heads):
  config = first('flowers.py:recipe=documents,scale=full')
  assert parameters(model_of(config, K), 224) == heads
  assert parameters(model_of(config, K, **{HEADS: False}), 224) == without


def test_the_documents_recipe_begins_as_theirs():
  config = first('flowers.py:recipe=documents,scale=full')
  small = {'model.stem': 'small', 'model.blocks': (0, 1, 0)}
  model = model_of(config, 5, **small)
  init = functools.partial(model.init, train=False)
  params = jax.jit(init)(jax.random.key(0), images(16))['params']
  kernel = params['stem_3']['kernel']
  fan_out = 3 * 3 * 192
  assert kernel.std() == pytest.approx((2 / fan_out) ** 0.5, rel=0.02)
  assert jnp.abs(kernel).max() > 2.5 * kernel.std()  # not truncated
  np.testing.assert_array_equal(params['stem_3']['bias'], 0)
  for layer in (
    params['logits'],
    params['auxiliary_1']['hidden'],
    params['auxiliary_1']['logits'],
  ):
    assert layer['kernel'].std() == pytest.approx(0.01, rel=0.05)
    np.testing.assert_array_equal(layer['bias'], 0)


def test_the_documents_recipe_is_one_config_apart_from_the_norm():
  found = points(configs.load('configs/flowers.py:recipe=documents'), {})
  assert [point.name for point in found] == [
    'model=googlenet,norm=batch,seed=0',
    'model=googlenet,norm=none,seed=0',
  ]
  with pytest.raises(configs.ConfigError, match='recipe=documents is of googl'):
    configs.load('configs/flowers.py:recipe=documents,models=inception_v2')


def test_the_documents_rate_falls_twice_in_their_30_epochs():
  """Their StepLR steps once an update: after 14.4 epochs and after 28.8."""
  config = first('flowers.py:recipe=documents,scale=full')
  photographs = 3670 - (63 + 89 + 64 + 69 + 79)  # a tenth of each class
  epoch = math.ceil(photographs / config.train.batch_size)
  assert (photographs, epoch) == (3306, 104)
  assert config.train.steps == 30 * epoch == 3120
  assert config.eval.every == epoch
  own = lookup.keywords(optimizer.rate_of, config.optim)
  rate = optimizer.rate_of(config.train.steps, **own)
  rates = np.asarray(jax.vmap(rate)(jnp.arange(3120)))
  (falls,) = np.nonzero(np.diff(rates) < 0)
  assert [round((step + 1) / epoch, 1) for step in falls] == [14.4, 28.8]
  np.testing.assert_allclose(
    rates[[0, 1499, 1500, 3000]], [1.5e-3, 1.5e-3, 1.5e-4, 1.5e-5], rtol=1e-6
  )
