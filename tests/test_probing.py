"""Probes in a run: when they are due, what they see, and what they cost."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bnresearch as bnr
from bnresearch import config as configs
from bnresearch import models
from bnresearch.assembly import assemble
from bnresearch.config import ConfigError
from bnresearch.probes import Batch
from bnresearch.runs import session
from bnresearch.sweeps.points import Point, points
from bnresearch.sweeps.vectorized import launcher
from bnresearch.terminal import Console
from configs import default
from tests import published, views

STEPS = (1, 2, 5, 30)


def config_of(**values):
  config = default.get_config()
  given = {
    'data.name': 'synthetic',
    'model.features': (7, 6),
    'model.init_std': 0.3,
    'train.steps': 40,
    'train.batch_size': 8,
    'train.log_every': 20,
    'eval.every': 20,
    'checkpoint.every': 20,
    'probes.names': ('gradient_norm', 'gradient_shift', 'activation_moments'),
    'probes.every': 20,
    'probes.steps': STEPS,
    'probes.examples': 16,
  }
  given |= {key.replace('__', '.'): value for key, value in values.items()}
  assert configs.override(config, given) == []
  return config.lock()


def train(config, path, interrupted=None):
  assert session.train(assemble(config), path, interrupted) in {
    'done',
    'preempted',
  }
  return bnr.open_run(path)


@pytest.fixture(scope='module')
def alone(tmp_path_factory):
  return train(config_of(), tmp_path_factory.mktemp('alone') / 'run')


def test_probes_are_due_at_the_start_the_steps_the_interval_and_the_end(alone):
  steps, _ = alone.metrics['probe/gradient_norm/norm']
  assert steps.tolist() == [0, *STEPS[:3], 20, 30, 40]
  # Each call of steps ends there, and has a row.
  assert alone.metrics['train/loss'].steps.tolist() == [*STEPS[:3], 20, 30, 40]
  assert alone.metrics['test/loss'].steps.tolist() == [0, 20, 40]


def test_an_interval_of_zero_leaves_the_listed_steps(tmp_path):
  run = train(config_of(probes__every=0), tmp_path / 'run')
  steps, _ = run.metrics['probe/gradient_norm/norm']
  assert steps.tolist() == [0, *STEPS[:3], 30, 40]


def test_probing_changes_nothing_that_is_trained(alone, tmp_path, assert_close):
  quiet = config_of(probes__names=(), probes__steps=(), probes__every=500)
  without = train(quiet, tmp_path / 'run')
  params = [run.restore().params for run in (alone, without)]
  assert_close(*params, rtol=1e-6)


def test_results_lie_in_the_order_of_the_forward_pass(alone):
  names = [*alone.metrics]
  norms = [n for n in names if n.startswith('probe/gradient_norm/')]
  assert norms[:2] == [f'probe/gradient_norm/{n}' for n in ('growth', 'norm')]
  layers = [name.split('/')[2] for name in norms[2:]]
  assert layers == sorted(layers)  # hidden_1, hidden_2, logits
  assert (layers[0], layers[-1]) == ('hidden_1', 'logits')
  assert norms.index('probe/gradient_norm/hidden_1/kernel') < norms.index(
    'probe/gradient_norm/hidden_1/norm/scale'
  )


def test_the_summary_says_what_a_record_costs(alone):
  status = json.loads((alone.path / 'status.json').read_text())
  assert 0 < status['probe_seconds'] < 60


def test_a_run_that_was_interrupted_has_the_same_rows(alone, tmp_path):
  stops = iter([False, False, True])  # after step 5
  path = tmp_path / 'run'
  train(config_of(), path, lambda: next(stops))
  assert bnr.open_run(path).status['step'] == 5
  train(config_of(), path)
  rows = [(p / 'metrics.jsonl').read_text() for p in (alone.path, path)]
  assert rows[0] == rows[1]


def test_members_of_a_program_are_probed_like_runs_alone(
  alone, tmp_path, assert_close
):
  members = [
    Point(f'seed={seed}', config_of(seed=seed), ('seed',)) for seed in (0, 1)
  ]
  launcher.run(members, tmp_path, Console(quiet=True))
  run = bnr.open_run(tmp_path / 'seed=0')
  assert [*run.metrics] == [*alone.metrics]
  for name, (steps, values) in alone.metrics.items():
    assert run.metrics[name].steps.tolist() == steps.tolist()
    assert_close(run.metrics[name].values, values, rtol=2e-3)


@pytest.mark.grid
def test_two_devices_find_what_one_does(tmp_path, assert_close):
  runs = [
    train(
      config_of(
        model__name='lenet',
        model__features=(),
        model__init_std=0.01,
        model__stem='small',
        model__width=0.3,
        train__steps=2,
        train__log_every=1,
        eval__every=1,
        checkpoint__every=2,
        probes__every=1,
        probes__steps=(),
        parallel__devices=devices,
      ),
      tmp_path / str(devices),
    )
    for devices in (1, 2)
  ]
  for name, (_, values) in runs[0].metrics.items():
    assert_close(runs[1].metrics[name].values, values, rtol=1e-4)


def test_steps_after_the_end_are_refused():
  config = config_of(probes__steps=(10, 60))
  with pytest.raises(
    ConfigError,
    match=r'probes.steps = \(10, 60\): the run ends at train.steps = 40',
  ):
    points(config, {})


# What a view shows.


@pytest.fixture
def normed():
  """A network with BN, its variables, and two batches, in float64."""
  with jax.enable_x64(True):
    model = published.small('mlp')
    random = np.random.RandomState(0)
    train, test = (
      Batch(
        jnp.asarray(random.normal(1, 2, (12, 3, 3, 1))),
        jnp.asarray(random.randint(0, 10, 12)),
      )
      for _ in range(2)
    )
    drawn = published.drawn(model, 3, channels=1)
    variables = jax.tree.map(lambda x: x.astype(jnp.float64), drawn)
    yield model, variables, train, test


def test_frozen_statistics_are_those_of_the_batch_at_the_base_point(
  normed, assert_close
):
  by_batch, frozen, running = (
    views.of_model(*normed, gradient_statistics=statistics)
    for statistics in ('batch', 'frozen', 'ema')
  )
  loss = by_batch.loss_at(by_batch.params)
  assert_close(frozen.loss_at(frozen.params), loss, 1e-5)
  assert not np.isclose(running.loss_at(running.params), loss, rtol=1e-2)
  # Twice the weights: BN undoes that by statistics made anew only.
  twice = jax.tree.map(jnp.copy, by_batch.params)
  twice['hidden_1']['kernel'] *= 2
  assert_close(by_batch.loss_at(twice), loss, 1e-4)
  assert not np.isclose(frozen.loss_at(twice), loss, rtol=1e-3)


def test_the_update_is_the_optimizers(normed, assert_close):
  view = views.of_model(*normed)
  expected = jax.tree.map(lambda g: -0.1 * g, view.gradient)
  assert_close(view.update, expected, 1e-6)


def test_curvature_is_the_change_of_the_gradient(normed, assert_close):
  view = views.of_model(*normed)
  random = np.random.RandomState(0)
  direction = jax.tree.map(
    lambda x: jnp.asarray(random.normal(size=x.shape), x.dtype), view.params
  )
  small = 1e-6
  moved = lambda sign: view.gradient_at(
    jax.tree.map(lambda x, d: x + sign * small * d, view.params, direction)
  )
  expected = jax.tree.map(
    lambda a, b: (a - b) / (2 * small), moved(1), moved(-1)
  )
  assert_close(view.curvature_along(direction), expected, rtol=1e-5)


@pytest.mark.parametrize('remat', ['none', 'blocks'])
@pytest.mark.parametrize('model', ['mlp', 'densenet'])
def test_an_offset_of_a_tap_moves_it_and_all_above(model, remat, assert_close):
  module = published.small(model, layers={'remat': remat})
  size = published.size_of(model)
  x_NHWC = published.images(size, N=3)
  variables = module.init(jax.random.key(0), x_NHWC, train=False)
  site = models.order(published.small(model), (size, size, 3)).open[1]

  @jax.jit
  def apply(offset):
    with models.offset({site: offset}):
      return module.apply(variables, x_NHWC, train=False)

  _, taps = module.apply(variables, x_NHWC, train=False)
  same, moved = apply(jnp.zeros_like(taps[site])), apply(taps[site])
  assert_close(same[1], taps, rtol=1e-5)
  assert_close(moved[1][site], 2 * taps[site], rtol=1e-5)
  below = models.order(published.small(model), (size, size, 3)).sites[0]
  assert_close(moved[1][below], taps[below], rtol=1e-5)
  assert not np.allclose(moved[0], same[0])
  slope = jax.grad(lambda offset: apply(offset)[0].sum())(0 * taps[site])
  assert np.abs(slope).max() > 0


def test_taps_in_a_loop_over_time_are_not_open():
  found = models.order(published.small('lstm'), (16, 16, 3))
  assert 'cell/gates' in found.sites
  assert found.open == ()
  assert found.activations['cell/candidate'] == 'tanh'


def test_the_order_tells_what_follows_each_tap():
  relu = models.order(published.small('resnet'), (16, 16, 3))
  assert {*relu.activations.values()} == {'relu'}
  fused = models.order(published.small('mlp', 'evonorm_b0'), (4, 4, 1))
  assert {*fused.activations.values()} == {''}
