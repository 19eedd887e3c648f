"""Batch normalization against float64, the paper, flax and PyTorch."""

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.norms.batch import Norm

C = 5
SHAPES = [(24, C), (8, 4, 3, C)]


def batch(shape, seed=0):
  """Returns Gaussian data, each channel with its own mean and deviation."""
  random = np.random.RandomState(seed)
  x = random.normal(size=shape) * random.uniform(0.5, 3, C)
  return jnp.asarray(x + random.normal(2, 3, C), jnp.float32)


def affine(seed=1):
  """Returns parameters that are not the initial 1 and 0."""
  random = np.random.RandomState(seed)
  return {
    'scale': random.uniform(0.5, 2, C).astype(np.float32),
    'bias': random.normal(size=C).astype(np.float32),
  }


def statistics(seed=2):
  """Returns running statistics that are not the initial 0 and 1."""
  random = np.random.RandomState(seed)
  return {
    'mean': random.normal(2, 3, C).astype(np.float32),
    'var': random.uniform(0.5, 9, C).astype(np.float32),
  }


def variables(seed=1):
  return {'params': affine(seed), 'batch_stats': statistics(seed + 1)}


def updated(norm, variables, x):
  """Returns output and running statistics after one training batch."""
  y, new = norm.apply(variables, x, train=True, mutable=['batch_stats'])
  return y, {**variables, **new}


def flat64(x):
  return np.asarray(x, np.float64).reshape(-1, C)


@pytest.mark.parametrize('epsilon', [1e-5, 0.1])
@pytest.mark.parametrize('shape', SHAPES)
def test_the_output_in_training_is_algorithm_1(shape, epsilon, assert_close):
  x, params = batch(shape), affine()
  y = Norm(epsilon=epsilon).apply(variables(), x, train=True)
  exact = flat64(x)
  centred = exact - exact.mean(0)
  normalized = centred / np.sqrt((centred**2).mean(0) + epsilon)
  expected = params['scale'] * normalized + params['bias']
  assert_close(y, expected.reshape(shape), rtol=1e-6)


@pytest.mark.parametrize('shape', SHAPES)
def test_the_output_in_evaluation_is_by_running_statistics(shape, assert_close):
  x, params, stats = batch(shape), affine(), statistics()
  y = Norm(epsilon=0.1).apply(variables(), x, train=False)
  normalized = (flat64(x) - stats['mean']) / np.sqrt(stats['var'] + 0.1)
  expected = params['scale'] * normalized + params['bias']
  assert_close(y, expected.reshape(shape), rtol=1e-6)


@pytest.mark.parametrize('shape', SHAPES)
def test_gradients_are_the_papers_six_equations(shape, assert_close):
  x, params, epsilon = batch(shape), affine(), 1e-3
  dy = batch(shape, seed=3)

  def forward(params, x):
    return Norm(epsilon=epsilon).apply(
      {**variables(), 'params': params}, x, train=True
    )

  _, vjp = jax.vjp(forward, params, x)
  d_params, dx = vjp(dy)

  # Section 3, below Algorithm 1, in its order and its symbols.
  x64, dy64 = flat64(x), flat64(dy)
  m, gamma = len(x64), params['scale'].astype(np.float64)
  mu, var = x64.mean(0), x64.var(0)
  x_hat = (x64 - mu) / np.sqrt(var + epsilon)
  d_x_hat = dy64 * gamma
  d_var = (d_x_hat * (x64 - mu) * -0.5 * (var + epsilon) ** -1.5).sum(0)
  d_mu = (d_x_hat * -1 / np.sqrt(var + epsilon)).sum(0)
  d_mu += d_var * (-2 * (x64 - mu)).sum(0) / m
  d_x = d_x_hat / np.sqrt(var + epsilon) + d_var * 2 * (x64 - mu) / m + d_mu / m
  d_gamma = (dy64 * x_hat).sum(0)
  d_beta = dy64.sum(0)

  assert_close(dx, d_x.reshape(shape), rtol=1e-5)
  assert_close(d_params, {'scale': d_gamma, 'bias': d_beta}, rtol=1e-5)


def test_scale_and_bias_can_undo_the_normalization(assert_close):
  # Section 3: gamma = sqrt(Var[x]) and beta = E[x] recover the activations.
  x = batch((24, C))
  exact = flat64(x)
  params = {'scale': np.sqrt(exact.var(0) + 1e-5), 'bias': exact.mean(0)}
  params = jax.tree.map(np.float32, params)
  y = Norm().apply({**variables(), 'params': params}, x, train=True)
  assert_close(y, x, rtol=1e-6)


