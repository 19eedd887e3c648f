"""Networks without their batch norms: logits and taps as they were."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import lookup
from bnresearch.inference.folded import fold_network
from bnresearch.models import Layers
from bnresearch.models._layers import (
  Activation,
  Conv,
  Dense,
  Logits,
  NormActivation,
)
from bnresearch.models._network_call import NetworkCall
from tests.daily import some
from tests.published import images, size_of, small

MODELS = lookup.names('models')
NORMS = lookup.names('norms')
# What evaluates as a scale and a shift of each channel.
AFFINE = 'batch', 'batch_renorm', 'lp', 'noisy_batch'


class Small(nn.Module):
  """Norms at all kinds of places, in a network that compiles fast."""

  num_classes: int
  layers: Layers

  @nn.compact
  def __call__(self, x_NHWC, *, train, mask=None):
    call = NetworkCall(self, x_NHWC, train=train, mask=mask)
    x = call.block(Conv(4, 3, name='stem'), call.images_NHWC)
    y = NormActivation(name='pre')(x, call)
    y = Conv(1, 3, depthwise=True, name='depthwise')(y, call)
    y = Conv(4, 3, groups=2, activated=False, name='last')(y, call)
    x = Activation(name='sum')(x + y, call)
    x = Dense(6, name='dense')(x, call)
    return Logits(self.num_classes, name='logits')(x, call), call.taps


def network(norm='batch', layers=None, **options):
  cls = lookup.find('norms', norm).Norm
  make = functools.partial(cls, **options)
  return Small(10, Layers(norm=lambda path: make, **(layers or {})))


def random_variables(model, x, dtype='float64'):
  """Returns variables with values of their own everywhere."""
  random = np.random.RandomState(0)
  init = functools.partial(model.init, train=False)

  def draw(path, leaf):
    name, shape = path[-1].key, leaf.shape
    if name == 'kernel':
      std = np.sqrt(2 / np.prod(shape[:-1]))
      return random.normal(0, std, shape).astype(dtype)
    if name in ('var', 'deviation', 'scale', 'gain'):
      return random.uniform(0.5, 2, shape).astype(dtype)
    if name == 'covariance':
      return np.broadcast_to(2 * np.eye(shape[-1]), shape).astype(dtype)
    if np.issubdtype(leaf.dtype, np.integer):
      return np.zeros(shape, leaf.dtype)
    return random.normal(0.2, 0.5, shape).astype(dtype)

  shapes = jax.eval_shape(init, jax.random.key(0), x)
  return jax.tree_util.tree_map_with_path(draw, shapes)


def assert_folded(model, x, dtype='float64', rtol=1e-12):
  """Asserts that logits and taps stay; returns the new model and variables."""
  with jax.enable_x64(dtype == 'float64'):
    variables, x = random_variables(model, x, dtype), jnp.asarray(x, dtype)
    variables = jax.tree.map(jnp.asarray, variables)
    folded, new = fold_network(model, variables, x)
    run = lambda model, variables: jax.jit(
      functools.partial(model.apply, train=False)
    )(variables, x)
    logits_NK, taps = run(folded, new)
    expected_NK, expected = run(model, variables)
    shapes = jax.eval_shape(
      functools.partial(folded.init, train=False), jax.random.key(0), x
    )
  assert jax.tree.structure(new) == jax.tree.structure(shapes)
  assert [a.shape for a in jax.tree.leaves(new)] == [
    a.shape for a in jax.tree.leaves(shapes)
  ]
  assert [*taps] == [*expected]
  assert np.ptp(expected_NK, axis=0).max() > 1e-3, 'logits of constants'
  taps, expected = {**taps, '': logits_NK}, {**expected, '': expected_NK}
  for name, tap in taps.items():
    wanted = np.asarray(expected[name], np.float64)
    assert tap.dtype == expected[name].dtype
    np.testing.assert_allclose(
      np.asarray(tap, np.float64),
      wanted,
      rtol=0,
      atol=rtol * np.abs(wanted).max(),
      err_msg=name,
    )
  return folded, new


def names(variables):
  """Returns the paths of all parameters, and the collections."""
  leaves = jax.tree_util.tree_leaves_with_path(variables['params'])
  paths = {
    jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in leaves
  }
  return paths, set(variables)


@pytest.mark.parametrize('name', MODELS)
def test_every_model_evaluates_as_before(name):
  _, new = assert_folded(small(name), images(size_of(name)))
  # Each time step of the LSTM has statistics, and all have one kernel.
  assert set(new) == (
    {'params', 'batch_stats'} if name == 'lstm' else {'params'}
  )


@pytest.mark.parametrize('name', some(MODELS, 'mobilenet_v2', 'resnet'))
def test_and_to_rounding_in_float32(name):
  assert_folded(small(name), images(size_of(name)), 'float32', 3e-5)
