"""The contract of every architecture in `bnresearch/models`."""

import dataclasses
import functools
import itertools
import math
import pickle
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import lookup, models
from bnresearch.models import (
  Layers,
  _activations,
  _initializers,
  smallest_size,
)
from configs import default
from tests.daily import some
from tests.published import drawn, images, network, size_of, small
from tests.traits import says

MODELS = lookup.names('models')
NORMS = lookup.names('norms')

# Of these, layers are fully connected and normalized: a norm that needs
# positions is refused.
DENSE = ('lenet', 'lstm', 'mlp')
# Of the activations, one has parameters and one takes more features.
OWN_SHAPES = ('prelu', 'maxout')
# What has no layer just before each activation.
NO_MAXOUT = ('densenet', 'inception_resnet_v2', 'lstm', 'resnet')


def kind(norm):
  """Returns what models see of a norm: how it is named, called and limited."""
  cls = lookup.find('norms', norm).Norm
  fields = {field.name for field in dataclasses.fields(cls)}
  return (
    *(says(norm, t) for t in ('cancels_bias', 'activates', 'needs_positions')),
    *(
      option in fields for option in ('activates', 'initial_scale', 'use_bias')
    ),
  )


# The first norm of each kind is of each day, as `Bare` below is.
OF_EACH_KIND = {kind(norm): norm for norm in reversed(NORMS)}.values()


def fits(model, norm):
  return not (says(norm, 'needs_positions') and model in DENSE)


def initial(model, norm='batch'):
  """Returns images and the variables before training."""
  size = size_of(model)
  return images(size, N=4), drawn(small(model, norm), size)


def shapes(model, x_NHWC):
  """Returns shapes of the variables, and of logits and taps in training."""
  init = functools.partial(model.init_with_output, train=True)
  output, variables = jax.eval_shape(init, jax.random.key(0), x_NHWC)
  return variables, output


@pytest.mark.parametrize('norm', some(NORMS, *OF_EACH_KIND))
@pytest.mark.parametrize('model', MODELS)
def test_every_model_runs_with_every_norm(model, norm):
  N = 4
  if not fits(model, norm):
    with pytest.raises(ValueError, match=r'shape \(1, '):
      models.shapes(small(model, norm), size_of(model))
    return
  _, (logits_NK, taps) = shapes(small(model, norm), images(size_of(model), N=N))
  assert logits_NK.shape == (N, 10)
  assert logits_NK.dtype == jnp.float32
  assert len(taps) > 0
  for name, x in taps.items():
    assert x.shape[0] == N, name
    assert x.ndim >= 2, name


class Bare(nn.Module):
  """A norm of which there is nothing but what all norms promise to models."""

  cancels_bias: ClassVar[bool] = True
  activates: ClassVar[bool] = False

  def __call__(self, x, *, train, mask=None):
    assert train is True
    assert mask is None
    return x


@pytest.mark.parametrize('model', MODELS)
def test_models_see_of_a_norm_no_more_than_all_norms_promise(model):
  _, (logits_NK, _) = shapes(small(model, Bare), images(size_of(model)))
  assert logits_NK.shape == (2, 10)


# Without a norm, some layers have biases that they have not with one.
@pytest.mark.parametrize('norm', some(['none', 'batch'], 'batch'))
@pytest.mark.parametrize('model', MODELS)
def test_every_parameter_has_a_finite_gradient_that_is_not_zero(model, norm):
  network, (x_NHWC, variables) = small(model, norm), initial(model, norm)
  label_N = jnp.arange(len(x_NHWC))

  @jax.jit
  def gradient(variables):
    def loss(params):
      (logits_NK, _), _ = network.apply(
        {**variables, 'params': params},
        x_NHWC,
        train=True,
        mutable=['batch_stats'],
        rngs={'dropout': jax.random.key(1)},
      )
      log_NK = jax.nn.log_softmax(logits_NK)
      return -log_NK[label_N, label_N].mean()

    return jax.grad(loss)(variables['params'])

  found = jax.device_get(gradient(variables))
  dead = [
    jax.tree_util.keystr(path, simple=True, separator='/')
    for path, leaf in jax.tree_util.tree_leaves_with_path(found)
    if not (np.isfinite(leaf).all() and leaf.any())
  ]
  assert dead == []


def test_what_layers_have_in_common_are_knobs():
  # What depends on the caller, what assembly makes, and what is of training.
  others = {'norm', 'up_to_head', 'dtype', 'remat'}
  common = {field.name for field in dataclasses.fields(Layers)}
  assert common - set(default.get_config().model) == others