@pytest.mark.parametrize('running_variance', ['unbiased', 'biased'])
@pytest.mark.parametrize('shape', SHAPES)
def test_running_statistics_are_the_closed_form_of_the_average(
  shape, running_variance, assert_close
):
  momentum, T = 0.8, 6
  norm = Norm(momentum=momentum, running_variance=running_variance)
  v = norm.init(jax.random.key(0), batch(shape), train=True)
  step = jax.jit(lambda v, x: updated(norm, v, x)[1])
  # mean and var after T batches: momentum^T of the initial 0 and 1, and
  # (1 - momentum) * momentum^age of each batch's.
  mean, var = np.zeros(C), momentum**T * np.ones(C)
  for t in range(T):
    x = batch(shape, seed=t)
    v = step(v, x)
    weight = (1 - momentum) * momentum ** (T - 1 - t)
    mean += weight * flat64(x).mean(0)
    var += weight * flat64(x).var(0, ddof=running_variance == 'unbiased')
  assert_close(v['batch_stats'], {'mean': mean, 'var': var}, rtol=1e-5)


def test_initializing_in_training_mode_leaves_the_statistics_at_zero_and_one():
  v = Norm().init(jax.random.key(0), batch((24, C)), train=True)
  np.testing.assert_array_equal(v['batch_stats']['mean'], np.zeros(C))
  np.testing.assert_array_equal(v['batch_stats']['var'], np.ones(C))


@pytest.mark.parametrize('shape', SHAPES)
def test_a_mean_far_from_zero_is_normalized_all_the_same(shape):
  x = jnp.asarray(np.random.RandomState(0).normal(1e4, 1, shape), jnp.float32)
  norm = Norm(momentum=0.0, running_variance='biased')
  v = norm.init(jax.random.key(0), x, train=False)
  y, v = updated(norm, v, x)
  np.testing.assert_allclose(flat64(y).std(0), 1, rtol=0.01)
  np.testing.assert_allclose(
    v['batch_stats']['var'], flat64(x).var(0), rtol=0.01
  )


def test_bfloat16_input_is_normalized_by_float32_statistics(assert_close):
  x = jnp.asarray(batch((24, C)), 'bfloat16')
  exact = flat64(x)
  y, v = updated(Norm(momentum=0.0, running_variance='biased'), variables(), x)
  stats = {'mean': exact.mean(0), 'var': exact.var(0)}
  assert_close(v['batch_stats'], stats, rtol=1e-6)
  expected = Norm().apply(variables(), x.astype('float32'), train=True)
  # The one rounding is that of the output: 8 bits.
  np.testing.assert_array_equal(y, expected.astype('bfloat16'))


# Options.


@pytest.mark.parametrize('use_scale', [False, True])
@pytest.mark.parametrize('use_bias', [False, True])
def test_scale_and_bias_can_be_left_out(use_scale, use_bias, assert_close):
  norm, x = Norm(use_scale=use_scale, use_bias=use_bias), batch((24, C))
  fresh = norm.init(jax.random.key(0), x, train=False)
  used = {'scale': use_scale, 'bias': use_bias}
  assert set(fresh.get('params', {})) == {k for k in used if used[k]}
  params = {k: v for k, v in affine().items() if used[k]}
  y = norm.apply({**variables(), 'params': params}, x, train=True)
  exact = flat64(x)
  expected = (exact - exact.mean(0)) / np.sqrt(exact.var(0) + 1e-5)
  expected = expected * params.get('scale', 1) + params.get('bias', 0)
  assert_close(y, expected, rtol=1e-6)


def test_one_value_per_channel_has_no_unbiased_running_variance():
  with pytest.raises(
    ValueError, match=r'1 value per channel: .*norm\.running_variance'
  ):
    updated(Norm(), variables(), batch((1, C)))


def test_one_value_per_channel_is_normalized_where_nothing_needs_unbiased():
  x, bias = batch((1, C)), affine()['bias']
  y = Norm().apply(variables(), x, train=True)  # updates no statistics
  np.testing.assert_array_equal(y[0], bias)
  y, _ = updated(Norm(running_variance='biased'), variables(), x)
  np.testing.assert_array_equal(y[0], bias)
  # Of one example with many positions, the variance is known.
  updated(Norm(), variables(), batch((1, 4, 3, C)))


