"""Each option of batch normalization, against float64 and other libraries."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.norm_contract import subject
from bnresearch.norms.batch import Norm

N, H, W, C = 12, 3, 2, 5


def batch(seed=0, shape=(N, H, W, C)):
  """Returns data in which channels, positions and examples differ in mean."""
  random = np.random.RandomState(seed)
  x = random.normal(size=shape) * random.uniform(0.5, 3, C)
  x += random.normal(2, 3, (1, *shape[1:])) + random.normal(
    0, 2, (shape[0], *(1,) * (len(shape) - 1))
  )
  return jnp.asarray(x, jnp.float32)


def fresh(norm, x):
  return norm.init(jax.random.key(0), x, train=False)


def updated(norm, variables, x, **options):
  """Returns the output and the statistics after one training batch."""
  y, new = norm.apply(
    variables, x, train=True, mutable=['batch_stats'], **options
  )
  return y, new['batch_stats']


def exact(x):
  return np.asarray(x, np.float64).reshape(len(x), -1, C)


# Groups and masks.


@pytest.mark.parametrize('group_variance', ['within', 'pooled'])
@pytest.mark.parametrize('running_variance', ['biased', 'unbiased'])
def test_the_running_variance_is_within_groups_or_pooled(
  group_variance, running_variance, assert_close
):
  x = batch()
  norm = Norm(
    momentum=0.0,
    group_size=4,
    group_variance=group_variance,
    running_variance=running_variance,
  )
  _, stats = updated(norm, fresh(norm, x), x)
  ddof = running_variance == 'unbiased'
  groups = exact(x).reshape(3, -1, C)
  var = {
    'within': groups.var(1, ddof=ddof).mean(0),
    'pooled': groups.reshape(-1, C).var(0, ddof=ddof),
  }
  assert np.all(var['pooled'] > 1.005 * var['within']), 'no difference'
  assert_close(stats['mean'], groups.mean((0, 1)), rtol=1e-6)
  assert_close(stats['var'], var[group_variance], rtol=1e-6)


def test_a_batch_as_one_group_is_the_whole_batch(assert_close):
  x = batch()
  for variance in ('within', 'pooled'):
    one = Norm(group_size=N, group_variance=variance)
    assert_close(
      updated(one, fresh(one, x), x), updated(Norm(), fresh(one, x), x), 1e-6
    )


@pytest.mark.parametrize('group_variance', ['within', 'pooled'])
def test_groups_with_unequal_counts_enter_by_their_counts(
  group_variance, assert_close
):
  x, mask_N = batch(), np.array([1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0], bool)
  norm = Norm(momentum=0.0, group_size=4, group_variance=group_variance)
  y, stats = updated(norm, fresh(norm, x), x, mask=mask_N)
  parts = [exact(x)[:4].reshape(-1, C), exact(x)[4:5].reshape(-1, C)]
  whole = np.concatenate(parts)
  within = sum(len(p) * p.var(0) for p in parts) / sum(
    len(p) - 1 for p in parts
  )
  var = {'within': within, 'pooled': whole.var(0, ddof=1)}
  assert_close(stats['mean'], whole.mean(0), rtol=1e-6)
  assert_close(stats['var'], var[group_variance], rtol=1e-6)
  one = (parts[1] - parts[1].mean(0)) / np.sqrt(parts[1].var(0) + 1e-5)
  assert_close(y[4].reshape(-1, C), one, rtol=1e-5)


def test_linen_is_wrong_with_unequal_counts_and_this_is_not(assert_close):
  """flax issue 2417: a mean of the devices' means, whatever their counts."""
  x, mask_N = batch(), np.arange(N) < 8
  theirs = nn.BatchNorm(
    use_running_average=False, momentum=0.0, axis_name='device'
  )
  mean_C = exact(x)[mask_N].mean((0, 1))

  def on_a_device(x, mask):
    variables = theirs.init(jax.random.key(0), x)
    return theirs.apply(variables, x, mask=mask, mutable=['batch_stats'])[1]

  new = jax.vmap(on_a_device, axis_name='device')(
    x.reshape(2, 6, H, W, C), mask_N.reshape(2, 6, 1, 1, 1)
  )
  off = np.abs(new['batch_stats']['mean'][0] - mean_C).max()
  assert off > 0.05
  norm = Norm(momentum=0.0)
  _, stats = updated(norm, fresh(norm, x), x, mask=mask_N)
  assert_close(stats['mean'], mean_C, rtol=1e-6)