# DenseNet's, which take long, are counted by its own tests.
@pytest.mark.parametrize('model', [m for m in MODELS if m != 'densenet'])
def test_every_variant_is_a_network(model):
  for variant in getattr(lookup.find('models', model), 'VARIANTS', ()):
    with_variant = network(model, 'batch', 10, variant=variant)
    assert models.shapes(with_variant, 224)


@pytest.mark.parametrize('model', MODELS)
def test_nchw_is_converted(model):
  x_NHWC = images(size_of(model))[:, :-1]
  with_nhwc, _ = shapes(small(model), x_NHWC)
  network = small(model, layers={'input_format': 'NCHW'})
  with_nchw, _ = shapes(network, x_NHWC.transpose(0, 3, 1, 2))
  assert with_nchw == with_nhwc


@pytest.mark.parametrize('model', MODELS)
def test_logits_may_keep_their_positions(model):
  network = small(model, layers={'squeeze': False})
  _, (logits, _) = shapes(network, images(size_of(model)))
  N, _, _, K = logits.shape
  assert (N, K) == (2, 10)


@pytest.mark.parametrize('model', ['nin', 'resnet'])
def test_neither_changes_the_logits(model):
  x_NHWC, variables = initial(model)
  expected_NK, _ = small(model).apply(variables, x_NHWC, train=False)
  fields = {'input_format': 'NCHW', 'squeeze': False}
  logits, _ = small(model, layers=fields).apply(
    variables, x_NHWC.transpose(0, 3, 1, 2), train=False
  )
  np.testing.assert_allclose(
    logits.mean((1, 2)), expected_NK, rtol=1e-4, atol=1e-6
  )


@pytest.mark.parametrize('model', MODELS)
def test_images_that_are_too_small_are_refused_with_the_least_size(model):
  least = smallest_size(small(model))
  models.shapes(small(model), least)
  if least == 1:
    return
  words = rf'{least - 1}x{least - 1} pixels are too small .* {least}x{least} or'
  with pytest.raises(ValueError, match=words):
    models.shapes(small(model), least - 1)


def test_a_refusal_reaches_other_processes_with_its_message():
  with pytest.raises(models.TooSmall) as error:
    models.shapes(network('resnet', num_classes=10), 10)
  received = pickle.loads(pickle.dumps(error.value))
  assert isinstance(received, ValueError)
  assert str(received) == str(error.value)
  assert 'needs 17x17 or more' in str(received)


def test_maxout_keeps_its_gradient_where_it_is_compiled(assert_close):
  """XLA may compute what a maximum is compared with a second time."""
  random = np.random.RandomState(0)
  draw = lambda *shape: jnp.asarray(random.normal(1, 2, shape), jnp.float32)
  x, dy = draw(8, 3, 2, 6), draw(8, 3, 2, 3)
  norm = lookup.find('norms', 'batch').Norm()
  fresh = norm.init(jax.random.key(0), x, train=True)

  def layer(x):
    y = norm.apply(fresh, x, train=True)
    return _activations.apply('maxout', y, name='maxout')

  pulled = lambda x: jax.vjp(layer, x)[1](dy)
  # As users compile it, not as these tests do.
  program = (
    jax.jit(pulled)
    .lower(x)
    .compile(
      {
        'xla_backend_optimization_level': 3,
        'xla_llvm_disable_expensive_passes': False,
      }
    )
  )
  assert_close(program(x), pulled(x), rtol=1e-5)


def test_maxout_is_refused_where_the_norm_is_the_activation():
  layers = {'activation': 'maxout'}
  with pytest.raises(ValueError, match=r'block_1/conv_1 the normalizer is the'):
    models.shapes(small('vgg', 'evonorm_s0', layers), size_of('vgg'))


@pytest.mark.parametrize('model', MODELS)
def test_what_are_no_images_is_refused(model):
  network = small(model)
  init = functools.partial(network.init, jax.random.key(0), train=False)
  with pytest.raises(ValueError, match=r'shape \(16, 16, 3\).*x\[None\]'):
    init(jnp.zeros((16, 16, 3)))
  with pytest.raises(ValueError, match=r'dtype uint8: needs floating'):
    init(jnp.zeros((2, 16, 16, 3), jnp.uint8))
  with pytest.raises(ValueError, match=r'shape \(2, 16, 16, 0\)'):
    init(jnp.zeros((2, 16, 16, 0)))
  alone = network.clone(num_classes=1)
  with pytest.raises(ValueError, match=r'num_classes = 1: needs 2 or more'):
    alone.init(jax.random.key(0), jnp.zeros((2, 16, 16, 3)), train=False)


