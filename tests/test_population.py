"""Population statistics: both estimators, their provenance, their distance."""

import dataclasses
import functools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bnresearch as bnr
from bnresearch import config as configs
from bnresearch import knobs, main
from bnresearch.assembly import assemble
from bnresearch.evaluation import distances, population
from bnresearch.runs import session
from bnresearch.runs.checkpoint import Checkpoints
from bnresearch.statistics.population import ESTIMATORS
from bnresearch.training import parallel, state
from configs import default

BATCHES, BATCH = 7, 12


def config_of(**values):
  config = default.get_config()
  dotted = {key.replace('__', '.'): value for key, value in values.items()}
  assert not configs.override(
    config,
    {
      'data.name': 'synthetic',
      'model.features': (9, 8),
      'train.batch_size': BATCH,
      'eval.population_batches': BATCHES,
    }
    | dotted,
  )
  assert not knobs.wrong(config)
  return config


@functools.cache
def setting(**values):
  """Returns parts, a random state that is said to be of step 20, data."""
  config = config_of(**values)
  parts = assemble(config)
  made = state.create(
    parts.network.model, parts.training.optimizer, (8, 8, 1), 3
  )
  made = made.replace(step=jnp.asarray(20, jnp.int32))
  return parts, made, parts.data.source('train')


def first_layer(parts, state, source):
  """Returns the first layer's values, (batches, examples, channels)."""
  kernel = np.asarray(state.params['hidden_1']['kernel'], np.float64)
  first = int(state.step)
  indices_TN = parts.training.order.indices(range(first, first + BATCHES))
  pixels = source.images_NHWC[indices_TN].reshape(BATCHES, BATCH, -1) / 255
  return pixels @ kernel


@pytest.mark.parametrize('group_size', [0, 4])
def test_population_is_algorithm_2(group_size):
  """Mean of batch means; mean of m/(m-1) times batch variances; in float64."""
  parts, before, source = setting(norm__group_size=group_size)
  found = parts.evaluation.estimate(before)['batch_stats']['hidden_1']['norm']
  x = first_layer(parts, before, source)
  groups = x.reshape(-1, group_size or BATCH, 9)
  np.testing.assert_allclose(found['mean'], x.mean((0, 1)), rtol=1e-5)
  var = groups.var(1, ddof=1).mean(0)
  np.testing.assert_allclose(found['var'], var, rtol=1e-5)


@pytest.mark.parametrize('norm', ['batch', 'evonorm_b0'])
def test_pooled_is_the_variance_of_all_values(norm):
  """Also of a norm whose running statistics have no mean."""
  parts, before, source = setting(norm__group_size=4, norm__name=norm)
  # In order of their classes, the batches differ in mean.
  order = np.argsort(source.labels_N, kind='stable')
  source = dataclasses.replace(
    source,
    images_NHWC=source.images_NHWC[order],
    labels_N=source.labels_N[order],
  )
  parts = assemble(parts.config, sources={'train': source})
  found = parts.evaluation.estimate(before, 'pooled')
  found = found['batch_stats']['hidden_1']['norm']
  assert (
    found.keys() == before.collections['batch_stats']['hidden_1']['norm'].keys()
  )
  x = first_layer(parts, before, source)
  if norm == 'batch':
    np.testing.assert_allclose(found['mean'], x.mean((0, 1)), rtol=1e-5)
  np.testing.assert_allclose(found['var'], x.var((0, 1)), rtol=1e-5)
  assert np.all(x.var(1).mean(0) < x.var((0, 1))), 'no difference'


@pytest.mark.parametrize('group_size', [0, 4])
def test_pooled_covariances_are_those_of_all_values(group_size, assert_close):
  parts, before, source = setting(
    norm__name='iterative_whitening', norm__group_size=group_size
  )
  found = parts.evaluation.estimate(before, 'pooled')
  found = found['batch_stats']['hidden_1']['norm']
  x = first_layer(parts, before, source).reshape(-1, 9)
  expected = np.cov(x.T, ddof=0).reshape(found['covariance'].shape)
  assert_close(found['covariance'], expected, rtol=1e-4)


@pytest.mark.parametrize('estimator', ESTIMATORS)
def test_what_is_no_statistic_of_a_batch_stays(estimator):
  parts, before, _ = setting(norm__name='batch_renorm')
  old = before.collections['batch_stats']['hidden_1']['norm']
  new = parts.evaluation.estimate(before, estimator)
  new = new['batch_stats']['hidden_1']['norm']
  assert new.keys() == old.keys()
  for name in old:
    assert new[name].dtype == old[name].dtype
  assert new['updates'] == old['updates'] == 0

  parts, before, _ = setting(norm__debias=True)
  new = parts.evaluation.estimate(before, estimator)
  assert new['batch_stats']['hidden_1']['norm']['weight'] == 0


def test_frozen_statistics_are_estimated_all_the_same():
  parts, before, source = setting(norm__frozen_statistics=True)
  new = parts.evaluation.estimate(before)
  mean = new['batch_stats']['hidden_1']['norm']['mean']
  x = first_layer(parts, before, source)
  np.testing.assert_allclose(mean, x.mean((0, 1)), rtol=1e-5)


