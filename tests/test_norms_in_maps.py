"""Normalizers on axes of other names, inside maps, and on Explicit meshes."""

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import lookup

AXIS, D, N, C = 'batch', 4, 16, 6
NAMES = lookup.names('norms')
OF_BATCHES = [
  name
  for name in NAMES
  if hasattr(lookup.find('norms', name).Norm, 'group_size')
]
AUTO, EXPLICIT = jax.sharding.AxisType.Auto, jax.sharding.AxisType.Explicit
MASK = np.arange(N) % 5 < 2 + 2 * (np.arange(N) < 8)  # [4 3 2 1] of 4 devices
SHARED, SPLIT = jax.P(), jax.P(AXIS)


def make(name, **options):
  return lookup.find('norms', name).Norm(**options)


def batch(seed=0):
  """Returns examples that lie apart, so a share of them is not like another."""
  random = np.random.RandomState(seed)
  x = random.normal(random.normal(2, 3, C), 1.5, (N, 2, 3, C))
  return jnp.asarray(x + np.arange(N).reshape(N, 1, 1, 1) / 4, jnp.float32)


def mesh(kind, axis=AXIS):
  devices = jax.devices('cpu')[:D]
  return jax.make_mesh((D,), (axis,), axis_types=(kind,), devices=devices)


def fresh(name, **options):
  return make(name, **options).init(jax.random.key(0), batch(), train=False)


def training_pass(norm, variables, x, mask=None):
  """Returns output, new statistics, and gradients of a sum over examples."""

  def scalar(params, x):
    y, new = norm.apply(
      {**variables, 'params': params},
      x,
      train=True,
      mask=mask,
      mutable=[key for key in variables if key != 'params'],
    )
    one = (1, *y.shape[1:])
    weights = jnp.cos(jnp.arange(math.prod(one), dtype=jnp.float32))
    return (y * weights.reshape(one) * x).sum(), (y, new)

  gradient = jax.grad(scalar, argnums=(0, 1), has_aux=True)
  gradients, (y, new) = gradient(variables.get('params', {}), x)
  return y, new, gradients


def by_shard_map(function, check_vma):
  """Maps `function(variables, x, mask)`; gradients of parameters are summed."""

  def on_a_device(*arguments):
    y, new, (d_params, dx) = function(*arguments)
    # If it checks what varies, JAX has added them up already.
    if not check_vma:
      d_params = jax.lax.psum(d_params, AXIS)
    return y, new, (d_params, dx)

  return jax.shard_map(
    on_a_device,
    mesh=mesh(AUTO),
    in_specs=(SHARED, SPLIT, SPLIT),
    out_specs=(SPLIT, SHARED, (SHARED, SPLIT)),
    check_vma=check_vma,
  )