@pytest.mark.parametrize(
  'options',
  [
    {'backward': 'autodiff'},
    {'variance': 'one_pass'},
    {'variance': 'per_image'},
    {'stop_gradient': True},
    {'per_activation': True},
    {'frozen_statistics': True},
  ],
  ids=str,
)
def test_nan_in_what_is_masked_spoils_no_gradient(options, assert_close):
  """The default is in the contract of all norms, `test_norms.py`."""
  x, mask_N = batch(), np.arange(N) % 4 < 2
  norm = Norm(**options)
  variables = fresh(norm, x)

  @jax.jit
  def gradients(params, x):
    def scalar(params, x):
      y = norm.apply(
        {**variables, 'params': params}, x, train=True, mask=mask_N
      )
      return (jnp.where(mask_N.reshape(N, 1, 1, 1), y, 0) ** 3).sum()

    return jax.grad(scalar, argnums=(0, 1))(params, x)

  expected = gradients(variables['params'], x)
  found = gradients(variables['params'], x.at[~mask_N].set(jnp.nan))
  assert_close(found, expected, rtol=1e-6)
  np.testing.assert_array_equal(found[1][~mask_N], 0)


# Running averages.


def test_a_debiased_average_counts_what_it_has_seen_only(assert_close):
  momentum, T = 0.9, 5
  norm = Norm(momentum=momentum, debias=True)
  variables = fresh(norm, batch())
  for t in range(T):
    _, stats = updated(norm, variables, batch(t))
    variables = {**variables, 'batch_stats': stats}
  # Haiku's form: an average from zero, divided by 1 - momentum^T.
  weights = [(1 - momentum) * momentum ** (T - 1 - t) for t in range(T)]
  total = 1 - momentum**T
  means = [exact(batch(t)).mean((0, 1)) for t in range(T)]
  variances = [exact(batch(t)).reshape(-1, C).var(0, ddof=1) for t in range(T)]
  assert_close(stats['weight'], total, rtol=1e-6)
  assert_close(stats['mean'], np.average(means, 0, weights), rtol=1e-6)
  assert_close(stats['var'], np.average(variances, 0, weights), rtol=1e-6)


def test_a_masked_batch_does_not_count_for_a_debiased_average():
  norm, x = Norm(momentum=0.9, debias=True), batch()
  variables = fresh(norm, x)
  _, stats = updated(norm, variables, x, mask=np.zeros(N, bool))
  jax.tree.map(np.testing.assert_array_equal, stats, variables['batch_stats'])


# What is normalized together.


def test_per_activation_is_the_fully_connected_form(assert_close):
  x = batch()
  norm, dense = Norm(per_activation=True), Norm()
  variables = fresh(norm, x)
  assert {k: v.shape for k, v in variables['params'].items()} == {
    'scale': (H, W, C),
    'bias': (H, W, C),
  }
  flat = jax.tree.map(lambda v: v.reshape(-1), variables)
  y, stats = updated(norm, variables, x)
  y_flat, stats_flat = updated(dense, flat, x.reshape(N, -1))
  assert_close(y.reshape(N, -1), y_flat, rtol=1e-6)
  assert_close(stats['var'].reshape(-1), stats_flat['var'], rtol=1e-6)
  evaluated = norm.apply({**variables, 'batch_stats': stats}, x, train=False)
  flat['batch_stats'] = stats_flat
  assert_close(
    evaluated.reshape(N, -1),
    dense.apply(flat, x.reshape(N, -1), train=False),
    rtol=1e-6,
  )


@pytest.mark.parametrize('group_size', [0, 4])
def test_the_mean_of_the_images_variances_normalizes(group_size, assert_close):
  x = batch()
  norm = Norm(variance='per_image', momentum=0.0, group_size=group_size)
  y, stats = updated(norm, fresh(norm, x), x)
  groups = exact(x).reshape(-1, group_size or N, H * W, C)
  mean, own = groups.mean((1, 2)), groups.var(2).mean(1)
  m = groups.shape[1] * H * W
  expected = (groups - mean[:, None, None]) / np.sqrt(own[:, None, None] + 1e-5)
  assert_close(np.reshape(y, groups.shape), expected, rtol=1e-5)
  assert expected.var((1, 2)).min() > 1.05, 'images differ in little'
  assert_close(stats['mean'], mean.mean(0), rtol=1e-6)
  assert_close(stats['var'], own.mean(0) * m / (m - 1), rtol=1e-6)


