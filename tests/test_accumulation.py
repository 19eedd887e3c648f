"""Parts of a batch against the whole batch: only rounding may differ."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bnresearch import config as configs
from bnresearch.assembly import assemble
from bnresearch.training import (
  accumulation,
  feed,
  optimizer,
  parallel,
  state,
  step,
)
from bnresearch.training.stream import Examples
from configs import default
from tests.daily import some

N, SIZE = 48, 8


def config_of(**values):
  config = default.get_config()
  dotted = {key.replace('__', '.'): value for key, value in values.items()}
  assert not configs.override(
    config,
    {
      'train.batch_size': N,
      'model.features': (16, 16),
      'model.width': 0.1,
      'model.min_width': 4,
      'optim.learning_rate': 0.5,
    }
    | dotted,
  )
  return config


def batch():
  """Returns images whose classes have means of their own."""
  random = np.random.RandomState(0)
  labels_N = random.randint(0, 10, N)
  noise = random.randint(0, 100, (N, SIZE, SIZE, 1))
  images = noise + 15 * labels_N[:, None, None, None]
  return Examples(jnp.asarray(images, jnp.uint8), jnp.asarray(labels_N))


def inputs(key, images, labels_N):
  return images.astype(jnp.float32) / 255, jax.nn.one_hot(labels_N, 10)


def train_step_of(config, microbatches=1, backend='jit'):
  """Returns a state before any step, and the step."""
  model = assemble(config).network.model
  updates = optimizer.make(10, **config.optim)
  first = state.create(model, updates, (SIZE, SIZE, 1), config.seed)
  train_step = step.make_train_step(
    model, updates, inputs, backend=backend, microbatches=microbatches
  )
  return first, train_step


def after_two_steps(config, microbatches=1, devices=1, backend='jit'):
  """Returns the state, and the second step's metrics."""
  first, train_step = train_step_of(config, microbatches, backend)
  # Away from what the running statistics begin with.
  first = first.replace(
    collections=jax.tree.map(
      lambda x: x + 1 if x.dtype == jnp.float32 else x, first.collections
    )
  )
  with jax.set_mesh(parallel.mesh_of(jax.devices()[:devices])):
    train_step = jax.jit(train_step)
    now, _ = train_step(first, batch(), jax.random.key(0))
    return jax.tree.map(np.asarray, train_step(now, batch(), jax.random.key(0)))


NORMS = {
  'batch': {'norm__group_size': 3},
  'debiased': {'norm__group_size': 12, 'norm__debias': True},
  'batch_renorm': {
    'norm__name': 'batch_renorm',
    'norm__group_size': 12,
    'norm__renorm_start': 0,
    'norm__r_max_at': 1,
    'norm__d_max_at': 1,
  },
  'none': {'norm__name': 'none'},
  'lenet': {
    'model__name': 'lenet',
    'model__stem': 'small',
    'norm__group_size': 4,
  },
  'whole batches': {'norm__frozen_statistics': True},
}


@functools.cache
def whole(name):
  return after_two_steps(config_of(**NORMS[name]))


@pytest.mark.parametrize(
  ('name', 'devices', 'backend'),
  some(
    [
      *((name, 1, 'jit') for name in NORMS),
      ('batch', 4, 'jit'),
      ('lenet', 4, 'jit'),
      ('batch', 4, 'shard_map'),
      ('batch_renorm', 4, 'shard_map'),
      ('batch', 4, 'pmap'),
    ],
    *((name, 1, 'jit') for name in ('batch', 'batch_renorm', 'none', 'lenet')),
    *(('batch', 4, 'jit'), ('batch', 4, 'shard_map')),
  ),
)
def test_parts_of_a_batch_equal_the_whole(name, devices, backend, assert_close):
  config = config_of(**NORMS[name])
  found = after_two_steps(config, 4, devices, backend)
  assert_close(found, whole(name), rtol=2e-5)
  if name == 'batch_renorm':
    (layer, _) = found[0].collections['batch_stats'].values()
    assert layer['norm']['updates'] == 2


def test_the_optimizer_makes_one_update_of_all_parts():
  config = config_of(norm__name='none', optim__clip_norm=1e-3)
  first, _ = train_step_of(config)
  found, _ = after_two_steps(config, 4)
  moved = jax.tree.map(lambda a, b: a - b, found.params, first.params)
  # Two updates, each of a clipped gradient times the learning rate.
  assert 0.9e-3 < optax.tree.norm(moved) <= 1.001e-3
  counts = [x for x in jax.tree.leaves(found.opt_state) if x.shape == ()]
  assert counts == [2]


def test_each_part_draws_its_own_dropout():

  def gradient(params, collections, part, key):
    return params, collections, jax.random.uniform(key, (len(part),))

  of_all = accumulation.in_parts(gradient, 3)
  _, _, drawn_N = of_all(jnp.ones(2), {}, jnp.zeros(12), jax.random.key(0))
  assert len(np.unique(drawn_N)) == 12


def test_a_part_that_does_not_lie_evenly_on_the_devices_is_refused():
  config = config_of(norm__name='none')
  with pytest.raises(
    ValueError,
    match=r'microbatches = 8: a part of 6 examples .* on 4 devices\. Set',
  ):
    after_two_steps(config, 8, devices=4)


def test_eight_parts_take_a_fraction_of_the_memory():
  config = config_of(
    norm__name='none', model__features=(256,) * 8, model__width=1.0
  )

  def needed(microbatches):
    first, train_step = train_step_of(config, microbatches)
    many = jax.tree.map(
      lambda x: jnp.tile(x, (50,) + (1,) * (x.ndim - 1)), batch()
    )
    compiled = jax.jit(train_step).lower(first, many, jax.random.key(0))
    return compiled.compile().memory_analysis().temp_size_in_bytes

  assert needed(8) < 0.4 * needed(1)


def test_parts_that_a_cpu_would_convolve_in_a_loop_are_in_none():
  def loops(name):
    config = config_of(**NORMS[name])
    first, train_step = train_step_of(config, 4)
    program = jax.jit(train_step).lower(first, batch(), jax.random.key(0))
    return 'stablehlo.while' in program.as_text()

  assert loops('batch')
  assert not loops('lenet')


def test_steps_in_parts_can_be_scanned(assert_close):
  config = config_of(**NORMS['batch'])
  first, train_step = train_step_of(config, 4)
  split = batch()
  indices_TN = np.stack([np.arange(N)] * 3)
  example = first, split, indices_TN[0]
  advance = feed.make_advance(train_step, 'always', example)
  _, metrics = advance(first, split, indices_TN, jax.random.key(0))
  first, train_step = train_step_of(config)
  advance = feed.make_advance(train_step, 'always', example)
  _, expected = advance(first, split, indices_TN, jax.random.key(0))
  assert_close(metrics, expected, rtol=1e-5)
