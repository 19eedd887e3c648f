"""Networks without their batch norms: logits and taps as they were."""

import functools
from typing import ClassVar

import flax.linen as nn
import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

import bnresearch as bnr
from bnresearch import config as configs
from bnresearch import lookup, models
from bnresearch.assembly import assemble
from bnresearch.inference import folded as folding
from bnresearch.inference.folded import fold_network, fold_run
from bnresearch.models import Layers
from bnresearch.models._layers import (
  Activation,
  Conv,
  Dense,
  Logits,
  NormActivation,
)
from bnresearch.models._network_call import NetworkCall
from bnresearch.runs import session
from configs import default
from tests.daily import some
from tests.published import images, size_of, small

MODELS = lookup.names('models')
NORMS = lookup.names('norms')
# What evaluates as a scale and a shift of each channel.
AFFINE = 'batch', 'batch_renorm', 'lp', 'noisy_batch'


def pictures():
  return images(6, N=4)


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
    x = Dense(12, name='dense')(x, call)
    return Logits(self.num_classes, name='logits')(x, call), call.taps


def network(norm='batch', layers=None, **options):
  """Returns it with a norm wherever that is possible, and else with BN."""
  cls, batch = (lookup.find('norms', name).Norm for name in (norm, 'batch'))
  make = functools.partial(cls, **options)
  at = lambda path: batch if path == 'dense' and cls.needs_positions else make
  return Small(10, Layers(norm=at, **(layers or {})))


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


def paths(variables):
  """Returns the paths of all parameters."""
  leaves = jax.tree_util.tree_leaves_with_path(variables['params'])
  return {
    jax.tree_util.keystr(path, simple=True, separator='/') for path, _ in leaves
  }


# Of each day: norms before convolutions, a loop, depthwise kernels, sums.
EACH_DAY = 'densenet', 'lstm', 'mobilenet_v2', 'resnet'


@pytest.mark.parametrize('name', some(MODELS, *EACH_DAY))
def test_a_model_evaluates_as_before(name):
  assert_folded(small(name), images(size_of(name)))


@pytest.mark.parametrize('name', some(MODELS, 'mobilenet_v2'))
def test_and_to_rounding_in_float32(name):
  assert_folded(small(name), images(size_of(name)), 'float32', 3e-5)


@pytest.mark.parametrize('name', MODELS)
def test_a_model_has_no_statistics_but_those_of_a_loop(name):
  """Of the layers that are left, only some had a norm before them."""
  model, x, made = small(name), images(size_of(name)), []

  def fold(variables):
    folded, new = fold_network(model, variables, x)
    made.append(folded)
    return new

  new = jax.eval_shape(fold, models.shapes(model, size_of(name)))
  assert new == models.shapes(made[0], size_of(name))
  # Each time step of the LSTM has its own, and all have one kernel.
  assert set(new) == {'params'} | ({'batch_stats'} if name == 'lstm' else set())
  norms = sorted(path for path in paths(new) if '/norm/' in path)
  left = {path.rpartition('/norm/')[0].rpartition('/')[2] for path in norms}
  expected = {'densenet': {'pre', 'head'}}
  expected['lstm'] = {'hidden', 'input', 'output'}
  assert left == expected.get(name, set())


@pytest.mark.parametrize('norm', NORMS)
def test_every_norm_evaluates_as_before(norm):
  """Whatever becomes of it."""
  folded, new = assert_folded(network(norm), pictures())
  if norm in AFFINE:
    assert set(new) == {'params'}
    assert {path for path in paths(new) if 'norm' in path} == {
      'pre/norm/scale',
      'pre/norm/bias',
    }
    assert 'stem/bias' in paths(new)
    assert not isinstance(folded.layers.norm('stem'), functools.partial)


OPTIONS = {
  'neither scale nor bias': (
    'batch',
    {},
    {'use_scale': False, 'use_bias': False},
  ),
  'debiased': ('batch', {}, {'debias': True}),
  'frozen': ('batch', {}, {'frozen_statistics': True}),
  'epsilon': ('batch', {}, {'epsilon': 0.3}),
  'biases': ('batch', {'keep_bias': True}, {}),
  'blocks made again': ('batch', {'remat': 'blocks'}, {}),
  'prelu': ('batch', {'activation': 'prelu'}, {}),
}