def test_the_images_variances_are_merged_over_devices(assert_close):
  """A group of 8 lies on two of four devices, with unequal counts."""
  shape = (16, 2, 2, C)
  norm, x = Norm(variance='per_image', group_size=8), subject.gaussian(shape)
  program, found = functools.partial(subject.training_pass, norm), {}
  variables = fresh(norm, x)
  for devices in (1, 4):
    chosen = jax.devices('cpu')[:devices]
    arguments = subject.over_devices(chosen, variables, x, subject.MASK)
    with jax.set_mesh(arguments[1].sharding.mesh):
      found[devices] = jax.jit(program)(*arguments)
  assert_close(found[4], found[1], rtol=1e-5)


def test_the_gradient_by_the_images_variances_is_that_of_differences():
  x, option = batch(shape=(4, 2, 1, C)), {'variance': 'per_image'}
  with jax.enable_x64(True):
    x = jnp.asarray(x, jnp.float64)
    norm = Norm(**option)
    variables, dy = fresh(norm, x), jnp.sin(jnp.arange(x.size) ** 2.0)

    @jax.jit
    def loss(x):
      y = norm.apply(variables, x, train=True)
      return (y.ravel() * dy).sum()

    dx, step = jax.jit(jax.grad(loss))(x), 1e-5
    for place in ((0, 0, 0, 0), (2, 1, 0, 3), (3, 0, 0, 4)):
      moved = x.at[place].add(step), x.at[place].add(-step)
      difference = (loss(moved[0]) - loss(moved[1])) / (2 * step)
      np.testing.assert_allclose(dx[place], difference, rtol=1e-6)


def test_a_layer_without_positions_has_no_variance_per_image():
  for norm, x in (
    (Norm(variance='per_image'), batch(shape=(N, C))),
    (Norm(variance='per_image', per_activation=True), batch()),
  ):
    variables = fresh(norm, x)
    with pytest.raises(ValueError, match=r"'per_image' .* one value per image"):
      norm.apply(variables, x, train=True)
    norm.apply(variables, x, train=False)  # by the running variance


# Gradients.


def gradients(norm, x):
  """Returns the gradients of a weighted sum of outputs."""
  variables = fresh(norm, x)
  dy = jnp.sin(jnp.arange(x.size, dtype=jnp.float32)).reshape(x.shape)

  def loss(params, x):
    y = norm.apply({**variables, 'params': params}, x, train=True)
    return (y * dy).sum()

  return dy, *jax.grad(loss, argnums=(0, 1))(variables['params'], x)


def test_statistics_as_constants_leave_a_linear_map(assert_close):
  x = batch()
  dy, _, dx = gradients(Norm(stop_gradient=True), x)
  gain_C = 1 / np.sqrt(exact(x).var((0, 1)) + 1e-5)
  assert_close(dx, np.asarray(dy) * gain_C, rtol=1e-5)
  # So a constant added to x changes the loss by the gradient, which is not
  # so: the output does not change. With the whole gradient it is zero.
  assert np.abs(dx.sum((0, 1, 2))).min() > 1e-3
  _, _, dx = gradients(Norm(), x)
  assert np.abs(dx.sum((0, 1, 2))).max() < 1e-5
  both = [
    n.apply(fresh(n, x), x, train=True)
    for n in (Norm(), Norm(stop_gradient=True))
  ]
  assert_close(*both, rtol=1e-6)


def test_frozen_statistics_normalize_training_and_stay():
  norm, x = Norm(frozen_statistics=True), batch()
  variables = fresh(norm, x)
  variables['batch_stats'] = {'mean': jnp.arange(5.0), 'var': jnp.full(5, 3.0)}
  y, stats = updated(norm, variables, x)
  evaluated = Norm().apply(variables, x, train=False)
  np.testing.assert_array_equal(y, evaluated)
  jax.tree.map(np.testing.assert_array_equal, stats, variables['batch_stats'])


