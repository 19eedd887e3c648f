"""`population_statistics` of Flax models that know nothing of bnresearch."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bnresearch as bnr
from bnresearch.norms import batch, batch_renorm, noisy_batch
from bnresearch.statistics.population import ESTIMATORS

C = 3


class Compact(nn.Module):
  """Its norm's input is its input, whatever the norm."""

  norm: nn.Module

  @nn.compact
  def __call__(self, x, **options):
    return nn.Dense(2)(self.norm.copy(name='bn')(x, **options))


class InSetup(nn.Module):
  """The same with layers made in `setup`, as attributes."""

  norm: nn.Module

  def setup(self):
    self.bn, self.dense = self.norm.copy(), nn.Dense(2)

  def __call__(self, x, **options):
    return self.dense(self.bn(x, **options))


class Rematerialized(nn.Module):
  """The same, computed again for its gradient."""

  norm: nn.Module

  @nn.compact
  def __call__(self, x, use_running_average):
    cls = nn.remat(type(self.norm), static_argnums=(2,))
    return nn.Dense(2)(cls(name='bn')(x, use_running_average))


def batches_of(sizes, shape=(4,)):
  """Returns batches that differ in mean and deviation."""
  random = np.random.default_rng(0)
  return [
    random.normal(3 * k, 1 + k, (N, *shape, C)).astype(np.float32)
    for k, N in enumerate(sizes)
  ]


def expected(batches, estimator):
  """Returns mean and variance of each channel, by NumPy in float64."""
  rows = [x.reshape(-1, C).astype(np.float64) for x in batches]
  if estimator == 'pooled':
    all_rows = np.concatenate(rows)
    return all_rows.mean(0), all_rows.var(0)
  means, variances = zip(*((x.mean(0), x.var(0, ddof=1)) for x in rows))
  return np.mean(means, 0), np.mean(variances, 0)


def estimated(model, batches, estimator='population', **options):
  variables = model.init(jax.random.key(0), batches[0], **options)
  apply = functools.partial(model.apply, **options)
  found = bnr.population_statistics(
    apply, variables, batches, estimator=estimator
  )
  assert jax.tree.map(jnp.shape, found) == jax.tree.map(
    jnp.shape, {'batch_stats': variables['batch_stats']}
  )
  return found['batch_stats']['bn']