@pytest.mark.parametrize('kind', OPTIONS)
def test_options_of_norms_and_layers_are_heeded(kind):
  norm, layers, options = OPTIONS[kind]
  _, new = assert_folded(network(norm, layers, **options), pictures())
  assert set(new) == {'params'}
  left = {path for path in paths(new) if 'norm' in path}
  assert left == {'pre/norm/scale', 'pre/norm/bias'}


def test_channels_first_are_traced_as_they_come():
  x_NCHW = pictures().transpose(0, 3, 1, 2)
  _, new = assert_folded(network(layers={'input_format': 'NCHW'}), x_NCHW)
  assert set(new) == {'params'}


def test_behind_the_activation_a_norm_becomes_scale_and_bias():
  """But for the layer that has no activation: there it still follows."""
  _, new = assert_folded(network(layers={'norm_position': 'after'}), pictures())
  assert set(new) == {'params'}
  left = {path.partition('/norm/')[0] for path in paths(new) if 'norm' in path}
  assert left == {'stem', 'pre', 'depthwise', 'dense'}


@pytest.mark.parametrize('kind', ['standard', 'scaled'])
def test_a_kernel_that_is_standardized_at_each_use_takes_no_scale(kind):
  layers = {'weight_standardization': kind}
  _, new = assert_folded(network(layers=layers), pictures())
  assert set(new) == {'params'}
  left = {path.partition('/norm/')[0] for path in paths(new) if 'norm' in path}
  assert left == {'stem', 'pre', 'depthwise', 'last', 'dense'}
  assert 'stem/bias' not in paths(new)


def test_statistics_of_each_position_stay():
  _, new = assert_folded(network(per_activation=True), pictures())
  assert set(new) == {'params', 'batch_stats'}
  # A dense layer has one position.
  assert set(new['batch_stats']) == {'stem', 'pre', 'depthwise', 'last'}
  assert 'norm' not in new['params']['dense']


class Rectified(nn.Module):
  """BN and ReLU in one, with BN's variables and option."""

  epsilon: float = 1e-5
  activates: bool = True

  cancels_bias: ClassVar[bool] = True
  needs_positions: ClassVar[bool] = False

  @nn.compact
  def __call__(self, x, *, train, mask=None):
    norm = lookup.find('norms', 'batch').Norm(epsilon=self.epsilon)
    nn.share_scope(self, norm)
    y = norm(x, train=train, mask=mask)
    return nn.relu(y) if self.activates else y


def test_a_norm_that_activates_stays_but_where_it_does_not():
  model = Small(10, Layers(norm=lambda path: Rectified))
  _, new = assert_folded(model, pictures())
  assert set(new['batch_stats']) == {'stem', 'pre', 'depthwise', 'dense'}


def test_each_site_may_have_a_norm_of_its_own():
  of = lambda norm: lookup.find('norms', norm).Norm
  layers = Layers(norm=lambda path: of('rms' if path == 'last' else 'batch'))
  _, new = assert_folded(Small(10, layers), pictures())
  left = {path.partition('/norm/')[0] for path in paths(new) if 'norm' in path}
  assert left == {'pre', 'last'}


def test_in_bfloat16_it_loses_no_more_than_the_norms_do():
  """Beside the same network in float32."""
  x = pictures()
  half, whole = (network(layers={'dtype': d}) for d in (jnp.bfloat16, None))
  variables = random_variables(half, x, 'float32')
  folded, new = fold_network(half, variables, x)
  assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(new))
  expected_NK, before_NK, after_NK = (
    np.asarray(model.apply(v, x, train=False)[0], np.float64)
    for model, v in ((whole, variables), (half, variables), (folded, new))
  )
  lost = np.square(before_NK - expected_NK).mean() ** 0.5
  assert 2**-11 < lost / np.abs(expected_NK).max() < 2**-6
  assert np.square(after_NK - expected_NK).mean() ** 0.5 < 2 * lost


class Shared(nn.Module):
  """Some of what a norm takes goes elsewhere too, or comes twice."""

  num_classes: int
  layers: Layers
  kind: str

  @nn.compact
  def __call__(self, x_NHWC, *, train, mask=None):
    call = NetworkCall(self, x_NHWC, train=train, mask=mask)
    stem = Conv(4, 3, name='stem')
    x = stem(call.images_NHWC, call)
    if self.kind == 'twice':
      x = x + stem(call.images_NHWC[:, ::-1], call)
    else:
      x = Both(name='both')(x, call)
    return Logits(self.num_classes, name='logits')(x, call), call.taps


