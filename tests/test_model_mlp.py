"""The fully connected network of Figure 1, and what taps are."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import config as configs
from bnresearch import lookup, models
from bnresearch.assembly import assemble
from bnresearch.preflight import Machine
from bnresearch.preflight.network import check_network
from configs import default
from tests.traits import says

MNIST = (28, 28, 1)
# Without positions, so not for norms that need them.
NORMS = [
  name for name in lookup.names('norms') if not says(name, 'needs_positions')
]


def network(norm, **values):
  config = default.get_config()
  names = {'model.name': 'mlp', 'norm.name': norm}
  assert configs.override(config, names | values) == []
  return assemble(config).network.model


def shapes(network, image_shape=MNIST, N=4):
  """Returns the shapes of variables, and of logits and taps in training."""
  x_NHWC = jax.ShapeDtypeStruct((N, *image_shape), jnp.float32)
  init = functools.partial(network.init, train=False)
  variables = jax.eval_shape(init, jax.random.key(0), x_NHWC)
  apply = functools.partial(network.apply, train=True)
  return variables, jax.eval_shape(apply, variables, x_NHWC)


def initial(network, x_NHWC):
  """Returns the variables before training."""
  return network.init(jax.random.key(0), x_NHWC, train=False)


@pytest.mark.parametrize(
  ('norm', 'count'),
  [
    # 784*100 + 100*100 + 100*100 + 100*10 weights and 10 biases; besides, for
    # each of 300 hidden units, a bias, or gamma and beta.
    ('none', 99_710),
    ('batch', 100_010),
  ],
)
def test_the_number_of_parameters_is_the_papers(norm, count):
  variables, _ = shapes(network(norm))
  leaves = jax.tree.leaves(variables['params'])
  assert sum(math.prod(leaf.shape) for leaf in leaves) == count


@pytest.mark.parametrize('norm', NORMS)
@pytest.mark.parametrize('features', [(100, 100, 100), (7,), (5, 4)])
def test_the_mlp_taps_every_hidden_layer(norm, features):
  model = network(norm, **{'model.features': features})
  _, (_, taps) = shapes(model)
  assert {name: x.shape for name, x in taps.items()} == {
    f'hidden_{i}': (4, C) for i, C in enumerate(features, start=1)
  }


@pytest.mark.parametrize('norm', NORMS)
def test_a_norm_that_cancels_the_bias_leaves_none_below_it(norm):
  variables, _ = shapes(network(norm))
  cancels = says(norm, 'cancels_bias')
  for i in (1, 2, 3):
    assert ('bias' in variables['params'][f'hidden_{i}']) != cancels
  assert 'bias' in variables['params']['logits']


def test_initial_weights_are_gaussian_of_the_given_std_and_biases_zero():
  values = {'model.init_std': 0.03, 'model.features': (100,)}
  model = network('none', **values)
  params = model.init(jax.random.key(0), jnp.zeros((1, *MNIST)), train=False)[
    'params'
  ]
  for name in ('hidden_1', 'logits'):
    kernel = np.asarray(params[name]['kernel'])
    tolerance = 4 / math.sqrt(kernel.size)  # four standard errors
    assert kernel.std() == pytest.approx(0.03, rel=tolerance)
    assert abs(kernel.mean()) < 0.03 * tolerance
    # A truncated Gaussian ends at two standard deviations.
    assert np.abs(kernel).max() > 0.03 * 2.2
    np.testing.assert_array_equal(params[name]['bias'], 0)


# What the taps are: the whole network again, in NumPy and float64.

ACTIVATIONS = {
  'sigmoid': lambda x: 1 / (1 + np.exp(-x)),
  'tanh': np.tanh,
  'relu': lambda x: np.maximum(x, 0),
}


def normalize(u_NC, params, mean_C, var_C, epsilon=1e-5):
  return (
    params['scale'] * (u_NC - mean_C) / np.sqrt(var_C + epsilon)
    + (params['bias'])
  )


def recomputed(variables, x_NHWC, norm, activation, *, train, residual=False):
  """Returns logits and what enters each activation."""
  variables = jax.tree.map(lambda x: np.asarray(x, np.float64), variables)
  params, stats = variables['params'], variables.get('batch_stats')
  x_ND = np.asarray(x_NHWC, np.float64).reshape(len(x_NHWC), -1)
  taps = {}
  for i in itertools.count(1):
    layer = f'hidden_{i}'
    if layer not in params:
      break
    u_NC = x_ND @ params[layer]['kernel']
    if norm == 'none':
      u_NC += params[layer]['bias']
    else:
      mean_C, var_C = (
        (u_NC.mean(0), u_NC.var(0))
        if train
        else (stats[layer]['norm']['mean'], stats[layer]['norm']['var'])
      )
      u_NC = normalize(u_NC, params[layer]['norm'], mean_C, var_C)
    taps[layer] = u_NC
    y_NC = ACTIVATIONS[activation](u_NC)
    adds = residual and i > 1 and y_NC.shape == x_ND.shape
    x_ND = x_ND + y_NC if adds else y_NC
  logits = params['logits']
  return x_ND @ logits['kernel'] + logits['bias'], taps


def shaken(variables, seed=0):
  """Returns variables of which none has its initial value, 0 or 1."""
  random = np.random.RandomState(seed)

  def shake(path, leaf):
    if path[-1].key == 'var':
      return jnp.asarray(random.uniform(0.5, 4, leaf.shape), leaf.dtype)
    return leaf + jnp.asarray(random.normal(0, 0.3, leaf.shape), leaf.dtype)

  return jax.tree_util.tree_map_with_path(shake, variables)


@pytest.mark.parametrize('activation', ACTIVATIONS)
@pytest.mark.parametrize(
  ('norm', 'train'), [('none', False), ('batch', False), ('batch', True)]
)
def test_taps_are_what_enters_the_activations(
  norm, train, activation, assert_close
):
  values = {'model.features': (6, 5, 4), 'model.activation': activation}
  model = network(norm, **values)
  random = np.random.RandomState(1)
  x_NHWC = jnp.asarray(random.normal(0.5, 1, (12, 3, 3, 2)), jnp.float32)
  variables = shaken(initial(model, x_NHWC))
  logits_NK, taps = jax.jit(functools.partial(model.apply, train=train))(
    variables, x_NHWC
  )
  expected_logits, expected_taps = recomputed(
    variables, x_NHWC, norm, activation, train=train
  )
  assert_close(taps, expected_taps, rtol=1e-5)
  assert_close(logits_NK, expected_logits, rtol=1e-5)


@pytest.mark.parametrize('norm', ['none', 'batch'])
def test_a_residual_layer_adds_its_input_if_that_has_its_width(
  norm, assert_close
):
  """The first layer never does, though the images have as many pixels."""
  values = {'model.features': (8, 8, 5, 5), 'model.activation': 'relu'}
  model = network(norm, **values, **{'model.residual': True})
  random = np.random.RandomState(1)
  x_NHWC = jnp.asarray(random.normal(0.5, 1, (12, 2, 2, 2)), jnp.float32)
  variables = shaken(initial(model, x_NHWC))
  found = model.apply(variables, x_NHWC, train=True)
  plain = network(norm, **values)
  assert models.shapes(plain, 2, 2) == models.shapes(model, 2, 2)
  expected = recomputed(
    variables, x_NHWC, norm, 'relu', train=True, residual=True
  )
  assert_close(found, expected, rtol=1e-5)


def test_residual_is_refused_where_no_layer_has_the_width_below_it():
  config = default.get_config()
  values = {'model.residual': True, 'model.features': (6, 5, 4)}
  assert configs.override(config, values) == []
  message = 'model.residual = True: is without effect in this network'
  with pytest.raises(configs.ConfigError, match=message):
    check_network(assemble(config), Machine(1, 'cpu', 0))


def test_dropout_is_of_what_each_hidden_layer_passes_on():
  """Where all is dropped, each next layer is left with its bias."""
  x_NHWC = jnp.ones((4, 3, 3, 1))
  model = network('none', **{'model.features': (6, 5, 4)})
  all_dropped = model.clone(dropout_rate=1.0)
  variables = shaken(initial(model, x_NHWC))
  rngs = {'dropout': jax.random.key(1)}
  logits_NK, taps = all_dropped.apply(variables, x_NHWC, train=True, rngs=rngs)
  params = variables['params']
  for layer in ('hidden_2', 'hidden_3'):
    np.testing.assert_array_equal(taps[layer][0], params[layer]['bias'])
  np.testing.assert_array_equal(logits_NK[0], params['logits']['bias'])
  expected = model.apply(variables, x_NHWC, train=False)
  found = all_dropped.apply(variables, x_NHWC, train=False)
  np.testing.assert_array_equal(found[0], expected[0])