@pytest.mark.parametrize('estimator', ESTIMATORS)
@pytest.mark.parametrize('network', [Compact, InSetup])
@pytest.mark.parametrize('momentum', [0.99, 0.0])
def test_linens_statistics_are_those_of_numpy(network, momentum, estimator):
  """Where the last batch is smaller, and the layer forgets at once, too."""
  batches = batches_of([8, 8, 5])
  model = network(nn.BatchNorm(momentum=momentum))
  found = estimated(model, batches, estimator, use_running_average=False)
  mean, var = expected(batches, estimator)
  np.testing.assert_allclose(found['mean'], mean, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(found['var'], var, rtol=1e-5)


@pytest.mark.parametrize('estimator', ESTIMATORS)
def test_a_rematerialized_norm_is_corrected_once(estimator):
  batches = batches_of([8, 8])
  model = Rematerialized(nn.BatchNorm())
  found = estimated(model, batches, estimator, use_running_average=False)
  mean, var = expected(batches, estimator)
  np.testing.assert_allclose(found['mean'], mean, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(found['var'], var, rtol=1e-5)


@pytest.mark.parametrize(
  'norm', [batch.Norm(), batch.Norm(group_size=4), noisy_batch.Norm()]
)
def test_our_norm_in_a_foreign_network_is_estimated_alike(norm):
  batches = batches_of([8, 8])
  found = estimated(Compact(norm), batches, train=True)
  M = norm.group_size or 8
  groups = [x[k : k + M] for x in batches for k in range(0, 8, M)]
  mean, var = expected(groups, 'population')
  np.testing.assert_allclose(found['mean'], mean, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(found['var'], var, rtol=1e-5)


def test_far_from_zero_the_variance_of_linens_layer_is_accurate():
  """Its own, `mean(x**2) - mean(x)**2`, has no digit left there."""
  (x,) = batches_of([64])
  found = estimated(
    Compact(nn.BatchNorm()), [x + 10_000], use_running_average=False
  )
  _, var = expected([x + np.float32(10_000)], 'population')
  np.testing.assert_allclose(found['var'], var, rtol=1e-3)


@pytest.mark.parametrize('axis', [1, (1, 3)])
def test_channels_may_be_any_axes(axis):
  (x,) = batches_of([8], (4, 4))
  model = Compact(nn.BatchNorm(axis=axis))
  found = estimated(model, [x], use_running_average=False)
  over = tuple(k for k in range(4) if k not in np.atleast_1d(axis))
  var = x.astype(np.float64).var(over, ddof=1)
  np.testing.assert_allclose(found['var'], var, rtol=1e-5)


def test_masked_values_do_not_count():
  (x,) = batches_of([8])
  mask = np.arange(8)[:, None, None] < 5
  model = Compact(nn.BatchNorm())
  found = estimated(model, [x], use_running_average=False, mask=mask)
  mean, var = expected([x[:5]], 'population')
  np.testing.assert_allclose(found['mean'], mean, rtol=1e-5, atol=1e-6)
  np.testing.assert_allclose(found['var'], var, rtol=1e-5)


def test_layers_that_are_scanned_have_statistics_each():
  class Block(nn.Module):
    @nn.compact
    def __call__(self, x, _):
      norm = nn.BatchNorm(use_running_average=False, name='bn')
      return 2 * norm(x), None

  class Stack(nn.Module):
    @nn.compact
    def __call__(self, x):
      scanned = nn.scan(
        Block,
        variable_axes={'params': 0, 'batch_stats': 0},
        split_rngs={'params': True},
        length=2,
      )
      return scanned(name='blocks')(x, None)[0]

  (x,) = batches_of([8])
  variables = Stack().init(jax.random.key(0), x)
  found = bnr.population_statistics(Stack().apply, variables, [x])
  var = found['batch_stats']['blocks']['bn']['var']
  _, first = expected([x], 'population')
  count = x.size // C
  second = np.full(C, 4 * count / (count - 1))  # of twice what is normalized
  np.testing.assert_allclose(var, [first, second], rtol=1e-4)


def test_a_batch_over_devices_gives_the_same(assert_close):
  """Under a mesh by XLA, and in a map, where linen's layer has an axis_name."""
  (x,) = batches_of([16])
  alone = Compact(nn.BatchNorm())
  expect = estimated(alone, [x], use_running_average=False)
  mesh = jax.make_mesh(
    (8,), ('data',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  split = jax.NamedSharding(mesh, jax.P('data'))
  with jax.set_mesh(mesh):
    placed = jax.device_put(x, split)
    found = estimated(alone, [placed], use_running_average=False)
  assert_close(found, expect, rtol=1e-5)

  mapped = Compact(nn.BatchNorm(axis_name='data'))
  variables = mapped.init(jax.random.key(0), x, use_running_average=False)

  def apply(variables, x, mutable):
    return jax.shard_map(
      functools.partial(
        mapped.apply, use_running_average=False, mutable=mutable
      ),
      in_specs=(jax.P(), jax.P('data')),
      out_specs=(jax.P('data'), jax.P()),
    )(variables, x)

  with jax.set_mesh(mesh):
    found = bnr.population_statistics(apply, variables, [x])
  assert_close(found['batch_stats']['bn'], expect, rtol=1e-5)


def test_trees_of_arrays_are_batches_and_counters_stay():
  model = Compact(batch_renorm.Norm())
  (x,) = batches_of([8])
  variables = model.init(jax.random.key(0), x, train=True)

  def apply(variables, example, mutable):
    image = example['image']
    return model.apply(variables, image, train=True, mutable=mutable)

  found = bnr.population_statistics(
    apply, variables, ({'label': x, 'image': x} for _ in range(2))
  )
  assert found['batch_stats']['bn']['updates'] == 0
  _, var = expected([x], 'population')
  np.testing.assert_allclose(found['batch_stats']['bn']['var'], var, rtol=1e-5)


def test_a_network_without_statistics_has_none_to_estimate():
  x = jnp.ones((2, C))
  variables = nn.Dense(2).init(jax.random.key(0), x)
  assert bnr.population_statistics(nn.Dense(2).apply, variables, [x]) == {}


# Refusals.


class Foreign(nn.Module):
  """A norm that says by no name how fast it forgets."""

  @nn.compact
  def __call__(self, x):
    mean = self.variable('batch_stats', 'mean', jnp.zeros, x.shape[-1:])
    if not self.is_initializing():
      mean.value = 0.9 * mean.value + 0.1 * x.mean((0, 1))
    return x - mean.value[None, None]


def test_what_cannot_be_estimated_is_said():
  (x,) = batches_of([8])
  model = Compact(nn.BatchNorm())
  variables = model.init(jax.random.key(0), x, use_running_average=True)
  train = functools.partial(model.apply, use_running_average=False)
  estimate = bnr.population_statistics
  with pytest.raises(ValueError, match="'ema': needs one of population, pool"):
    estimate(train, variables, [x], estimator='ema')
  with pytest.raises(ValueError, match='batches: there is none'):
    estimate(train, variables, [])
  evaluation = functools.partial(model.apply, use_running_average=True)
  with pytest.raises(ValueError, match='it has changed no statistics'):
    estimate(evaluation, variables, [x])
  one = np.ones((1, C), np.float32)
  with pytest.raises(ValueError, match=r"1 value per channel.*'pooled'"):
    estimate(train, variables, [one])
  variables = Foreign().init(jax.random.key(0), x)
  with pytest.raises(ValueError, match='batch_stats/mean is changed by a '):
    estimate(Foreign().apply, variables, [x])