# flax.linen.BatchNorm.


def linen(*, train):
  return nn.BatchNorm(
    use_running_average=not train,
    momentum=0.9,
    epsilon=1e-5,
    use_fast_variance=False,
  )


OURS = Norm(momentum=0.9, epsilon=1e-5, running_variance='biased')


@pytest.mark.parametrize('shape', SHAPES)
def test_tree_and_values_are_those_of_linen(shape, assert_close):
  x = batch(shape)
  ours = OURS.init(jax.random.key(0), x, train=True)
  theirs = linen(train=True).init(jax.random.key(0), x)
  assert jax.tree.structure(ours) == jax.tree.structure(theirs)
  jax.tree.map(np.testing.assert_array_equal, ours, theirs)
  for t in range(3):
    x = batch(shape, seed=t)
    y, ours = updated(OURS, ours, x)
    y_theirs, new = linen(train=True).apply(theirs, x, mutable=['batch_stats'])
    theirs = {**theirs, **new}
    assert_close(y, y_theirs, rtol=1e-6)
    assert_close(ours, theirs, rtol=1e-6)


def test_checkpoints_interchange_with_linen_both_ways(assert_close):
  x = batch((24, C))
  _, ours = updated(OURS, variables(), x)
  _, new = linen(train=True).apply(
    variables(seed=5), x, mutable=['batch_stats']
  )
  theirs = {**variables(seed=5), **new}

  saved = flax.serialization.to_bytes(ours)
  loaded = flax.serialization.from_bytes(theirs, saved)
  assert_close(
    linen(train=False).apply(loaded, x),
    OURS.apply(ours, x, train=False),
    rtol=1e-6,
  )
  saved = flax.serialization.to_bytes(theirs)
  loaded = flax.serialization.from_bytes(ours, saved)
  assert_close(
    OURS.apply(loaded, x, train=False),
    linen(train=False).apply(theirs, x),
    rtol=1e-6,
  )


# torch.nn.BatchNorm.


@pytest.mark.parametrize('shape', SHAPES)
def test_ten_steps_are_those_of_torch(shape, assert_close):
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  momentum = 0.9
  kind = torch.nn.BatchNorm1d if len(shape) == 2 else torch.nn.BatchNorm2d
  # The conventions: their momentum is the weight of the new value.
  theirs = kind(C, eps=1e-5, momentum=1 - momentum)
  norm = Norm(momentum=momentum, epsilon=1e-5, running_variance='unbiased')
  params = affine()
  with torch.no_grad():
    theirs.weight.copy_(torch.from_numpy(params['scale']))
    theirs.bias.copy_(torch.from_numpy(params['bias']))

  @jax.jit
  def step(stats, x, dy):
    def forward(x, params):
      v = {'params': params, 'batch_stats': stats}
      return norm.apply(v, x, train=True, mutable=['batch_stats'])

    y, vjp, new = jax.vjp(forward, x, params, has_aux=True)
    return y, vjp(dy), new['batch_stats']

  stats = {'mean': jnp.zeros(C), 'var': jnp.ones(C)}
  for t in range(10):
    x, dy = batch(shape, seed=t), batch(shape, seed=100 + t)
    y, (dx, d_params), stats = step(stats, x, dy)
    theirs.zero_grad()
    x_torch = _channels_first(torch.tensor(np.asarray(x))).requires_grad_()
    y_torch = theirs(x_torch)
    y_torch.backward(_channels_first(torch.tensor(np.asarray(dy))))
    assert_close(y, _channels_last(y_torch.detach()), rtol=1e-5)
    assert_close(dx, _channels_last(x_torch.grad), rtol=1e-5)
    # Here large terms nearly cancel: of their size, the errors are 1e-6.
    assert_close(d_params['scale'], theirs.weight.grad, rtol=1e-4)
    assert_close(d_params['bias'], theirs.bias.grad, rtol=1e-5)
    assert_close(stats['mean'], theirs.running_mean, rtol=1e-5)
    assert_close(stats['var'], theirs.running_var, rtol=1e-5)

  theirs.eval()
  v = {'params': params, 'batch_stats': stats}
  y_torch = theirs(_channels_first(torch.tensor(np.asarray(x)))).detach()
  y = norm.apply(v, x, train=False)
  assert_close(y, _channels_last(y_torch), rtol=1e-5)


def _channels_first(x):
  return x.movedim(-1, 1).contiguous()


def _channels_last(x):
  return x.movedim(1, -1).numpy()
