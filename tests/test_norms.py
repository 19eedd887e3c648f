"""The contract of every normalizer in `bnresearch/norms`."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import lookup
from bnresearch.norm_contract import subject
from bnresearch.norm_contract.subject import (
  MASK,
  SHAPES,
  gaussian,
  states,
  training_pass,
)
from configs import default
from tests.daily import some
from tests.traits import says

NAMES = lookup.names('norms')
DTYPES = ['float32', 'bfloat16']


def norm_class(name):
  return lookup.find('norms', name).Norm


def make(name, **options):
  return norm_class(name)(**options)


def fits(name, shape):
  return len(shape) > 2 or not says(name, 'needs_positions')


def shape_of(name):
  """Returns the smallest input that the norm takes."""
  return next(shape for shape in SHAPES if fits(name, shape))


def options(name):
  fields = {field.name for field in dataclasses.fields(norm_class(name))}
  # Models set the third, whoever maps the layer the last.
  return fields - {'name', 'parent', 'activates', 'axis_name'}


CASES = [(name, s) for name in NAMES for s in SHAPES if fits(name, s)]
GROUPED = [name for name in NAMES if 'group_size' in options(name)]


@functools.partial(jax.jit, static_argnames=('norm', 'train', 'mutable'))
def run(norm, variables, x, *, train, mutable=False):
  """Returns `norm.apply`, compiled: one program, not one for each operation."""
  return norm.apply(variables, x, train=train, mutable=mutable)


@functools.partial(jax.jit, static_argnames=('norm', 'train'))
def initial(norm, x, train=False):
  return norm.init(jax.random.key(0), x, train=train)


@functools.cache
def trained(name, shape):
  """Returns variables after an update: statistics are not the initial ones."""
  norm, x = make(name), gaussian(shape)
  variables = initial(norm, x)
  _, updated = run(norm, variables, x, train=True, mutable=states(variables))
  return {**variables, **updated}


@functools.cache
def compiled_pass(name):
  """Returns the same, compiled; once for all tests that share a shape."""
  return jax.jit(functools.partial(training_pass, make(name)))


def over_devices(devices, variables, x, mask):
  """Returns them on a mesh: examples split, variables on every device."""
  chosen = jax.devices('cpu')[:devices]
  placed = subject.over_devices(chosen, variables, x, mask)
  assert len(placed[1].sharding.device_set) == devices
  return placed


def assert_finite(tree):
  for leaf in jax.tree.leaves(tree):
    assert jnp.isfinite(leaf).all()


def assert_equal(a, b):
  jax.tree.map(np.testing.assert_array_equal, a, b)


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_shape_and_dtype_are_those_of_the_input(name, shape, dtype, train):
  x = jnp.asarray(gaussian(shape), dtype)
  apply = functools.partial(make(name).apply, train=train)
  y = jax.eval_shape(apply, trained(name, shape), x)
  assert y.shape == x.shape
  assert y.dtype == x.dtype


@pytest.mark.parametrize('name', NAMES)
def test_parameters_and_statistics_are_float32_whatever_the_input(name):
  norm, x = make(name), jnp.asarray(gaussian(shape_of(name)), 'bfloat16')
  variables = jax.eval_shape(functools.partial(initial, norm), x)
  update = functools.partial(norm.apply, train=True, mutable=states(variables))
  _, new = jax.eval_shape(update, variables, x)
  for leaf in jax.tree.leaves([variables, new]):
    assert leaf.dtype == jnp.float32 or jnp.issubdtype(leaf.dtype, jnp.integer)


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize('name', NAMES)
def test_a_numpy_array_is_as_good_as_one_of_jax(name, train, assert_close):
  shape = shape_of(name)
  norm, variables, x = make(name), trained(name, shape), gaussian(shape)
  y = norm.apply(variables, np.asarray(x), train=train)
  assert_close(y, norm.apply(variables, x, train=train), rtol=1e-6)


@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_gradients_are_finite_and_not_all_zero(name, shape, dtype):
  x = jnp.asarray(gaussian(shape), dtype)
  _, _, gradients = compiled_pass(name)(trained(name, shape), x)
  assert_finite(gradients)
  for leaf in jax.tree.leaves(gradients):
    assert jnp.any(leaf != 0)


@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_all_is_finite_for_a_constant_channel(name, shape):
  x = gaussian(shape).at[..., 2].set(3)
  assert_finite(compiled_pass(name)(trained(name, shape), x))


@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_all_is_finite_at_zero(name, shape):
  x = jnp.zeros(shape)
  assert_finite(compiled_pass(name)(trained(name, shape), x))


@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_all_is_finite_at_mean_ten_thousand(name, shape):
  x = gaussian(shape) + 1e4
  assert_finite(compiled_pass(name)(trained(name, shape), x))


@pytest.mark.parametrize(
  ('name', 'shape'), some(CASES, *((name, shape_of(name)) for name in NAMES))
)
def test_compiled_is_the_same_as_not_compiled(name, shape, assert_close):
  variables, x = trained(name, shape), gaussian(shape)
  eager = training_pass(make(name), variables, x)
  assert_close(compiled_pass(name)(variables, x), eager, rtol=1e-5)


# Of eight devices, some have no example that counts; groups of 2 and 8 are
# smaller and larger than what one of four has of 16 examples.
@pytest.mark.parametrize('devices', some([4, 8], 8))
@pytest.mark.parametrize(
  'mask',
  [
    pytest.param(None, id='all', marks=pytest.mark.grid),
    pytest.param(MASK, id='masked'),
  ],
)
@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_several_devices_give_the_same_as_one(
  name, shape, mask, devices, assert_close
):
  variables, x = trained(name, shape), gaussian(shape)
  several, one = (
    compiled_pass(name)(*over_devices(n, variables, x, mask))
    for n in (devices, 1)
  )
  assert_close(several, one, rtol=1e-5)


@pytest.mark.parametrize('devices', some([4, 8], 4))
@pytest.mark.parametrize('group_size', [2, 8])
@pytest.mark.parametrize('name', GROUPED)
def test_groups_are_the_same_on_several_devices_as_on_one(
  name, group_size, devices, assert_close
):
  shape = (16, 3, 5, 6)
  variables, x = trained(name, shape), gaussian(shape)
  norm = make(name, group_size=group_size)
  program = jax.jit(functools.partial(training_pass, norm))
  several, one = (
    program(*over_devices(n, variables, x, MASK)) for n in (devices, 1)
  )
  assert_close(several, one, rtol=1e-5)


@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_what_is_masked_does_not_matter_to_the_rest(name, shape, assert_close):
  variables, x = trained(name, shape), gaussian(shape)
  y, new, (d_params, dx) = compiled_pass(name)(variables, x, MASK)
  for value in (100, jnp.nan, jnp.inf):
    other = x.at[~MASK].set(value)
    y_other, new_other, gradients = compiled_pass(name)(variables, other, MASK)
    assert_equal((y[MASK], new), (y_other[MASK], new_other))
    assert_close(gradients, (d_params, dx), rtol=1e-6)
    assert_equal(gradients[1][~MASK], jnp.zeros_like(x[~MASK]))
  # The rest is normalized as if it were the batch.
  alone, new_alone, _ = compiled_pass(name)(variables, x[MASK])
  assert_close((y[MASK], new), (alone, new_alone), rtol=1e-5)


@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_a_batch_that_is_all_masked_leaves_the_statistics(name, shape):
  variables, x = trained(name, shape), gaussian(shape, seed=1)
  result = compiled_pass(name)(variables, x, np.zeros(16, bool))
  assert_finite(result)
  _, new, _ = result
  assert_equal(new, {key: variables[key] for key in states(variables)})


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_a_batch_of_nothing_gives_nothing_and_leaves_the_statistics(
  name, shape, train
):
  variables, x = trained(name, shape), jnp.zeros((0, *shape[1:]))
  old = {key: variables[key] for key in states(variables)}
  y, new = run(make(name), variables, x, train=train, mutable=tuple(old))
  assert y.shape == x.shape
  assert_equal(new, old)


@pytest.mark.parametrize('name', GROUPED)
def test_groups_are_batches_of_their_own(name, assert_close):
  shape = (16, 3, 5, 6)
  variables, x = trained(name, shape), gaussian(shape)
  y = run(make(name, group_size=4), variables, x, train=True)
  one = lambda x: make(name).apply(variables, x, train=True)
  apart = jax.jit(jax.vmap(one))(x.reshape(4, 4, 3, 5, 6)).reshape(shape)
  assert_close(y, apart, rtol=1e-5)


@pytest.mark.parametrize('name', GROUPED)
def test_groups_that_do_not_fill_the_batch_are_refused(name):
  with pytest.raises(ValueError, match=r'group_size = 7 .* batch of 16 .*mask'):
    make(name, group_size=7).apply(
      trained(name, (16, 6)), gaussian((16, 6)), train=True
    )


# What checkpoints hold, of 6 channels: a change here makes old ones unreadable.
# A shape is (6,) unless it is said.
TREES = {
  'affine': 'params: bias scale',
  'batch': 'params: bias scale, batch_stats: mean var',
  'batch_renorm': 'params: bias scale, batch_stats: mean updates() var',
  'evonorm_b0': 'params: bias scale v, batch_stats: var',
  'evonorm_s0': 'params: bias scale v',
  'filter_response': 'params: bias scale tau',
  'group': 'params: bias scale',
  'instance': 'params: bias scale',
  'iterative_whitening': (
    'params: bias scale, batch_stats: covariance(1, 6, 6) mean'
  ),
  'layer': 'params: bias scale',
  'lp': 'params: bias scale, batch_stats: deviation mean',
  'noisy_batch': 'params: bias scale, batch_stats: mean var',
  'none': '',
  'rms': 'params: scale',
  'switchable': (
    'params: bias mean_weights(3,) scale var_weights(3,), batch_stats: mean var'
  ),
}


def described(variables):
  return ', '.join(
    f'{collection}: '
    + ' '.join(
      name + ('' if leaf.shape == (6,) else f'{leaf.shape}')
      for name, leaf in sorted(variables[collection].items())
    )
    for collection in sorted(variables, reverse=True)
  )


@pytest.mark.parametrize('name', TREES)
def test_checkpoints_hold_what_they_held(name):
  assert described(trained(name, (16, 3, 5, 6))) == TREES[name]


@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_there_are_parameters_and_running_statistics_only(name, shape):
  fresh = initial(make(name), gaussian(shape), train=True)
  assert set(fresh) <= {'params', 'batch_stats'}
  same = lambda a, b: a.shape == b.shape and a.dtype == b.dtype
  assert jax.tree.all(jax.tree.map(same, fresh, trained(name, shape)))


@pytest.mark.parametrize('name', NAMES)
def test_every_option_is_a_knob(name):
  assert options(name) <= set(default.get_config().norm)


@pytest.mark.parametrize('name', [n for n in NAMES if not fits(n, (16, 6))])
def test_what_needs_positions_says_so(name):
  with pytest.raises(ValueError, match=r'\(16, 6\)'):
    make(name).init(jax.random.key(0), gaussian((16, 6)), train=False)


@pytest.mark.parametrize('name', NAMES)
def test_statistics_do_not_change_in_evaluation_though_mutable(name):
  shape = shape_of(name)
  variables, x = trained(name, shape), gaussian(shape, seed=1)
  _, new = run(make(name), variables, x, train=False, mutable=states(variables))
  old = {key: variables[key] for key in states(variables)}
  assert_equal(new, old)


@pytest.mark.parametrize('name', NAMES)
def test_statistics_change_in_training_where_mutable_only(name):
  shape = shape_of(name)
  norm, variables = make(name), trained(name, shape)
  x = gaussian(shape, seed=1)
  # Flax raises where a module writes to what is not mutable.
  fixed = run(norm, variables, x, train=True)
  y, new = run(norm, variables, x, train=True, mutable=states(variables))
  np.testing.assert_array_equal(y, fixed)
  for key in states(variables):
    old = jax.tree.leaves(variables[key])
    for a, b in zip(jax.tree.leaves(new[key]), old, strict=True):
      assert jnp.any(a != b)


@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_in_evaluation_neighbours_do_not_matter(name, shape, assert_close):
  norm, variables, x = make(name), trained(name, shape), gaussian(shape)
  others = (gaussian(shape, seed=1) * 10).at[0].set(x[0])
  y = run(norm, variables, x, train=False)
  among_others = run(norm, variables, others, train=False)
  alone = run(norm, variables, x[:1], train=False)
  np.testing.assert_array_equal(among_others[0], y[0])
  assert_close(alone, y[:1], rtol=1e-6)


@pytest.mark.parametrize(('name', 'shape'), CASES)
def test_cancels_bias_says_whether_a_constant_per_channel_is_lost(name, shape):
  norm, variables, x = make(name), trained(name, shape), gaussian(shape)
  bias_C = np.linspace(-3, 4, shape[-1], dtype=np.float32)
  bias_C = bias_C.reshape((1,) * (len(shape) - 1) + (-1,))
  y = run(norm, variables, x, train=True)
  shifted = run(norm, variables, x + bias_C, train=True)
  change = float(jnp.abs(shifted - y).max() / jnp.abs(y).max())
  assert says(name, 'cancels_bias') == (change < 1e-4)
  assert change < 1e-4 or change > 1e-2, 'neither lost nor kept'


ACTIVATING = [name for name in NAMES if says(name, 'activates')]


@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize('name', ACTIVATING)
def test_what_does_not_activate_is_linear_but_for_its_divisor(
  name, train, assert_close
):
  """An example's sign turned around, so is its output."""
  norm, x = make(name, activates=False), gaussian((16, 3, 5, 6))
  variables = initial(norm, x)
  y = run(norm, variables, x, train=train)
  assert_close(run(norm, variables, -x, train=train), -y, rtol=1e-6)
  assert y.shape == x.shape
  assert set(variables['params']) == {'scale', 'bias'}
  assert states(variables) == ()


@pytest.mark.parametrize('name', NAMES)
def test_train_must_be_said_and_by_name(name):
  shape = shape_of(name)
  variables, x = trained(name, shape), gaussian(shape)
  with pytest.raises(TypeError, match='train'):
    make(name).apply(variables, x)
  with pytest.raises(TypeError, match='positional'):
    make(name).apply(variables, x, True)
