"""Normalizers beside batch normalization, each against a plain float64 form.

A plain form is written once, for NumPy, which evaluates it, and for JAX, which
differentiates it: `np_` is either. It takes an array of only the examples that
count, so it knows neither masks nor groups.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import lookup

C, EPSILON, MOMENTUM = 6, 1e-3, 0.9
SHAPES = [(8, C), (8, 3, 2, C)]
MASK = np.array([1, 1, 0, 1, 1, 0, 1, 1], bool)
# Half of the way to r_max = 3, a quarter of the way to d_max = 5.
SCHEDULE = {'renorm_start': 10, 'r_max_at': 30, 'd_max_at': 50}
UPDATES, R_MAX, D_MAX = 20, 2.0, 1.25
CASES = {
  'batch_renorm': ('batch_renorm', SCHEDULE),
  'l1': ('lp', {'order': 'l1'}),
  'l2': ('lp', {'order': 'l2'}),
  'linf': ('lp', {'order': 'linf'}),
  'switchable': ('switchable', {}),
  'iterative_whitening': ('iterative_whitening', {'whitened_channels': 4}),
  'evonorm_b0': ('evonorm_b0', {}),
  'evonorm_s0': ('evonorm_s0', {'channel_groups': 4}),
}
OF_BATCHES = [case for case in CASES if case != 'evonorm_s0']


def make(case, **options):
  name, own = CASES[case]
  own = own | options
  if case != 'evonorm_s0':
    own = {'momentum': MOMENTUM} | own
  return lookup.find('norms', name).Norm(epsilon=EPSILON, **own)


def batch(shape, seed=0):
  """Returns correlated data, each channel with its own mean and deviation."""
  random = np.random.RandomState(seed)
  mix = np.eye(C) + random.normal(0, 0.4, (C, C))
  x = random.normal(size=shape) @ mix * random.uniform(0.5, 2, C)
  x = x + random.normal(0, 1, (shape[0],) + (1,) * (len(shape) - 2) + (C,))
  return jnp.asarray(x + np.random.RandomState(9).normal(0, 2, C), jnp.float32)


def variables(case, seed=2):
  """Returns parameters and statistics that are not the initial ones.

  With this seed no maximum of EvoNorm-B0 is of two numbers that are equal to
  1e-3, where its gradient would jump.
  """
  random = np.random.RandomState(seed)
  norm = make(case)
  fresh = norm.init(jax.random.key(0), batch(SHAPES[0]), train=False)
  factor = np.eye(C // 2) + random.normal(0, 0.3, (2, C // 2, C // 2))
  values = {
    'scale': random.uniform(0.5, 2, C),
    'bias': random.normal(size=C),
    'v': random.uniform(-1, 2, C),
    'mean_weights': random.normal(size=3),
    'var_weights': random.normal(size=3),
    'mean': random.normal(0, 2, C),
    'var': random.uniform(0.5, 4, C),
    'deviation': random.uniform(0.5, 2, C),
    'covariance': factor @ factor.transpose(0, 2, 1),
    'updates': UPDATES,
  }
  return {
    collection: {
      name: jnp.asarray(values[name], leaf.dtype).reshape(leaf.shape)
      for name, leaf in leaves.items()
    }
    for collection, leaves in fresh.items()
  }


def variance(x, axes, **options):
  mean = x.mean(axes, **options)
  return mean, ((x - x.mean(axes, keepdims=True)) ** 2).mean(axes, **options)


def statistics(case, np_, x):
  """Returns the biased statistics of the examples that count, (M, S, C)."""
  mean, var = variance(x, (0, 1))
  distance = abs(x - mean[None, None])
  blocks = (x - mean[None, None]).reshape(-1, 2, C // 2).transpose(1, 2, 0)
  every = {
    'mean': mean,
    'var': var,
    'l1': distance.mean((0, 1)),
    'l2': np_.sqrt(var),
    'linf': distance.max((0, 1)),
    'covariance': blocks @ blocks.transpose(0, 2, 1) / blocks.shape[2],
  }
  kinds = {
    'iterative_whitening': ('mean', 'covariance'),
    'evonorm_b0': ('var',),
    'evonorm_s0': (),
  }
  if case in every:
    return {'mean': mean, 'deviation': every[case]}
  return {kind: every[kind] for kind in kinds.get(case, ('mean', 'var'))}


def normalized(case, np_, p, running, x, stats, train):
  """Returns x (N, S, C) normalized by `stats`, before scale and bias."""
  spread = lambda value: value[None, None]
  if case in ('l1', 'l2', 'linf'):
    root = np_.sqrt(stats['deviation'] ** 2 + EPSILON)
    return (x - spread(stats['mean'])) / spread(root)
  if case == 'batch_renorm':
    root = np_.sqrt(stats['var'] + EPSILON)
    y = (x - spread(stats['mean'])) / spread(root)
    if not train:
      return y
    constant = jax.lax.stop_gradient if np_ is jnp else np.asarray
    sigma = np_.sqrt(running['var'] + EPSILON)
    r = constant(np_.clip(root / sigma, 1 / R_MAX, R_MAX))
    d = (constant(stats['mean']) - running['mean']) / sigma
    return y * spread(r) + spread(np_.clip(d, -D_MAX, D_MAX))
  if case == 'switchable':
    own = variance(x, 1, keepdims=True), variance(x, (1, 2), keepdims=True)
    kinds = (*own, (spread(stats['mean']), spread(stats['var'])))
    kinds = kinds if x.shape[1] > 1 else kinds[1:]
    mean, var = (
      sum(w * kind[i] for w, kind in zip(weights / weights.sum(), kinds))
      for i, weights in enumerate(
        np_.exp(p[name][-len(kinds) :])
        for name in ('mean_weights', 'var_weights')
      )
    )
    return (x - mean) / np_.sqrt(var + EPSILON)
  if case == 'iterative_whitening':
    eye, whitened = np_.eye(C // 2), []
    for b, block in enumerate(np_.split(x - spread(stats['mean']), 2, axis=2)):
      sigma = stats['covariance'][b] + EPSILON * eye
      trace, P = np_.trace(sigma), eye
      for _ in range(5):
        P = 0.5 * (3 * P - P @ P @ P @ (sigma / trace))
      whitened.append(block @ (P / np_.sqrt(trace)))
    return np_.concatenate(whitened, 2)
  if case == 'evonorm_b0':
    _, own = variance(x, 1, keepdims=True)
    other = spread(p['v']) * x + np_.sqrt(own + EPSILON)
    return x / np_.maximum(spread(np_.sqrt(stats['var'] + EPSILON)), other)
  # evonorm_s0: the greatest common divisor of 6 and 4 is 2 groups.
  roots = [
    np_.sqrt(variance(group, (1, 2), keepdims=True)[1] + EPSILON)
    for group in np_.split(x, 2, axis=2)
  ]
  root = np_.concatenate([np_.broadcast_to(r, (8, 1, 3)) for r in roots], 2)
  return x / (1 + np_.exp(-spread(p['v']) * x)) / root


def plain(case, np_, v, x, mask, train):
  """Returns the output, and the biased statistics of the batch."""
  p, running = v['params'], v.get('batch_stats', {})
  x = x.reshape(len(x), -1, C)
  stats = statistics(case, np_, x[mask])
  y = normalized(case, np_, p, running, x, stats if train else running, train)
  return y * p['scale'][None, None] + p['bias'][None, None], stats


def exact(tree):
  return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), tree)


MASKS = pytest.mark.parametrize('mask', [None, MASK], ids=['all', 'masked'])


@MASKS
@pytest.mark.parametrize('train', [False, True])
@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('case', CASES)
def test_the_output_is_that_of_the_plain_form(
  case, shape, train, mask, assert_close
):
  x, v = batch(shape), variables(case)
  given = None if mask is None else jnp.asarray(mask)
  y = make(case).apply(v, x, train=train, mask=given)
  counted = np.ones(8, bool) if mask is None else mask
  expected, _ = plain(case, np, exact(v), exact(x), counted, train)
  assert_close(y, expected.reshape(shape), rtol=1e-5)


@MASKS
@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('case', CASES)
def test_gradients_are_those_of_the_plain_form(case, shape, mask, assert_close):
  x, v, dy = batch(shape), variables(case), batch(shape, seed=3)
  given = None if mask is None else jnp.asarray(mask)
  counted = np.ones(8, bool) if mask is None else mask

  def ours(params, x):
    return make(case).apply({**v, 'params': params}, x, train=True, mask=given)

  def theirs(params, x):
    y, _ = plain(case, jnp, {**v64, 'params': params}, x, counted, True)
    return y.reshape(shape)

  pulled = lambda of, params, x, dy: jax.vjp(of, params, x)[1](dy)
  actual = jax.jit(functools.partial(pulled, ours))(v['params'], x, dy)
  # XLA may compute what a maximum is compared with a second time, to another
  # number by rounding: compiled, the plain form would lose its gradient.
  compiled = (lambda f: f) if case == 'linf' else jax.jit
  with jax.enable_x64(True):
    v64, x64, dy64 = jax.tree.map(jnp.asarray, exact((v, x, dy)))
    program = compiled(functools.partial(pulled, theirs))
    expected = program(v64['params'], x64, dy64)
    assert expected[1].dtype == jnp.float64
  assert_close(actual, expected, rtol=2e-5)


@pytest.mark.parametrize('running_variance', ['unbiased', 'biased'])
@MASKS
@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('case', OF_BATCHES)
def test_running_statistics_average_those_of_the_batch(
  case, shape, mask, running_variance, assert_close
):
  x, v = batch(shape), variables(case)
  lp = CASES[case][0] == 'lp'
  options = {} if lp else {'running_variance': running_variance}
  given = None if mask is None else jnp.asarray(mask)
  counted = np.ones(8, bool) if mask is None else mask
  _, new = make(case, **options).apply(
    v, x, train=True, mask=given, mutable=['batch_stats']
  )
  new = new['batch_stats']
  assert new.pop('updates', UPDATES + 1) == UPDATES + 1
  _, stats = plain(case, np, exact(v), exact(x), counted, True)
  m = counted.sum() * x[0].size // C
  for name, value in stats.items():
    if running_variance == 'unbiased' and name in ('var', 'covariance'):
      value = value * m / (m - 1)
    old = exact(v['batch_stats'][name])
    expected = MOMENTUM * old + (1 - MOMENTUM) * value
    assert_close(new.pop(name), expected, rtol=1e-5)
  assert not new


@pytest.mark.parametrize('case', OF_BATCHES)
def test_a_batch_of_which_nothing_counts_is_no_update(case):
  x, v = batch(SHAPES[1]), variables(case)
  y, new = make(case).apply(
    v, x, train=True, mask=jnp.zeros(8, bool), mutable=['batch_stats']
  )
  # Statistics of nothing are 0 and 1, not 0 and 0.
  assert jnp.abs(y).max() < 10 * jnp.abs(x).max()
  jax.tree.map(
    np.testing.assert_array_equal, new['batch_stats'], v['batch_stats']
  )


@pytest.mark.parametrize('shape', SHAPES)
@pytest.mark.parametrize('case', [*OF_BATCHES, 'noisy_batch'])
def test_groups_are_normalized_as_batches_of_their_own(
  case, shape, assert_close, monkeypatch
):
  monkeypatch.setitem(CASES, 'noisy_batch', ('noisy_batch', {}))
  x, v = batch(shape), variables(case)
  mask = jnp.asarray(MASK)

  def updated(norm, x, mask):
    return norm.apply(v, x, train=True, mask=mask, mutable=['batch_stats'])

  y, new = updated(make(case, group_size=4), x, mask)
  (y_1, new_1), (y_2, new_2) = (
    updated(make(case), x[s], mask[s]) for s in (slice(4), slice(4, 8))
  )
  assert_close(y, jnp.concatenate([y_1, y_2]), rtol=1e-5)
  # Both groups have three examples that count.
  mean = jax.tree.map(lambda a, b: (a + b) / 2, new_1, new_2)
  assert_close(new, mean, rtol=1e-5)


@pytest.mark.parametrize(
  'case', ['batch_renorm', 'switchable', 'iterative_whitening', 'evonorm_b0']
)
def test_one_value_per_channel_has_no_unbiased_running_variance(case):
  with pytest.raises(
    ValueError, match=r'1 value per channel: .*norm\.running_variance'
  ):
    make(case).apply(
      variables(case), batch((1, C)), train=True, mutable=['batch_stats']
    )
