"""Norms of one example at a time, against float64, flax and PyTorch."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import lookup
from tests.traits import says

C = 6
FLAT, IMAGES = (5, C), (4, 3, 5, C)
NAMES = ('affine', 'filter_response', 'group', 'instance', 'layer', 'rms')
NORMALIZING = tuple(name for name in NAMES if name != 'affine')
CASES = [
  (name, shape)
  for name in NAMES
  for shape in (FLAT, IMAGES)
  if shape != FLAT or not says(name, 'needs_positions')
]


def make(name, **options):
  if name == 'group':
    options = {'channel_groups': 4} | options  # gcd(6, 4) = 2 groups of 3
  return lookup.find('norms', name).Norm(**options)


def batch(shape, seed=0):
  """Returns Gaussian data; examples and channels have moments of their own."""
  random = np.random.RandomState(seed)
  ones = (1,) * (len(shape) - 2)
  x = random.normal(size=shape) * random.uniform(0.5, 3, shape[-1])
  x += random.normal(1, 2, (shape[0], *ones, shape[-1]))
  return jnp.asarray(x, jnp.float32)


def shaken(norm, x, seed=1):
  """Returns parameters none of which has its initial value."""
  random = np.random.RandomState(seed)
  params = norm.init(jax.random.key(0), x, train=False)['params']
  return {
    name: jnp.asarray(random.uniform(0.2, 1.5, leaf.shape), jnp.float32)
    for name, leaf in sorted(params.items())
  }


def output(norm, params, x):
  return norm.apply({'params': params}, x, train=True)


def pulled_back(function, params, x):
  """Returns output and gradients, by a cotangent that differs everywhere."""
  y, vjp = jax.vjp(function, params, x)
  return y, *vjp(batch(x.shape, seed=7))


def standardized(x, axes, epsilon):
  mean, var = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
  return (x - mean) / np.sqrt(var + epsilon)


def exact(name, x, params, epsilon):
  """Returns the formula of each norm in NumPy and float64."""
  x = np.asarray(x, np.float64)
  params = jax.tree.map(lambda p: np.asarray(p, np.float64), params)
  positions = tuple(range(1, x.ndim - 1))
  if name == 'group':
    halves = [
      standardized(half, (*positions, x.ndim - 1), epsilon)
      for half in np.split(x, 2, axis=-1)
    ]
    x = np.concatenate(halves, axis=-1)
  elif name == 'layer':
    x = standardized(x, (*positions, x.ndim - 1), epsilon)
  elif name == 'instance':
    x = standardized(x, positions, epsilon)
  elif name in ('rms', 'filter_response'):
    axes = (*positions, x.ndim - 1) if name == 'rms' else positions
    x = x / np.sqrt((x**2).mean(axes, keepdims=True) + epsilon)
  y = params.get('scale', 1) * x + params.get('bias', 0)
  return np.maximum(y, params.get('tau', -np.inf))


# All of them.


@pytest.mark.parametrize('epsilon', [1e-5, 0.1])
@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_the_output_is_the_formula_in_float64(
  name, shape, epsilon, assert_close
):
  norm = make(name, **({} if name == 'affine' else {'epsilon': epsilon}))
  x = batch(shape)
  params = shaken(norm, x)
  expected = exact(name, x, params, epsilon)
  assert_close(output(norm, params, x), expected, rtol=1e-6)


@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_neither_train_nor_mask_changes_the_output(name, shape):
  norm, x = make(name), batch(shape)
  variables = {'params': shaken(norm, x)}
  y = norm.apply(variables, x, train=False)
  mask_N = jnp.arange(len(x)) % 2 == 0
  for train in (False, True):
    same = norm.apply(variables, x, train=train, mask=mask_N)
    np.testing.assert_array_equal(same, y)


@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_bfloat16_is_computed_in_float32_and_rounded_once(name, shape):
  norm, x = make(name), jnp.asarray(batch(shape), 'bfloat16')
  params = shaken(norm, x)
  expected = output(norm, params, x.astype('float32')).astype('bfloat16')
  np.testing.assert_array_equal(output(norm, params, x), expected)


@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_float64_stays_float64(name, shape):
  norm, params = make(name), shaken(make(name), batch(shape))
  with jax.enable_x64(True):
    x = np.random.RandomState(0).normal(2, 3, shape)
    y = output(norm, params, x)
    assert y.dtype == jnp.float64
    expected = exact(name, x, params, getattr(norm, 'epsilon', 0))
    np.testing.assert_allclose(y, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize('name', ['group', 'instance', 'layer'])
def test_a_mean_far_from_zero_is_subtracted_all_the_same(name):
  x = np.random.RandomState(0).normal(1e4, 1, (4, 8, 8, C))
  x = jnp.asarray(x, jnp.float32)
  norm = make(name)
  expected = exact(name, x, {}, norm.epsilon)
  y = norm.apply(norm.init(jax.random.key(0), x, train=True), x, train=True)
  np.testing.assert_allclose(y, expected, atol=0.01)


# Options.


@pytest.mark.parametrize('initial_scale', [1.0, 0.0])
@pytest.mark.parametrize('name', NAMES)
def test_parameters_start_as_the_docstring_says(name, initial_scale):
  norm = make(name, initial_scale=initial_scale)
  params = norm.init(jax.random.key(0), batch(IMAGES), train=True)['params']
  expected = {'scale': initial_scale, 'bias': 0}
  expected |= {'tau': 0} if name == 'filter_response' else {}
  if name == 'rms':
    del expected['bias']
  assert set(params) == set(expected)
  for key, value in expected.items():
    np.testing.assert_array_equal(params[key], np.full(C, value))


@pytest.mark.parametrize('use_scale', [False, True])
@pytest.mark.parametrize('use_bias', [False, True])
@pytest.mark.parametrize('name', NAMES)
def test_scale_and_bias_can_be_left_out(
  name, use_scale, use_bias, assert_close
):
  used = {'scale': use_scale, 'bias': use_bias}
  options = {'use_scale': use_scale, 'use_bias': use_bias}
  if name == 'rms':
    del used['bias'], options['use_bias']
  norm, x = make(name, **options), batch(IMAGES)
  params = norm.init(jax.random.key(0), x, train=True).get('params', {})
  assert set(params) - {'tau'} == {key for key in used if used[key]}
  params = {k: v for k, v in shaken(make(name), x).items() if k in params}
  expected = exact(name, x, params, getattr(norm, 'epsilon', 0))
  assert_close(output(norm, params, x), expected, rtol=1e-5)


@pytest.mark.parametrize('name', NAMES)
def test_a_frozen_affine_is_applied_and_gets_no_gradient(name, assert_close):
  x = batch(IMAGES)
  params = shaken(make(name), x)

  def results(norm):
    return pulled_back(lambda p, x: output(norm, p, x), params, x)

  y, d_params, dx = results(make(name, frozen_affine=True))
  y_learned, d_learned, dx_learned = results(make(name))
  assert_close([y, dx], [y_learned, dx_learned], rtol=1e-6)
  for key, gradient in d_params.items():
    frozen = key in ('scale', 'bias')
    assert bool(jnp.all(gradient == 0)) == frozen
    assert jnp.any(d_learned[key] != 0)


# flax.linen: values, gradients and the tree of parameters.


def linen(name, epsilon):
  everything = {'reduction_axes': (1, 2, 3), 'feature_axes': -1}
  two_pass = {'epsilon': epsilon, 'use_fast_variance': False}
  return {
    'group': lambda: nn.GroupNorm(num_groups=2, **two_pass),
    'instance': lambda: nn.InstanceNorm(**two_pass),
    'layer': lambda: nn.LayerNorm(**everything, **two_pass),
    'rms': lambda: nn.RMSNorm(**everything, epsilon=epsilon),
  }[name]()


@pytest.mark.parametrize('name', ['group', 'instance', 'layer', 'rms'])
def test_values_gradients_and_parameters_are_those_of_linen(name, assert_close):
  ours, theirs, x = make(name, epsilon=0.01), linen(name, 0.01), batch(IMAGES)
  initial = ours.init(jax.random.key(0), x, train=True)
  jax.tree.map(
    np.testing.assert_array_equal, initial, theirs.init(jax.random.key(0), x)
  )
  params = shaken(ours, x)
  assert_close(
    pulled_back(lambda p, x: output(ours, p, x), params, x),
    pulled_back(lambda p, x: theirs.apply({'params': p}, x), params, x),
    rtol=1e-5,
  )


@pytest.mark.parametrize('shape', [FLAT, IMAGES])
def test_affine_is_batch_norm_of_mean_0_and_variance_1(shape, assert_close):
  x, ours = batch(shape), make('affine')
  stats = {'mean': jnp.zeros(C), 'var': jnp.ones(C)}
  theirs = nn.BatchNorm(use_running_average=True, epsilon=0)
  assert_close(
    pulled_back(lambda p, x: output(ours, p, x), shaken(ours, x), x),
    pulled_back(
      lambda p, x: theirs.apply({'params': p, 'batch_stats': stats}, x),
      shaken(ours, x),
      x,
    ),
    rtol=1e-6,
  )


# Groups of channels.


@pytest.mark.parametrize(
  ('width', 'channel_groups', 'groups'),
  [(64, 32, 32), (100, 32, 4), (48, 32, 16), (7, 32, 1), (6, 9, 3), (6, 6, 6)],
)
def test_the_groups_are_the_most_that_divide_both(
  width, channel_groups, groups, assert_close
):
  x = batch((2, 3, 3, width))
  y = make('group', channel_groups=channel_groups, epsilon=0.01).apply(
    {'params': {'scale': jnp.ones(width), 'bias': jnp.zeros(width)}},
    x,
    train=True,
  )
  theirs = nn.GroupNorm(
    groups, epsilon=0.01, use_bias=False, use_scale=False
  ).apply({}, x)
  assert_close(y, theirs, rtol=1e-5)


@pytest.mark.parametrize(
  ('channel_groups', 'other'), [(1, 'layer'), (C, 'instance')]
)
def test_one_group_is_layer_norm_and_one_channel_is_instance_norm(
  channel_groups, other, assert_close
):
  x = batch(IMAGES)
  group = make('group', channel_groups=channel_groups, epsilon=0.01)
  params = shaken(group, x)
  expected = output(make(other, epsilon=0.01), params, x)
  assert_close(output(group, params, x), expected, rtol=1e-6)


def test_a_group_of_one_value_leaves_nothing_of_the_input():
  norm, x = make('group', channel_groups=C), batch(FLAT)
  params = shaken(norm, x)
  expected = jnp.broadcast_to(params['bias'], x.shape)
  np.testing.assert_array_equal(output(norm, params, x), expected)


# Instances.


@pytest.mark.parametrize('shape', [(5, C), (5, 1, 1, C), (5, 0, 3, C)])
def test_instance_norm_refuses_an_input_without_positions(shape):
  positions = 0 if 0 in shape else 1
  with pytest.raises(
    ValueError,
    match=rf"'instance' .* shape \({shape[0]}, .*has {positions}, and needs at "
    r"least 2\. .* norm\.name, such as 'layer'",
  ):
    make('instance').init(jax.random.key(0), jnp.zeros(shape), train=True)


# Filter responses.


@pytest.mark.parametrize('epsilon', [1e-6, 0.3, -0.3])
@pytest.mark.parametrize('shape', [FLAT, (5, 1, 1, C), IMAGES])
def test_filter_responses_and_gradients_are_those_of_torch(
  shape, epsilon, assert_close
):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  norm, x = make('filter_response', learn_epsilon=True), batch(shape)
  params = shaken(norm, x) | {'epsilon': jnp.float32(epsilon)}
  y, d_params, dx = pulled_back(lambda p, x: output(norm, p, x), params, x)

  def leaf(value):
    return torch.tensor(np.asarray(value, np.float64)).requires_grad_()

  p, x_torch = {name: leaf(value) for name, value in params.items()}, leaf(x)
  x_NSC = x_torch.reshape(len(x), -1, C)
  root = torch.sqrt((x_NSC**2).mean(1, keepdim=True) + p['epsilon'].abs())
  y_torch = torch.maximum(p['scale'] * x_NSC / root + p['bias'], p['tau'])
  y_torch = y_torch.reshape(shape)
  y_torch.backward(leaf(batch(shape, seed=7)).detach())

  assert_close(y, y_torch.detach(), rtol=1e-6)
  assert_close(dx, x_torch.grad, rtol=1e-5)
  for name, gradient in d_params.items():
    assert_close(gradient, p[name].grad, rtol=1e-5)


def test_a_learned_epsilon_starts_at_the_field_and_is_one_for_all():
  norm = make('filter_response', learn_epsilon=True, epsilon=1e-4)
  params = norm.init(jax.random.key(0), batch(IMAGES), train=True)['params']
  assert params['epsilon'].shape == ()
  assert params['epsilon'] == jnp.float32(1e-4)


def test_filter_responses_are_rectified_until_tau_is_learned():
  x, norm = batch(IMAGES), make('filter_response')
  variables = norm.init(jax.random.key(0), x, train=True)
  y = norm.apply(variables, x, train=True)
  np.testing.assert_array_equal(y == 0, x <= 0)


def test_of_one_position_filter_response_norm_needs_to_learn_epsilon():
  with pytest.raises(ValueError, match=r'leaves the sign only\. .*1e-4'):
    make('filter_response').init(jax.random.key(0), batch(FLAT), train=True)


def test_of_one_position_filter_response_norm_leaves_the_sign():
  x = batch(FLAT)
  norm = make('filter_response', learn_epsilon=True)
  params = {
    'epsilon': jnp.float32(1e-6),
    'scale': jnp.ones(C),
    'bias': jnp.zeros(C),
    'tau': jnp.full(C, -2.0),
  }
  np.testing.assert_allclose(output(norm, params, x), jnp.sign(x), atol=1e-3)
  dx = jax.grad(lambda x: output(norm, params, x).sum())(x)
  x64 = np.asarray(x, np.float64)
  np.testing.assert_allclose(dx, 1e-6 * (x64**2 + 1e-6) ** -1.5, rtol=1e-5)