class Both(nn.Module):
  """The sum of a layer and its norm."""

  @nn.compact
  def __call__(self, x, call):
    x = call.layer(self, nn.Conv, x, features=4, kernel_size=(1, 1))
    norm = call.norm(self)
    return x + call.normalize_and_activate(x, norm, 'both', activated=True)


@pytest.mark.parametrize(
  ('kind', 'left'), [('twice', {'stem'}), ('elsewhere', {'both'})]
)
def test_a_layer_that_something_else_takes_stays_as_it_is(kind, left):
  """Both uses of a layer that is applied twice need not have a norm."""
  model = Shared(10, network().layers, kind)
  _, new = assert_folded(model, pictures())
  assert set(new) == {'params'}
  found = {path.partition('/norm/')[0] for path in paths(new) if 'norm' in path}
  assert found == left


def test_a_folded_network_can_be_compiled_exported_and_trained():
  x = pictures()
  folded, variables = assert_folded(network(), x, 'float32', 1e-5)
  apply = jax.jit(functools.partial(folded.apply, train=False))
  exported = jax.export.export(apply)(variables, x)
  np.testing.assert_allclose(
    exported.call(variables, x)[0], apply(variables, x)[0], rtol=1e-6
  )
  loss = lambda v: folded.apply(v, x, train=True)[0].sum()
  gradient = jax.grad(loss)(variables)
  assert all(leaf.any() for leaf in jax.tree.leaves(gradient))


def test_a_model_of_ones_own_is_told_how_to_fold():
  with pytest.raises(
    ValueError, match=r'model = Dense: needs a field `layers`'
  ):
    fold_network(nn.Dense(3), {}, pictures())


def test_a_variance_that_is_none_is_refused_with_its_layer():
  """As after a run that has diverged."""
  variables = random_variables(network(), pictures(), 'float32')
  variables['batch_stats']['last']['norm']['var'][2] = np.nan
  with pytest.raises(ValueError, match=r"last: statistics\['var'\].*least nan"):
    fold_network(network(), variables, pictures())


# Of a run.


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  config = default.get_config()
  assert not configs.override(
    config,
    {
      'data.name': 'synthetic',
      'model.features': (9, 8),
      'norm.group_size': 4,
      'train.batch_size': 12,
      'train.steps': 8,
      'train.average': 0.75,
      'train.log_every': 4,
      'eval.every': 8,
      'eval.population_batches': 5,
      'checkpoint.every': 8,
    },
  )
  path = tmp_path_factory.mktemp('folded') / 'run'
  assert session.train(assemble(config), path) == 'done'
  return bnr.open_run(path)


@pytest.mark.parametrize(
  ('statistics', 'average'),
  [('population', False), ('pooled', False), ('ema', False), ('pooled', True)],
)
def test_a_run_is_folded_by_the_statistics_that_are_named(
  run, statistics, average, assert_close
):
  state, images = run.restore(), run.source('test').images_NHWC[:20]
  model, variables = fold_run(run, state, statistics, average=average)
  assert set(variables) == {'params'}
  assert not [path for path in paths(variables) if 'norm' in path]
  x_NHWC = run.parts.images.pixels(images)
  found = model.apply(variables, x_NHWC, train=False)
  assert_close(
    found, run.apply(state, images, statistics, average=average), rtol=1e-5
  )


def test_statistics_of_a_batch_do_not_fold(run):
  with pytest.raises(
    ValueError, match=r"'batch': needs one of ema, population,"
  ):
    fold_run(run, run.restore(), 'batch')


def test_the_documentations_example_of_a_run_runs(run):
  lines = folding.__doc__.partition('\n\nrun = ')[2].partition('\n\n')[0]
  _, *lines = lines.splitlines()
  assert len(lines) == 3
  names = {
    'run': run,
    'images': run.source('test').images_NHWC[:4],
    'fold_run': fold_run,
  }
  exec('\n'.join(lines), names)
  assert names['logits_NK'].shape == (4, 10)