def test_a_frozen_affine_has_no_gradient():
  x = batch()
  _, free, dx_free = gradients(Norm(), x)
  _, frozen, dx = gradients(Norm(frozen_affine=True), x)
  for name in ('scale', 'bias'):
    assert np.abs(free[name]).min() > 1e-3
    np.testing.assert_array_equal(frozen[name], 0)
  np.testing.assert_array_equal(dx, dx_free)


def test_an_initial_scale_of_zero_closes_the_branch():
  norm, x = Norm(initial_scale=0.0), batch()
  variables = fresh(norm, x)
  np.testing.assert_array_equal(variables['params']['scale'], np.zeros(C))
  y = norm.apply(variables, x, train=True)
  np.testing.assert_array_equal(y, np.zeros_like(x))
  _, free, _ = gradients(norm, x)
  assert np.abs(free['scale']).min() > 1e-3, 'it could never open'


# Accuracy, and other libraries.


def test_at_mean_ten_thousand_the_output_has_deviation_one_and_linens_not():
  x = np.random.RandomState(0).normal(1e4, 1, (4096, C))
  x = jnp.asarray(x, jnp.float32)
  found = {}
  for name in ('two_pass', 'one_pass'):
    norm = Norm(variance=name)
    y = norm.apply(fresh(norm, x), x, train=True)
    found[name] = np.asarray(y, np.float64).std(0)
  linen = nn.BatchNorm(use_running_average=False)
  y, _ = linen.apply(
    linen.init(jax.random.key(0), x), x, mutable=['batch_stats']
  )
  found['linen'] = np.asarray(y, np.float64).std(0)
  print({name: value.round(3) for name, value in found.items()})
  np.testing.assert_allclose(found['two_pass'], 1, rtol=0.01)
  for name in ('one_pass', 'linen'):
    assert np.abs(found[name] - 1).max() > 0.1, name


@pytest.mark.parametrize('shape', [(24, C), (8, 4, 3, C)])
def test_ten_steps_are_those_of_keras(shape, assert_close):
  keras = pytest.importorskip('keras', reason='Keras is not installed')
  momentum, epsilon = 0.9, 1e-3
  theirs = keras.layers.BatchNormalization(momentum=momentum, epsilon=epsilon)
  theirs.build(shape)
  norm = Norm(momentum=momentum, epsilon=epsilon, running_variance='biased')
  variables = fresh(norm, batch(shape=shape))
  trained = [v.value for v in theirs.trainable_variables]
  running = [v.value for v in theirs.non_trainable_variables]

  @jax.jit
  def our_step(variables, x, dy):
    def forward(params, x):
      v = {**variables, 'params': params}
      return norm.apply(v, x, train=True, mutable=['batch_stats'])

    y, vjp, new = jax.vjp(forward, variables['params'], x, has_aux=True)
    return y, vjp(dy), new['batch_stats']

  @jax.jit
  def their_step(trained, running, x, dy):
    def forward(trained, x):
      return theirs.stateless_call(trained, running, x, training=True)

    y, vjp, new = jax.vjp(forward, trained, x, has_aux=True)
    return y, vjp(dy), new

  with jax.numpy_rank_promotion('allow'):  # Keras broadcasts
    for t in range(10):
      x, dy = batch(t, shape), batch(100 + t, shape)
      y, (d_params, dx), stats = our_step(variables, x, dy)
      y_keras, (d_trained, dx_keras), running = their_step(
        trained, running, x, dy
      )
      assert_close(y, y_keras, rtol=1e-5)
      assert_close(dx, dx_keras, rtol=1e-5)
      assert_close([d_params['scale'], d_params['bias']], d_trained, rtol=1e-5)
      assert_close([stats['mean'], stats['var']], list(running), rtol=1e-5)
      step = lambda p, g: p - 0.01 * g
      params = jax.tree.map(step, variables['params'], d_params)
      variables = {'params': params, 'batch_stats': stats}
      trained = jax.tree.map(step, trained, d_trained)
    y_keras, _ = theirs.stateless_call(trained, running, x, training=False)
  assert_close(norm.apply(variables, x, train=False), y_keras, rtol=1e-5)
