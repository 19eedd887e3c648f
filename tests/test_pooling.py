"""Fast pooling is flax's, and so is its gradient, also among equals."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.ops import pooling, reference, windows
from tests.lowering import PLATFORMS, lowered

# Height and width of the map; window, strides and padding.
CASES = {
  '2x2/2': ((8, 6), (2, 2), (2, 2), 'VALID'),
  '2x2/2 with left-overs': ((7, 9), (2, 2), (2, 2), 'VALID'),
  '2x2/2 same': ((7, 9), (2, 2), (2, 2), 'SAME'),
  '3x3/2, even': ((8, 10), (3, 3), (2, 2), 'SAME'),
  '3x3/2, odd': ((9, 7), (3, 3), (2, 2), 'SAME'),
  '3x3/2 valid': ((9, 8), (3, 3), (2, 2), 'VALID'),
  '3x3/2, a pixel on each side': ((8, 7), (3, 3), (2, 2), [(1, 1), (1, 1)]),
  '3x3/1': ((5, 6), (3, 3), (1, 1), 'SAME'),
  'uneven padding': ((5, 6), (3, 3), (1, 2), [(0, 2), (1, 0)]),
  '5x5/3': ((11, 12), (5, 5), (3, 3), 'VALID'),
  '1x4': ((4, 9), (1, 4), (1, 1), 'SAME'),
  '2x2/3 steps over pixels': ((8, 9), (2, 2), (3, 3), 'VALID'),
  'strides beyond the map': ((2, 5), (2, 2), (4, 3), 'VALID'),
  'a window wider than the map': ((2, 6), (3, 3), (1, 1), 'SAME'),
  'a column': ((6, 1), (3, 3), (2, 1), 'SAME'),
}
KINDS = {
  'max': (pooling.max_pool, nn.max_pool),
  'average': (
    lambda *options: pooling.average_pool(*options, False),
    lambda *options: nn.avg_pool(*options, count_include_pad=False),
  ),
  'average with padding': (
    lambda *options: pooling.average_pool(*options, True),
    lambda *options: nn.avg_pool(*options, count_include_pad=True),
  ),
}
# One window is no window that slides; the others are beyond what was measured.
OTHERS = {
  'the whole map': ((4, 4), (4, 4), (1, 1), 'VALID'),
  'a large window': ((12, 12), (10, 10), (1, 1), 'SAME'),
  'padding that cuts': ((5, 5), (2, 2), (1, 1), [(-1, 0), (0, 0)]),
}
EACH_KIND = pytest.mark.parametrize('kind', KINDS)


def maps(size, *, ties, seed=0, dtype=jnp.float32):
  """Returns a batch of maps; with ties, of a few values as after a ReLU."""
  x = np.random.RandomState(seed).normal(0, 2, (3, *size, 5))
  return jnp.asarray(np.maximum(np.round(x), 0) if ties else x, dtype)


def pools(kind, window, strides, padding):
  """Returns ours and flax's."""
  return tuple(
    lambda x, f=f: f(x, window, strides, padding) for f in KINDS[kind]
  )


def with_gradient(pool, x):
  """Returns y and dx, for a dy that has no zero."""
  y, vjp = jax.vjp(pool, x)
  dy = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
  return y, vjp(dy.astype(y.dtype))[0]


def slides(pool, x, platform='cpu'):
  """Returns whether a program has XLA's windows."""
  gradient = functools.partial(with_gradient, pool)
  text = lowered(gradient, x, platform=platform)
  return 'reduce_window' in text or 'select_and_scatter' in text


@pytest.mark.parametrize('ties', [False, True])
@pytest.mark.parametrize('name', CASES)
@EACH_KIND
def test_values_and_gradients_are_flaxs(kind, name, ties, assert_close):
  size, *options = CASES[name]
  (ours, flaxs), x = pools(kind, *options), maps(size, ties=ties)
  assert slides(flaxs, x)
  assert not slides(ours, x)
  actual, expected = (
    jax.jit(functools.partial(with_gradient, f))(x) for f in (ours, flaxs)
  )
  if kind == 'max':
    np.testing.assert_array_equal(actual[0], expected[0])
  assert_close(actual, expected, rtol=1e-5)


def test_of_equals_the_first_has_the_gradient():
  x = jnp.ones((1, 3, 3, 1))
  pool = lambda x: pooling.max_pool(x, (2, 2), (1, 1), 'VALID').sum()
  dx = jax.grad(pool)(x)[0, :, :, 0]
  np.testing.assert_array_equal(dx, [[1, 1, 0], [1, 1, 0], [0, 0, 0]])


def test_a_nan_is_a_maximum():
  """So that a run that diverges is seen to."""
  x = jnp.zeros((1, 4, 4, 1)).at[0, 1, 1, 0].set(jnp.nan)
  y = pooling.max_pool(x, (2, 2), (2, 2), 'VALID')[0, :, :, 0]
  np.testing.assert_array_equal(y, [[np.nan, 0], [0, 0]])


@EACH_KIND
def test_without_jit_it_is_the_same(kind, assert_close):
  size, *options = CASES['3x3/2, odd']
  (ours, _), x = pools(kind, *options), maps(size, ties=True)
  pool = functools.partial(with_gradient, ours)
  assert_close(pool(x), jax.jit(pool)(x), rtol=1e-6)


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16])
@EACH_KIND
def test_half_precision_is_summed_in_float32(kind, dtype, assert_close):
  size, *options = CASES['3x3/1']
  ours, flaxs = pools(kind, *options)
  half = maps(size, ties=False, dtype=dtype)
  y, vjp = jax.vjp(ours, half)
  exact_y, exact_vjp = jax.vjp(flaxs, half.astype(jnp.float32))
  dy = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
  dy = dy.astype(dtype)
  actual = y, vjp(dy)
  assert {a.dtype for a in jax.tree.leaves(actual)} == {jnp.dtype(dtype)}
  expected = exact_y, exact_vjp(dy.astype(jnp.float32))
  assert_close(actual, expected, rtol=float(jnp.finfo(dtype).eps))