def test_an_unknown_estimator_is_refused():
  parts, before, _ = setting()
  with pytest.raises(ValueError, match="'ema': needs one of population, pool"):
    parts.evaluation.estimate(before, 'ema')


# Their distance.


def test_distances_are_those_of_gaussians():
  random = np.random.RandomState(0)
  mean, moved = random.normal(size=(2, 4))
  var, var_e = random.uniform(0.5, 2, (2, 4))
  layer = lambda mean, var: {
    'batch_stats': {'block': {'norm': {'mean': mean, 'var': var}}}
  }
  found = distances.distances(layer(mean, var), layer(moved, var_e), 0.0)
  # KL(p || q) by numerical integration of p log(p/q).
  z = np.linspace(-12, 12, 20_001)[:, None]
  log_p = -((z - mean) ** 2) / (2 * var) - np.log(var) / 2
  log_q = -((z - moved) ** 2) / (2 * var_e) - np.log(var_e) / 2
  p = np.exp(log_p) / np.sqrt(2 * np.pi)
  kl = np.trapezoid(p * (log_p - log_q), z, axis=0).mean()
  assert found['block/norm'].divergence == pytest.approx(kl, rel=1e-6)
  shift = np.sqrt(np.mean((mean - moved) ** 2 / var))
  assert found['block/norm'].shift == pytest.approx(shift)
  spread = np.sqrt(np.mean(np.log(np.sqrt(var / var_e)) ** 2))
  assert found['block/norm'].spread == pytest.approx(spread)
  same = distances.distances(layer(mean, var), layer(mean, var), 1e-5)
  assert same['block/norm'] == (0, 0, 0)


def test_distances_come_in_the_order_of_numbers():
  one = {'norm': {'mean': np.zeros(1), 'var': np.ones(1)}}
  names = ('block_1/conv_10', 'block_1/conv_2', 'block_12', 'block_9', 'top')
  tree = {'batch_stats': dict.fromkeys(names, one)}
  found = distances.distances(tree, tree, 0.0)
  assert [name.removesuffix('/norm') for name in found] == [
    'block_1/conv_2',
    'block_1/conv_10',
    'block_9',
    'block_12',
    'top',
  ]


@pytest.mark.parametrize(
  'norm', ['batch', 'iterative_whitening', 'lp', 'none', 'evonorm_b0']
)
def test_every_kind_of_statistics_has_a_distance_or_none(norm):
  parts, before, _ = setting(norm__name=norm)
  new = parts.evaluation.estimate(before)
  found = distances.distances(new, before.collections, 1e-5)
  assert list(found) == (
    [] if norm == 'none' else ['hidden_1/norm', 'hidden_2/norm']
  )
  for distance in found.values():
    assert np.isfinite(distance).all()


@pytest.mark.parametrize('estimator', ESTIMATORS)
@pytest.mark.parametrize('norm', ['batch', 'iterative_whitening'])
def test_statistics_of_each_time_step_are_estimated_apart(norm, estimator):
  parts, before, _ = setting(
    model__name='lstm',
    model__features=(100, 100, 100),
    model__units=4,
    norm__name=norm,
  )
  new = parts.evaluation.estimate(before, estimator)
  old = before.collections
  shape = lambda tree: jax.tree.map(np.shape, tree)
  assert shape(new) == shape(old)
  hidden = new['batch_stats']['cell']['output']['norm']['mean']
  assert len(np.unique(np.round(hidden, 6), axis=0)) == len(hidden)
  for distance in distances.distances(new, old, 1e-5).values():
    assert np.isfinite(distance).all()
    assert (distance.shift > 0) == (norm != 'evonorm_b0')  # it keeps no mean
    assert min(distance.spread, distance.divergence) > 0


# Kept with the run.