@pytest.mark.parametrize('model', MODELS)
def test_what_an_architecture_does_not_know_is_refused(model):
  file = lookup.find('models', model)
  fields = {field.name for field in dataclasses.fields(file.Model)}
  wordy = {*getattr(file, 'CHOICES', ()), *({'stem', 'variant'} & fields)}
  for name in wordy:
    with pytest.raises(
      ValueError, match=rf"{name} = 'papre': this network has"
    ):
      models.shapes(small(model, **{name: 'papre'}), size_of(model))
  # Every field of text is among them.
  texts = {f.name for f in dataclasses.fields(file.Model) if f.type is str}
  assert texts <= wordy


@pytest.mark.parametrize('model', MODELS)
def test_images_of_other_channels_than_the_parameters_are_refused(model):
  x_NHWC, variables = initial(model)
  with pytest.raises(ValueError, match=r'made for other images'):
    small(model).apply(variables, x_NHWC[..., :1], train=False)


@pytest.mark.parametrize(
  ('model', 'activation'),
  [
    *itertools.product(MODELS, OWN_SHAPES),
    *(('lenet', name) for name in _activations.NAMES if name not in OWN_SHAPES),
  ],
)
def test_models_run_with_every_activation(model, activation):
  network = small(model, layers={'activation': activation})
  if activation == 'maxout' and model in NO_MAXOUT:
    with pytest.raises(ValueError, match=r"activation = 'maxout': "):
      models.shapes(network, size_of(model))
    return
  _, (logits_NK, _) = shapes(network, images(size_of(model)))
  assert logits_NK.shape == (2, 10)


@pytest.mark.parametrize('model', [m for m in MODELS if m != 'lstm'])
def test_a_norm_after_the_activation_leaves_the_bias(model):
  """And with it the number of parameters grows, not that of statistics."""
  count = lambda tree: sum(leaf.size for leaf in jax.tree.leaves(tree))
  before = models.shapes(small(model), size_of(model))
  after = models.shapes(
    small(model, layers={'norm_position': 'after'}), size_of(model)
  )
  assert count(after['params']) > count(before['params'])
  assert count(after['batch_stats']) == count(before['batch_stats'])


def test_an_initializer_reaches_every_kernel():
  fields = {'initializer': 'truncated_normal', 'init_std': 1e-5}
  init = functools.partial(small('lenet', layers=fields).init, train=False)
  params = jax.jit(init)(jax.random.key(0), images(16))['params']
  for path, leaf in jax.tree_util.tree_leaves_with_path(params):
    if path[-1].key == 'kernel':
      assert 0 < jnp.abs(leaf).max() < 3e-5, path


@pytest.mark.parametrize('initializer', _initializers.NAMES)
def test_initial_kernels_are_as_named(initializer):
  inputs, outputs = 300, 200
  x = jnp.asarray(
    np.random.RandomState(0).normal(1, 3, (64, inputs)), 'float32'
  )
  layer = nn.Dense(outputs)
  if initializer == 'lsuv':
    init = _initializers.unit_variance(layer, x)
  else:
    init = _initializers.find(initializer, 0.02)
  kernel = init(jax.random.key(0), (inputs, outputs))
  std = {
    'xavier': math.sqrt(2 / (inputs + outputs)),
    'kaiming': math.sqrt(2 / inputs),
    'orthogonal': math.sqrt(1 / inputs),
    'normal': 0.02,
    'truncated_normal': 0.02 * 0.8796,  # what truncation leaves
    'lsuv': float(kernel.std()),
  }[initializer]
  assert kernel.std() == pytest.approx(std, rel=0.02)
  if initializer == 'lsuv':
    assert (x @ kernel).std() == pytest.approx(1, rel=1e-4)
  if initializer in ('orthogonal', 'lsuv'):
    products = kernel.T @ kernel
    identity = products[0, 0] * jnp.eye(outputs)
    np.testing.assert_allclose(products, identity, atol=1e-4 * products[0, 0])


def test_lsuv_gives_every_layer_outputs_of_deviation_one():
  network = small('lenet', 'none', layers={'initializer': 'lsuv'})
  x_NHWC = images(16, N=8)
  variables = network.init(jax.random.key(0), x_NHWC, train=False)
  _, taps = network.apply(variables, x_NHWC, train=False)
  for name, x in taps.items():
    assert x.std() == pytest.approx(1, rel=1e-4), name
