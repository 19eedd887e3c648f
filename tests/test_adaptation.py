"""Batch norms that mix training's statistics with those of their input."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bnresearch as bnr
from bnresearch.norms import batch, batch_renorm, layer
from bnresearch.statistics.adaptation import adapted

EPSILON = 1e-5
BATCH = functools.partial(batch.Norm, epsilon=EPSILON)


class Two(nn.Module):
  """Two norms with a nonlinearity between them."""

  norm: functools.partial

  @nn.compact
  def __call__(self, x, *, train, mask=None):
    x = nn.relu(self.norm(name='first')(x, train=train, mask=mask))
    return self.norm(name='second')(x, train=train, mask=mask)


def inputs(N=6):
  random = np.random.default_rng(0)
  return jnp.asarray(random.normal(2, 3, (N, 4, 3)), jnp.float32)


def shaken(norm):
  """Returns a network, and variables none of which has its initial value."""
  model, random = Two(norm), np.random.default_rng(1)
  variables = model.init(jax.random.key(0), inputs(), train=False)
  return model, jax.tree.map(
    lambda x: (
      jnp.asarray(random.uniform(0.5, 2, x.shape), jnp.float32)
      if jnp.issubdtype(x.dtype, jnp.floating)
      else x
    ),
    variables,
  )


def mixed(variables, x, prior, counted=slice(None)):
  """Returns the output of the two norms, by NumPy in float64."""
  x = np.asarray(x, np.float64)
  variables = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), variables)
  n = len(x[counted])
  weight = prior / (prior + n)
  for k, name in enumerate(('first', 'second')):
    x = np.maximum(x, 0) if k else x
    stats, own = variables['batch_stats'][name], variables['params'][name]
    mean = weight * stats['mean'] + (1 - weight) * x[counted].mean((0, 1))
    var = weight * stats['var'] + (1 - weight) * x[counted].var((0, 1))
    x = (x - mean) / np.sqrt(var + EPSILON) * own['scale'] + own['bias']
  return x


@pytest.mark.parametrize(
  ('prior', 'options'),
  [
    (0.0, {}),
    (16.0, {}),
    (2.0, {'debias': True}),
    (2.0, {'group_size': 2}),
    (2.0, {'frozen_statistics': True}),
  ],
)
def test_each_norm_mixes_its_statistics_with_those_of_its_input(
  prior, options, assert_close
):
  model, variables = shaken(functools.partial(BATCH, **options))
  with adapted(prior):
    found = model.apply(variables, inputs(), train=False)
  assert_close(found, mixed(variables, inputs(), prior), rtol=1e-5)


def test_only_examples_of_the_mask_count(assert_close):
  model, variables = shaken(BATCH)
  x = inputs().at[3:].set(50.0)
  with adapted(4.0):
    mask = jnp.arange(6) < 3
    found = model.apply(variables, x, train=False, mask=mask)
  expected = mixed(variables, x, 4.0, slice(0, 3))
  assert_close(found[:3], expected[:3], rtol=1e-5)


@pytest.mark.parametrize('norm', [BATCH, batch_renorm.Norm])
def test_the_ends_are_the_running_statistics_and_the_batchs(norm, assert_close):
  model, variables = shaken(norm)
  run = functools.partial(model.apply, variables, inputs())
  with adapted(1e9):
    found = run(train=False)
  assert_close(found, run(train=False), rtol=1e-5)
  if norm is BATCH:
    with adapted(0.0):
      found = run(train=False)
    assert_close(found, run(train=True), rtol=1e-5)


def test_a_compiled_function_takes_any_prior(assert_close):
  model, variables = shaken(BATCH)

  @jax.jit
  def apply(prior):
    with adapted(prior):
      return model.apply(variables, inputs(), train=False)

  for prior in (1.0, 8.0):
    assert_close(apply(prior), mixed(variables, inputs(), prior), rtol=1e-5)
  assert apply._cache_size() == 1


def test_a_norm_without_running_statistics_stays_as_it_is():
  model, variables = shaken(layer.Norm)
  expected = model.apply(variables, inputs(), train=False)
  with adapted(4.0):
    found = model.apply(variables, inputs(), train=False)
  np.testing.assert_array_equal(found, expected)


def test_beyond_the_body_nothing_adapts():
  model, variables = shaken(BATCH)
  before = model.apply(variables, inputs(), train=False)
  with adapted(0.0):
    inside = model.apply(variables, inputs(), train=False)
  after = model.apply(variables, inputs(), train=False)
  np.testing.assert_array_equal(after, before)
  assert np.abs(inside - before).max() > 0.1


@pytest.fixture(scope='module')
def run(tmp_path_factory):
  config = bnr.default_config()
  config.data.name = 'synthetic'
  config.data.examples = 60
  config.model.features = (6,)
  config.train.steps, config.train.batch_size = 4, 8
  config.train.log_every = config.eval.every = config.checkpoint.every = 4
  config.eval.population_batches = 3
  path = tmp_path_factory.mktemp('adapted') / 'run'
  return bnr.train(config, path, quiet=True)


def test_a_runs_network_adapts_to_its_images(run, assert_close):
  state, images = run.restore(), run.source('test').images_NHWC[:12]
  apply = bnr.adapt_run(run, state)
  assert_close(apply(images, 0), run.apply(state, images, 'batch'), rtol=1e-5)
  assert_close(apply(images, 1e9), run.apply(state, images), rtol=1e-5)
  exact = bnr.adapt_run(run, state, 'population')(images, 1e9)
  assert_close(exact, run.apply(state, images, 'population'), rtol=1e-5)


def test_the_batchs_statistics_are_not_mixed_with_themselves(run):
  with pytest.raises(
    ValueError, match=r"'batch': needs one of ema, population, pooled, which"
  ):
    bnr.adapt_run(run, run.restore(), 'batch')