def by_shares(make_map, function):
  """Maps `function` by `pmap` or a named `vmap`, of x as shares."""
  mapped = make_map(
    function, axis_name=AXIS, in_axes=(None, 0, 0), out_axes=(0, 0, (0, 0))
  )

  def call(variables, *batch):
    shares = (x.reshape(D, N // D, *x.shape[1:]) for x in batch)
    y, new, (d_params, dx) = mapped(variables, *shares)
    first = jax.tree.map(lambda leaf: leaf[0], new)
    total = jax.tree.map(lambda leaf: leaf.sum(0), d_params)
    whole = lambda x: x.reshape(N, *x.shape[2:])
    return whole(y), first, (total, whole(dx))

  return call


MAPS = {
  'shard_map': functools.partial(by_shard_map, check_vma=True),
  'shard_map, not checked': functools.partial(by_shard_map, check_vma=False),
  'pmap': functools.partial(by_shares, jax.pmap),
  'vmap': functools.partial(by_shares, jax.vmap),
}


@pytest.mark.parametrize('kind', MAPS)
def test_the_named_axis_is_the_batch(kind, assert_close):
  options = {'group_size': 8 if kind == 'pmap' else 0}
  variables, x = fresh('batch'), batch()
  expected = training_pass(make('batch', **options), variables, x, MASK)
  norm = make('batch', **options, axis_name=AXIS)
  mapped = MAPS[kind](functools.partial(training_pass, norm))
  assert_close(jax.jit(mapped)(variables, x, MASK), expected, rtol=2e-5)


@pytest.mark.parametrize('train', [True, False])
def test_every_norm_takes_an_axis_and_needs_none_in_evaluation(
  train, assert_close
):
  """All in one program: outputs and running statistics."""
  names = OF_BATCHES if train else NAMES
  variables = {name: fresh(name) for name in names}

  def normalized(variables, x, mask, **options):
    each = {
      name: make(name, **options).apply(
        v, x, train=train, mask=mask, mutable=['batch_stats']
      )
      for name, v in variables.items()
    }
    return tuple({name: pair[k] for name, pair in each.items()} for k in (0, 1))

  mapped = jax.shard_map(
    functools.partial(normalized, **{'axis_name': AXIS} if train else {}),
    mesh=mesh(AUTO),
    in_specs=(SHARED, SPLIT, SPLIT),
    out_specs=(SPLIT, SHARED),
  )
  actual = jax.jit(mapped)(variables, batch(), MASK)
  assert_close(actual, normalized(variables, batch(), MASK), rtol=1e-5)


@pytest.mark.parametrize(
  'kind', ['shard_map', 'shard_map, not checked', 'pmap']
)
@pytest.mark.parametrize('name', OF_BATCHES)
def test_a_map_over_an_axis_that_was_not_named_is_refused(name, kind):
  """Where each device would silently normalize by what it has."""
  norm, variables = make(name), fresh(name)
  mapped = MAPS[kind](functools.partial(training_pass, norm))
  with pytest.raises(
    ValueError,
    match=r"over the axis 'batch', with axis_name = 'data': .* 4 examples only"
    r'.* axis_name = .batch.,',
  ):
    jax.eval_shape(mapped, variables, batch(), MASK)


@pytest.mark.parametrize('kind', ['shard_map, not checked', 'pmap'])
def test_groups_of_one_device_have_no_common_running_statistics(kind):
  variables, x = fresh('batch'), batch()

  def normalized(variables, x, mask, group_size=4, **options):
    norm = make('batch', group_size=group_size)
    y = norm.apply(variables, x, train=True, mask=mask, **options)
    return (y, {}, ({}, x)) if not options else (*y, ({}, x))

  y, *_ = jax.jit(MAPS[kind](normalized))(variables, x, MASK)
  np.testing.assert_allclose(
    y, normalized(variables, x, MASK)[0], rtol=1e-5, atol=1e-5
  )
  follows = functools.partial(normalized, mutable=['batch_stats'])
  with pytest.raises(ValueError, match='running statistics of the batch, insi'):
    jax.eval_shape(MAPS[kind](follows), variables, x, MASK)


def test_without_an_axis_what_a_device_has_is_a_batch(assert_close):
  variables, x = fresh('batch'), batch()
  norm = make('batch', axis_name=None)
  one = lambda x: norm.apply(variables, x, train=True)
  y = jax.pmap(one, axis_name=AXIS)(x.reshape(D, N // D, 2, 3, C))
  apart = jax.vmap(one)(x.reshape(D, N // D, 2, 3, C))
  assert_close(y, apart, rtol=1e-5)


# Explicit axes, the default of `jax.make_mesh`: types say how arrays are split.


def typed(axis, tree, spec):
  return jax.device_put(tree, jax.NamedSharding(mesh(EXPLICIT, axis), spec))


@pytest.mark.parametrize('axis', ['data', AXIS])
@pytest.mark.parametrize('name', NAMES)
def test_every_norm_keeps_the_type_of_its_input(name, axis):
  x, mask = typed(axis, (batch(), MASK), jax.P(axis))
  variables = typed(axis, fresh(name), SHARED)
  with jax.set_mesh(mesh(EXPLICIT, axis)):
    for train in (True, False):
      apply = functools.partial(make(name).apply, train=train)
      y = jax.eval_shape(apply, variables, x, mask=mask)
      assert y.sharding.spec == jax.typeof(x).sharding.spec
    program = functools.partial(training_pass, make(name))
    _, _, (_, dx) = jax.eval_shape(program, variables, x, mask)
    assert dx.sharding.spec == jax.typeof(x).sharding.spec


@pytest.mark.parametrize(
  ('axis', 'group_size'), [('data', 0), ('data', 2), ('data', 8), (AXIS, 8)]
)
def test_types_change_no_number(axis, group_size, assert_close):
  norm, variables, x = make('batch', group_size=group_size), fresh('batch'), 0
  x = batch()
  program = jax.jit(functools.partial(training_pass, norm))
  expected = training_pass(norm, variables, x, MASK)
  arguments = (
    typed(axis, variables, SHARED),
    *typed(axis, (x, MASK), jax.P(axis)),
  )
  with jax.set_mesh(mesh(EXPLICIT, axis)):
    assert_close(program(*arguments), expected, rtol=2e-5)
