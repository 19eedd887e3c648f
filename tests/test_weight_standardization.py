"""Standardized kernels and the layers that use them."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.models import Layers, _standardized, mlp
from bnresearch.norms import none
from bnresearch.ops import weight_standardization as ws

KERNELS = [(12, 5), (3, 2, 4, 5)]
KINDS = ('standard', 'scaled')


def kernel(shape, seed=0, std=0.1):
  """Returns weights; each output channel has moments of its own."""
  random = np.random.RandomState(seed)
  W = random.normal(size=shape) * random.uniform(0.5, 2, shape[-1])
  return jnp.asarray(std * (W + random.normal(0, 1, shape[-1])), jnp.float32)


def gain(C=5, seed=1):
  random = np.random.RandomState(seed)
  return jnp.asarray(random.uniform(0.5, 2, C), jnp.float32)


def exact(W, *, gain_C=None, epsilon):
  """Returns both formulas in NumPy and float64; with a gain, the scaled one."""
  W = np.asarray(W, np.float64)
  axes = tuple(range(W.ndim - 1))
  mean, var = W.mean(axes), W.var(axes)
  if gain_C is None:
    return (W - mean) / np.sqrt(var + epsilon)
  fan_in = W.size // W.shape[-1]
  gain_C = np.asarray(gain_C, np.float64)
  return gain_C * (W - mean) / np.sqrt(np.maximum(var * fan_in, epsilon))


# The kernels.


@pytest.mark.parametrize('epsilon', [1e-5, 0.1])
@pytest.mark.parametrize('shape', KERNELS)
def test_the_standard_kernel_is_the_formula_in_float64(
  shape, epsilon, assert_close
):
  expected = exact(kernel(shape), epsilon=epsilon)
  assert_close(ws.standard(kernel(shape), epsilon), expected, rtol=1e-6)


# The second epsilon is above the variance times the fan-in of some channels.
@pytest.mark.parametrize('epsilon', [1e-4, 0.1])
@pytest.mark.parametrize('shape', KERNELS)
def test_the_scaled_kernel_is_the_formula_in_float64(
  shape, epsilon, assert_close
):
  expected = exact(kernel(shape), gain_C=gain(), epsilon=epsilon)
  actual = ws.scaled(kernel(shape), gain(), epsilon)
  assert_close(actual, expected, rtol=1e-6)


def test_epsilons_are_those_of_the_papers_and_their_code(assert_close):
  W = kernel((12, 5), std=1e-3)
  assert_close(ws.standard(W), exact(W, epsilon=1e-5), rtol=1e-5)
  expected = exact(W, gain_C=gain(), epsilon=1e-4)
  assert_close(ws.scaled(W, gain()), expected, rtol=1e-5)


@pytest.mark.parametrize('shape', KERNELS)
def test_values_and_gradients_are_those_of_torch(shape, assert_close):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  W, gain_C, cotangent = kernel(shape), gain(), kernel(shape, seed=2)

  def torch_leaf(value):
    return torch.tensor(np.asarray(value, np.float64)).requires_grad_()

  W_torch, gain_torch = torch_leaf(W), torch_leaf(gain_C)
  axes = tuple(range(len(shape) - 1))
  var, mean = torch.var_mean(W_torch, axes, correction=0)
  by_hand = {
    'standard': (W_torch - mean) * torch.rsqrt(var + 1e-5),
    'scaled': (W_torch - mean)
    * gain_torch
    * torch.rsqrt(torch.clamp(var * (W.size // 5), min=1e-4)),
  }
  ours = {'standard': lambda W, _: ws.standard(W), 'scaled': ws.scaled}
  for kind in KINDS:
    y, vjp = jax.vjp(ours[kind], W, gain_C)
    dW, d_gain = vjp(cotangent)
    wanted = (W_torch,) if kind == 'standard' else (W_torch, gain_torch)
    expected = torch.autograd.grad(
      by_hand[kind], wanted, torch_leaf(cotangent).detach(), retain_graph=True
    )
    assert_close(y, by_hand[kind].detach(), rtol=1e-5)
    assert_close((dW, d_gain)[: len(wanted)], expected, rtol=1e-5)


def test_a_mean_far_from_zero_is_subtracted_all_the_same(assert_close):
  W = kernel((300, 5)) + 100
  assert_close(ws.standard(W), exact(W, epsilon=1e-5), rtol=1e-3)
  expected = exact(W, gain_C=gain(), epsilon=1e-4)
  assert_close(ws.scaled(W, gain()), expected, rtol=1e-3)


@pytest.mark.parametrize('kind', KINDS)
def test_a_constant_kernel_becomes_zero_and_its_gradient_is_finite(kind):
  def use(W):
    new = ws.standard(W) if kind == 'standard' else ws.scaled(W, gain())
    return (new * kernel(W.shape, seed=2)).sum(), new

  gradient, new = jax.grad(use, has_aux=True)(jnp.full((12, 5), 0.3))
  np.testing.assert_allclose(new, 0, atol=1e-4)
  assert jnp.isfinite(gradient).all()


def test_bfloat16_kernels_are_standardized_in_float32():
  W = jnp.asarray(kernel((12, 5)), 'bfloat16')
  expected = ws.standard(W.astype('float32')).astype('bfloat16')
  assert ws.standard(W).dtype == jnp.bfloat16
  np.testing.assert_array_equal(ws.standard(W), expected)
  expected = ws.scaled(W.astype('float32'), gain()).astype('bfloat16')
  assert ws.scaled(W, gain()).dtype == jnp.bfloat16
  np.testing.assert_array_equal(ws.scaled(W, gain()), expected)


def test_the_scaled_kernel_keeps_the_variance_of_centred_inputs():
  random = np.random.RandomState(0)
  x = jnp.asarray(random.normal(0, 1.5, (4000, 200)), jnp.float32)
  W = ws.scaled(kernel((200, 5), std=7.0), jnp.ones(5))
  np.testing.assert_allclose((x @ W).std(0), 1.5, rtol=0.05)


# The layers.

LAYERS = {
  'dense': (nn.Dense, {'features': 5}, (7, 12)),
  'conv': (nn.Conv, {'features': 5, 'kernel_size': (3, 3)}, (2, 6, 6, 4)),
  'grouped': (
    nn.Conv,
    {'features': 6, 'kernel_size': (3, 3), 'feature_group_count': 2},
    (2, 6, 6, 4),
  ),
}


def layers(name, kind, **options):
  """Returns a layer with a standardized kernel, the plain one, and an input."""
  cls, arguments, shape = LAYERS[name]
  arguments = arguments | options
  x = jnp.asarray(np.random.RandomState(3).normal(1, 2, shape), jnp.float32)
  return _standardized.layer(cls, kind)(**arguments), cls(**arguments), x


def shaken(params, seed=4):
  random = np.random.RandomState(seed)
  return jax.tree.map(
    lambda p: p + jnp.asarray(random.normal(0, 0.3, p.shape), p.dtype), params
  )


def standardized(params, kind):
  """Returns the parameters of the plain layer that does the same."""
  new = {key: value for key, value in params.items() if key != 'gain'}
  W = params['kernel']
  if kind == 'standard':
    return new | {'kernel': ws.standard(W)}
  return new | {'kernel': ws.scaled(W, params['gain'])}


@pytest.mark.parametrize('use_bias', [False, True])
@pytest.mark.parametrize('name', LAYERS)
@pytest.mark.parametrize('kind', KINDS)
def test_initial_parameters_are_those_of_the_plain_layer_and_the_gain(
  kind, name, use_bias
):
  layer, plain, x = layers(name, kind, use_bias=use_bias)
  params = layer.init(jax.random.key(0), x)['params']
  expected = plain.init(jax.random.key(0), x)['params']
  if kind == 'scaled':
    expected = expected | {'gain': jnp.ones(plain.features)}
  jax.tree.map(np.testing.assert_array_equal, params, expected)


@pytest.mark.parametrize('name', LAYERS)
@pytest.mark.parametrize('kind', KINDS)
def test_output_and_gradients_are_those_with_the_standardized_kernel(
  kind, name, assert_close
):
  layer, plain, x = layers(name, kind)
  params = shaken(layer.init(jax.random.key(0), x)['params'])

  def ours(params, x):
    return layer.apply({'params': params}, x)

  def theirs(params, x):
    return plain.apply({'params': standardized(params, kind)}, x)

  y, vjp = jax.vjp(jax.jit(ours), params, x)
  expected, expected_vjp = jax.vjp(theirs, params, x)
  assert_close(y, expected, rtol=1e-6)
  assert_close(vjp(jnp.sin(y)), expected_vjp(jnp.sin(y)), rtol=1e-5)


def test_the_parameters_stay_as_they_are_when_the_layer_is_applied():
  layer, _, x = layers('dense', 'scaled')
  variables = {'params': shaken(layer.init(jax.random.key(0), x)['params'])}
  _, new = layer.apply(variables, x, mutable=['params'])
  jax.tree.map(np.testing.assert_array_equal, new, variables)


def test_a_layer_without_standardization_is_the_plain_one():
  assert _standardized.layer(nn.Conv, 'none') is nn.Conv


def test_an_unknown_kind_is_refused():
  with pytest.raises(
    ValueError,
    match="weight_standardization = 'Scaled': needs one of none, standard, sca",
  ):
    _standardized.layer(nn.Dense, 'Scaled')


# The network.


@pytest.mark.parametrize('kind', ['none', *KINDS])
def test_the_hidden_layers_of_the_mlp_are_standardized_and_the_logits_not(
  kind, assert_close
):
  layers = Layers(
    norm=lambda path: none.Norm, activation='relu', weight_standardization=kind
  )
  model = mlp.Model(3, layers, features=(6, 5))
  x = jnp.asarray(
    np.random.RandomState(0).normal(1, 1, (4, 2, 2, 2)), 'float32'
  )
  params = shaken(model.init(jax.random.key(0), x, train=True)['params'])
  logits, taps = model.apply({'params': params}, x, train=True)
  h = x.reshape(4, -1)
  for name in ('hidden_1', 'hidden_2', 'logits'):
    p = params[name]
    gained = kind == 'scaled' and name != 'logits'
    assert set(p) == {'kernel', 'bias'} | ({'gain'} if gained else set())
    if kind != 'none' and name != 'logits':
      p = standardized(p, kind)
    u = h @ p['kernel'] + p['bias'][None]
    assert_close(taps.get(name, logits), u, rtol=1e-5)
    h = jnp.maximum(u, 0)