@EACH_KIND
def test_vmap_is_one_at_a_time(kind, assert_close):
  size, *options = CASES['3x3/2, even']
  ours, _ = pools(kind, *options)
  many = [maps(size, ties=True, seed=seed) for seed in range(3)]
  pool = functools.partial(with_gradient, ours)
  together = jax.vmap(pool)(jnp.stack(many))
  for k, x in enumerate(many):
    one = jax.tree.map(lambda v, k=k: v[k], together)
    assert_close(one, pool(x), rtol=1e-6)


@pytest.mark.parametrize('check_vma', [True, False])
@EACH_KIND
def test_shards_of_the_batch_are_the_batch(kind, check_vma, assert_close):
  """Each device has its examples; jit's own partition is right as well."""
  mesh = jax.make_mesh(
    (3,),
    ('data',),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=jax.devices('cpu')[:3],
  )
  size, *options = CASES['3x3/2, odd']
  (ours, _), x = pools(kind, *options), maps(size, ties=True)
  gradient = jax.grad(lambda x: jnp.square(ours(x)).sum())
  split = jax.P('data')
  mapped = jax.shard_map(
    gradient, mesh=mesh, in_specs=split, out_specs=split, check_vma=check_vma
  )
  expected = gradient(x)
  assert_close(jax.jit(mapped)(x), expected, rtol=1e-6)
  x = jax.device_put(x, jax.NamedSharding(mesh, split))
  assert_close(jax.jit(gradient)(x), expected, rtol=1e-6)


@EACH_KIND
def test_the_gradient_of_the_gradient_is_flaxs(kind, assert_close):
  size, *options = CASES['3x3/2, even']
  x = maps(size, ties=False)

  def second(pool):
    first = jax.grad(lambda x: jnp.square(pool(x)).sum())
    return jax.jit(jax.grad(lambda x: jnp.square(first(x)).sum()))(x)

  assert_close(*map(second, pools(kind, *options)), rtol=1e-5)


@EACH_KIND
def test_forward_mode_is_flaxs(kind, assert_close):
  """Over reverse mode by slices; alone by XLA's windows."""
  size, *options = CASES['3x3/2, even']
  x, direction = (maps(size, ties=False, seed=seed) for seed in (0, 1))
  ours, flaxs = map(jax.jit, pools(kind, *options))

  def product(pool):
    gradient = jax.grad(lambda x: (pool(x) ** 3).sum())
    return jax.jvp(gradient, (x,), (direction,))[1]

  assert_close(product(ours), product(flaxs), rtol=1e-5)
  with pytest.raises(TypeError, match='forward-mode'):
    jax.jvp(ours, (x,), (direction,))
  with reference.forms():
    assert slides(ours, x)
    actual = jax.jvp(ours, (x,), (direction,))
  assert_close(actual, jax.jvp(flaxs, (x,), (direction,)), rtol=1e-5)
  assert not slides(ours, x)


@pytest.mark.parametrize('name', OTHERS)
@EACH_KIND
def test_all_else_is_flaxs(kind, name):
  size, *options = OTHERS[name]
  (ours, flaxs), x = pools(kind, *options), maps(size, ties=True)
  assert 'reduce_window' in lowered(ours, x)
  np.testing.assert_array_equal(ours(x), flaxs(x))


def test_integers_are_flaxs():
  x = jnp.arange(16).reshape(1, 4, 4, 1)
  ours, _ = pools('max', (2, 2), (2, 2), 'VALID')
  assert 'reduce_window' in str(jax.make_jaxpr(ours)(x))


@pytest.mark.parametrize('platform', PLATFORMS)
@EACH_KIND
def test_accelerators_pool_by_flax(kind, platform):
  size, *options = CASES['3x3/1']
  texts = [
    lowered(
      functools.partial(with_gradient, pool),
      maps(size, ties=False),
      platform=platform,
    )
    for pool in pools(kind, *options)
  ]
  for operation in ('reduce_window', 'select_and_scatter', 'maximum', 'slice'):
    ours, flaxs = (text.count(f'stablehlo.{operation}') for text in texts)
    assert ours == flaxs


def test_the_maximum_keeps_a_byte_for_each_window():
  """And no map for the form of another platform, once it is compiled."""
  x = jax.ShapeDtypeStruct((2, 8, 8, 16), jnp.float32)
  where = windows.of(x.shape, (2, 2), (2, 2), 'VALID')
  own = lambda x: pooling._maxima(x, where)
  kept = jax.tree.leaves(jax.eval_shape(lambda x: jax.vjp(own, x)[1], x))
  assert sum(a.size * a.dtype.itemsize for a in kept) == 2 * 4 * 4 * 16

  def memory(pool):
    gradient = jax.grad(lambda x: jnp.square(pool(jnp.exp(x))).sum())
    program = jax.jit(gradient).lower(x).compile()
    return program.memory_analysis().temp_size_in_bytes

  pool = lambda x: pooling.max_pool(x, (2, 2), (2, 2), 'VALID')
  assert memory(pool) == memory(own)