@pytest.mark.parametrize(
  ('estimator', 'parts', 'devices'), [('population', 1, 4), ('pooled', 2, 6)]
)
def test_devices_and_parts_of_a_batch_change_nothing(
  estimator, parts, devices, monkeypatch, assert_close
):
  alone, made, _ = setting(norm__group_size=3)
  expected = alone.evaluation.estimate(made, estimator)
  monkeypatch.setattr(parallel.models, 'convolves', lambda model: True)
  placed, split = [], parallel.split
  monkeypatch.setattr(
    parallel, 'split', lambda batch: placed.append(split(batch)) or placed[-1]
  )
  config = config_of(norm__group_size=3, train__microbatches=parts)
  found = assemble(config).evaluation.estimate(made, estimator)
  assert_close(found, expected, rtol=1e-5)
  sizes = {x.sharding.shard_shape(x.shape)[0] for x in placed[-1]}
  assert sizes == {BATCH // devices}


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """Returns the directory of a run with checkpoints at 20 and 40."""
  path = tmp_path_factory.mktemp('population') / 'run'
  config = config_of(
    train__steps=40,
    train__log_every=20,
    eval__every=20,
    checkpoint__every=20,
  )
  assert session.train(assemble(config), path) == 'done'
  return path


def test_saved_statistics_are_used_at_their_step_only(
  trained, caplog, monkeypatch
):
  run = bnr.open_run(trained)
  state = run.restore(40)
  exact = run.with_statistics(state, 'population').collections
  folder = run.save_statistics(state, 'population')
  assert folder == trained / 'statistics' / 'population'
  with monkeypatch.context() as patch:
    patch.delattr(population, 'estimate')  # they need not be estimated
    again = bnr.open_run(trained).with_statistics(state, 'population')
  jax.tree.map(np.testing.assert_array_equal, again.collections, exact)
  jax.tree.map(np.testing.assert_array_equal, again.params, state.params)
  assert not caplog.records

  old = run.restore(20)
  other = run.with_statistics(old, 'population')
  assert caplog.messages == [
    'Stale statistics: population of step 40, beside parameters of step 20. '
    'They are not used, but estimated anew.'
  ]
  anew = run.parts.evaluation.estimate(old)
  jax.tree.map(np.testing.assert_array_equal, other.collections, anew)


def test_saved_statistics_are_not_those_of_changed_parameters(trained, caplog):
  run = bnr.open_run(trained)
  state = run.restore(40)
  run.save_statistics(state, 'population')
  changed = state.replace(params=jax.tree.map(lambda p: 2 * p, state.params))
  found = run.with_statistics(changed, 'population').collections
  assert 'of other parameters' in caplog.messages[-1]
  anew = run.parts.evaluation.estimate(changed)
  jax.tree.map(np.testing.assert_array_equal, found, anew)


def test_damaged_statistics_are_estimated_anew(trained, tmp_path, caplog):
  copy = shutil.copytree(trained, tmp_path / 'run')
  run = bnr.open_run(copy)
  state = run.restore(40)
  folder = run.save_statistics(state, 'pooled') / '40'
  exact = run.with_statistics(state, 'pooled').collections
  for part in ('meta/metadata', 'state/_METADATA'):
    file = folder / part
    whole = file.read_bytes()
    file.write_bytes(whole[: len(whole) // 2])
    found = bnr.open_run(copy).with_statistics(state, 'pooled')
    jax.tree.map(np.testing.assert_array_equal, found.collections, exact)
    assert 'estimated anew' in caplog.messages[-1]
    file.write_bytes(whole)


def test_statistics_are_saved_under_their_own_name_only(trained):
  run = bnr.open_run(trained)
  with pytest.raises(ValueError, match="'ema': needs one of population, pool"):
    run.save_statistics(run.restore(40), 'ema')


def test_saved_statistics_say_how_they_were_made(trained):
  run = bnr.open_run(trained)
  folder = run.save_statistics(run.restore(40), 'pooled')
  meta = Checkpoints(folder, keep=None).meta(40)
  assert meta['statistics'] == {
    'estimator': 'pooled',
    'batches': BATCHES,
    'batch_size': BATCH,
    'group_size': 0,
    'split': 'train',
    'of_step': 40,
  }
  assert meta['provenance']['jax'] == jax.__version__


def test_frozen_statistics_are_reported_as_stale(tmp_path, caplog):
  config = config_of(
    train__steps=2,
    train__log_every=1,
    eval__every=1,
    checkpoint__every=2,
    norm__frozen_statistics=True,
  )
  session.train(assemble(config), tmp_path / 'run')
  bnr.open_run(tmp_path / 'run').restore()
  assert caplog.messages == [
    'Stale statistics: ema of step 0, beside parameters of step 2.'
  ]


def test_the_command_line_shows_all_estimates_and_saves_them(
  trained, tmp_path, capsys
):
  arguments = ['--mode=eval', f'--workdir={trained}', '--step=20']
  assert main.main([*arguments, '--save_statistics']) == 0
  shown = capsys.readouterr().out
  for word in (
    'ema',
    'population',
    'pooled',
    'batch',
    'hidden_2/norm',
    'KL in',
  ):
    assert word in shown
  assert (trained / 'statistics' / 'pooled' / '20').is_dir()
  assert main.main(arguments) == 0
  again = capsys.readouterr().out
  assert again == shown[: len(again)]


def test_what_is_undefined_is_said_in_its_row(tmp_path, capsys):
  """Algorithm 2's variance, of groups of one value."""
  config = config_of(
    train__steps=1,
    train__log_every=1,
    eval__every=1,
    checkpoint__every=1,
    norm__group_size=1,
    norm__group_variance='pooled',
  )
  session.train(assemble(config), tmp_path / 'run')
  assert main.main(['--mode=eval', f'--workdir={tmp_path / "run"}']) == 0
  shown = capsys.readouterr().out
  assert 'undefined' in shown
  assert 'pooled' in shown


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (
      ['--mode=eval', '--workdir={}', '--step=foo'],
      'no checkpoint of step foo',
    ),
    (['--mode=eval', '--workdir={}', '--list'], 'takes no --config, --list'),
    (['--config=configs/default.py', '--step=7'], 'only for --mode=eval and'),
  ],
)
def test_flags_that_make_no_sense_are_refused(trained, flags, message, capsys):
  assert main.main([flag.format(trained) for flag in flags]) == 2
  assert message in capsys.readouterr().err
