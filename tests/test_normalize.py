"""The backward pass by the paper's six equations, against autodiff."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.ops import normalize, reference
from bnresearch.statistics.groups import Groups

G, M, S, C = 3, 8, 4, 5
MASKS = {
  'all': None,
  'some': (np.arange(G * M) % 3 != 1).reshape(G, M, 1, 1),
  'a group without any': (np.arange(G * M) >= M).reshape(G, M, 1, 1),
}


def inputs(dtype=jnp.float64, seed=0):
  """Returns x, scale and bias, all of them away from their defaults."""
  random = np.random.RandomState(seed)
  x = random.normal(
    random.normal(2, 3, C), random.uniform(1, 3, C), (G, M, S, C)
  )
  scale, bias = random.uniform(0.5, 2, C), random.normal(size=C)
  return tuple(jnp.asarray(value, dtype) for value in (x, scale, bias))


def scalar(x, scale, bias, where=None, backward='equations', epsilon=1e-3):
  """Returns a number in which outputs and statistics weigh differently."""
  outputs = normalize.by_own_moments(
    Groups(x, where), scale, bias, epsilon, backward=backward
  )
  return sum(
    (y * jnp.sin(jnp.arange(y.size, dtype=y.dtype)).reshape(y.shape)).sum()
    for y in outputs
  )


def assert_same(actual, expected, rtol=1e-12):
  for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected)):
    np.testing.assert_allclose(a, e, rtol=rtol, atol=rtol * np.abs(e).max())


@pytest.mark.parametrize('where', MASKS.values(), ids=MASKS)
def test_the_equations_are_autodiff_to_1e_12_in_float64(where):
  with jax.enable_x64(True):
    gradient = jax.grad(scalar, argnums=(0, 1, 2, 5))  # epsilon too
    assert_same(
      gradient(*inputs(), where, 'equations', 1e-3),
      gradient(*inputs(), where, 'autodiff', 1e-3),
    )


@pytest.mark.parametrize('where', MASKS.values(), ids=MASKS)
def test_the_gradient_of_the_gradient_is_autodiffs(where):
  with jax.enable_x64(True):

    def second(backward):
      def squared(*values):
        first = jax.grad(scalar, argnums=(0, 1, 2))(*values, where, backward)
        return sum(jnp.square(g).sum() for g in first)

      return jax.grad(squared, argnums=(0, 1, 2))(*inputs())

    assert_same(second('equations'), second('autodiff'))


def test_the_equations_are_finite_differences():
  with jax.enable_x64(True):
    x, scale, bias = inputs()
    direction = jnp.asarray(np.random.RandomState(1).normal(size=x.shape))
    step = 1e-5
    slope = (
      scalar(x + step * direction, scale, bias)
      - scalar(x - step * direction, scale, bias)
    ) / (2 * step)
    exact = (jax.grad(scalar)(x, scale, bias) * direction).sum()
    np.testing.assert_allclose(exact, slope, rtol=1e-7)


def test_jit_changes_nothing(assert_close):
  gradient = jax.value_and_grad(scalar, argnums=(0, 1, 2))
  values = inputs(jnp.float32)
  assert_close(jax.jit(gradient)(*values), gradient(*values), rtol=1e-5)


def test_vmap_is_one_at_a_time(assert_close):
  many = [inputs(jnp.float32, seed) for seed in range(3)]
  gradient = jax.grad(scalar, argnums=(0, 1, 2))
  together = jax.vmap(gradient)(*(jnp.stack(v) for v in zip(*many)))
  for k, values in enumerate(many):
    one = jax.tree.map(lambda v, k=k: v[k], together)
    assert_close(one, gradient(*values), rtol=1e-5)


@pytest.mark.parametrize('check_vma', [True, False])
def test_shard_map_with_groups_of_a_device_is_jit(check_vma, assert_close):
  """Two groups a device; the gradient of the mean loss over devices."""
  devices = 4
  mesh = jax.make_mesh(
    (devices,),
    ('data',),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=jax.devices('cpu')[:devices],
  )
  random = np.random.RandomState(0)
  x = jnp.asarray(random.normal(2, 3, (2 * devices, M, S, C)), jnp.float32)
  weights = jnp.asarray(random.normal(size=x.shape), jnp.float32)
  _, scale, bias = inputs(jnp.float32)

  def loss(scale, bias, x, weights):
    y, _, _ = normalize.by_own_moments(Groups(x, None), scale, bias, 1e-3)
    return (y * weights).sum() / len(x)

  def on_a_device(scale, bias, x, weights):
    gradient = jax.grad(loss, argnums=(0, 1))
    if check_vma:
      # JAX adds up the gradients of what all devices share.
      return jax.tree.map(
        lambda g: g / devices, gradient(scale, bias, x, weights)
      )
    return jax.lax.pmean(gradient(scale, bias, x, weights), 'data')

  shared, split = jax.P(), jax.P('data')
  mapped = jax.shard_map(
    on_a_device,
    mesh=mesh,
    in_specs=(shared, shared, split, split),
    out_specs=shared,
    check_vma=check_vma,
  )
  expected = jax.grad(loss, argnums=(0, 1))(scale, bias, x, weights)
  assert_close(jax.jit(mapped)(scale, bias, x, weights), expected, rtol=1e-5)


def test_the_equations_keep_less_and_touch_less_memory_than_autodiff():
  """Memory and bytes of a compiled forward and backward pass, with a ReLU."""
  x = jax.ShapeDtypeStruct((1, 32, 256, 64), jnp.float32)
  channels = jax.ShapeDtypeStruct((64,), jnp.float32)

  def both(backward, x, scale, bias, dy):
    def forward(x, scale, bias):
      y, mean, var = normalize.by_own_moments(
        Groups(x, None), scale, bias, 1e-5, backward=backward
      )
      return jax.nn.relu(y), (mean, var)

    y, vjp, moments = jax.vjp(forward, x, scale, bias, has_aux=True)
    return y, vjp(dy), moments

  used = {}
  for backward in ('equations', 'autodiff'):
    program = jax.jit(functools.partial(both, backward))
    compiled = program.lower(x, channels, channels, x).compile()
    used[backward] = (
      compiled.memory_analysis().temp_size_in_bytes,
      compiled.cost_analysis()['bytes accessed'],
    )
  assert used['equations'][0] < 0.6 * used['autodiff'][0]
  assert used['equations'][1] < 0.9 * used['autodiff'][1]


@pytest.mark.parametrize('where', MASKS.values(), ids=MASKS)
def test_forward_mode_is_autodiffs_and_finite_differences(where):
  """`jvp`, `linearize` and the Hessian times a vector, forward over reverse."""
  with jax.enable_x64(True):
    values, directions = inputs(), inputs(seed=1)

    def derivatives(backward):
      function = functools.partial(scalar, where=where, backward=backward)
      gradient = jax.grad(function, argnums=(0, 1, 2))
      with reference.forms():
        _, slope = jax.jvp(function, values, directions)
        linear = jax.linearize(function, *values)[1](*directions)
      return slope, linear, jax.jvp(gradient, values, directions)[1]

    found = derivatives('equations')
    assert_same(found, derivatives('autodiff'))
    step = 1e-5
    one_side, other = (
      jax.value_and_grad(scalar, argnums=(0, 1, 2))(
        *(v + sign * d for v, d in zip(values, directions)), where
      )
      for sign in (step, -step)
    )
    differences = jax.tree.map(
      lambda a, b: (a - b) / (2 * step), one_side, other
    )
    assert_same((found[0], found[2]), differences, rtol=1e-6)
    assert_same(found[0], found[1])


def test_one_pass_has_linens_gradient_also_where_it_is_wrong(assert_close):
  x = np.random.RandomState(0).normal(1e4, 1, (256, C))
  x = jnp.asarray(x, jnp.float32)
  dy = jnp.sin(jnp.arange(x.size, dtype=jnp.float32)).reshape(x.shape)
  scale, bias = jnp.ones(C), jnp.zeros(C)
  linen = nn.BatchNorm(use_running_average=False, epsilon=1e-3)

  def theirs(x):
    variables = linen.init(jax.random.key(0), x)
    return (linen.apply(variables, x, mutable=['batch_stats'])[0] * dy).sum()

  def ours(x):
    y, _, _ = normalize.by_own_moments(
      Groups(x.reshape(1, 256, 1, C), None),
      scale,
      bias,
      1e-3,
      variance='one_pass',
    )
    return (y.reshape(x.shape) * dy).sum()

  assert_close(jax.grad(ours)(x), jax.grad(theirs)(x), rtol=1e-5)


def test_an_unknown_backward_pass_is_refused():
  with pytest.raises(ValueError, match="'magic': needs one of equations, auto"):
    scalar(*inputs(jnp.float32), backward='magic')


@pytest.mark.parametrize('epsilon', [0.0, 1e-3])
def test_the_gradient_norm_is_santurkars_identity(epsilon):
  """||dx||^2 = gain^2 (||g||^2 - <1,g>^2/m - <g,xhat>^2/m), for epsilon 0.

  Santurkar et al. 2018, Fact C.1 with 1/m, not the 1/sqrt(m) of Theorem 4.1 as
  printed; g = dL/dy. With an epsilon it does not hold exactly.
  """
  with jax.enable_x64(True):
    x, scale, bias = inputs()
    g = jnp.asarray(np.random.RandomState(1).normal(size=x.shape))

    def forward(x):
      y, mean, var = normalize.by_own_moments(
        Groups(x, None), scale, bias, epsilon
      )
      return y, (mean, var)

    y, vjp, (_, var_GC) = jax.vjp(forward, x, has_aux=True)
    (dx,) = vjp(g)
    m = M * S
    y, dx, g, scale, bias = map(np.asarray, (y, dx, g, scale, bias))
    x_hat = (y - bias) / scale
    over = lambda value: value.sum((1, 2))
    expected_GC = (scale**2 / np.asarray(var_GC)) * (
      over(g**2) - over(g) ** 2 / m - over(g * x_hat) ** 2 / m
    )
    error = np.abs(over(dx**2) / expected_GC - 1).max()
    assert (error < 1e-12) == (epsilon == 0)
