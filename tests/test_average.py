"""The average of the parameters: its formula, and statistics of its own."""

import logging

import jax
import numpy as np
import optax
import pytest

import bnresearch as bnr
from bnresearch import config as configs
from bnresearch import main
from bnresearch.assembly import assemble
from bnresearch.evaluation import average, evaluate, population
from bnresearch.runs import checkpoint, recorder, session, start
from bnresearch.statistics.population import ESTIMATORS
from bnresearch.training import optimizer, step
from bnresearch.training import state as states
from configs import default
from tests.test_accumulation import batch, train_step_of
from tests.test_accumulation import config_of as small_config

DECAY = 0.75


def test_the_average_is_that_of_the_formula_once_a_step():
  config = small_config(norm__name='none')
  model = assemble(config).network.model
  updates = optimizer.make(10, **config.optim)
  now = states.create(model, updates, (8, 8, 1), 0, averaged=True)
  inputs = lambda key, x, y: (x / 255, jax.nn.one_hot(y, 10))
  train_step = jax.jit(
    step.make_train_step(model, updates, inputs, average=DECAY)
  )
  expected = jax.tree.map(np.float64, now.params)
  for _ in range(3):
    now, _ = train_step(now, batch(), jax.random.key(0))
    expected = jax.tree.map(
      lambda a, p: DECAY * a + (1 - DECAY) * np.float64(p), expected, now.params
    )
  jax.tree.map(
    lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7),
    now.average,
    expected,
  )
  off, _ = train_step_of(config)
  assert off.average == {}


def config_of(**values):
  config = default.get_config()
  dotted = {key.replace('__', '.'): value for key, value in values.items()}
  assert not configs.override(
    config,
    {
      'data.name': 'synthetic',
      'model.features': (9, 8),
      'train.batch_size': 12,
      'train.steps': 8,
      'train.log_every': 2,
      'train.average': DECAY,
      'eval.every': 4,
      'eval.population_batches': 5,
      'checkpoint.every': 4,
    }
    | dotted,
  )
  return config


@pytest.fixture(scope='module')
def trained(tmp_path_factory):
  """Returns the directory of a run with checkpoints at 4 and 8."""
  path = tmp_path_factory.mktemp('average') / 'run'
  assert session.train(assemble(config_of()), path) == 'done'
  return path


def test_a_run_continues_with_its_average_bit_for_bit(trained, tmp_path):
  """The checkpoint of step 4 is where the second run begins."""
  path = tmp_path / 'run'
  config = config_of()
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(recorder.Recorder, 'log_evaluation', _stop_at_8)
    with pytest.raises(KeyboardInterrupt):
      session.train(assemble(config), path)
  assert bnr.open_run(path).checkpoints == [4]
  assert session.train(assemble(config), path) == 'done'
  whole, again = bnr.open_run(trained).restore(), bnr.open_run(path).restore()
  assert jax.tree.leaves(whole.average)
  assert checkpoint.digest(whole) == checkpoint.digest(again)


_log_evaluation = recorder.Recorder.log_evaluation


def _stop_at_8(of_run, done, means):
  if done == 8:
    raise KeyboardInterrupt
  _log_evaluation(of_run, done, means)


def test_a_checkpoint_without_average_has_the_tree_of_before(tmp_path):
  """So runs from before there were averages can be restored."""
  config = small_config(norm__name='none')
  fresh, _ = train_step_of(config)
  assert 'average' not in states.nested(fresh)
  assert 'average' not in states.nested(states.nested(fresh))
  checkpoints = checkpoint.Checkpoints(tmp_path, 1)
  checkpoints.save(fresh, None, {})
  restored = checkpoints.restore(fresh)
  assert restored.average == {}
  checkpoints.close()


def test_the_average_of_a_run_that_starts_from_another_begins_there(
  trained, tmp_path
):
  config = config_of(start__path=str(trained), start__checkpoint='8')
  parts = assemble(config)
  fresh = states.create(
    parts.network.model, optax.sgd(0.1), (8, 8, 1), 1, averaged=True
  )
  begun = start.into(fresh, parts)
  before = bnr.open_run(trained).restore(8).params
  jax.tree.map(np.testing.assert_array_equal, begun.average, before)
  give = jax.jit(lambda x: jax.tree.map(lambda x: x + 1, x), donate_argnums=0)
  give(begun)  # so no array is in it twice


@pytest.mark.parametrize('norm', ['batch', 'batch_renorm'])
@pytest.mark.parametrize('estimator', ESTIMATORS)
def test_its_statistics_owe_nothing_to_those_of_training(norm, estimator):
  config = config_of(norm__name=norm, norm__renorm_start=0, norm__r_max_at=1)
  parts = assemble(config)
  model = parts.network.model
  made = states.create(model, optax.sgd(0.1), (8, 8, 1), 0, averaged=True)
  raw = jax.tree.map(lambda x: 5 * x + 1, made.collections)  # renormalizes
  made = made.replace(
    params=jax.tree.map(lambda p: p + 1, made.params), collections=raw
  )
  averaged = average.instead(made, estimator)
  found = parts.evaluation.estimate(averaged, estimator, averaged=True)
  plain = config_of()
  begun = states.create(
    assemble(plain).network.model, optax.sgd(0.1), (8, 8, 1), 0
  ).replace(params=made.average)
  expected = assemble(plain).evaluation.estimate(begun, estimator)
  for layer, statistics in expected['batch_stats'].items():
    for name, value in statistics['norm'].items():
      np.testing.assert_allclose(
        found['batch_stats'][layer]['norm'][name], value, rtol=1e-5, atol=1e-6
      )


def test_running_statistics_are_refused_for_it(trained):
  run = bnr.open_run(trained)
  state = run.restore()
  images = run.source('test').images_NHWC[:5]
  with pytest.raises(
    ValueError, match=r"'ema': those of training .* population, pooled, batch"
  ):
    run.apply(state, images, average=True)
  with pytest.raises(ValueError, match=r'average: this state has none\. Train'):
    run.apply(
      state.replace(average={}), images, statistics='batch', average=True
    )


def test_a_run_applies_it_by_its_own_statistics(trained):
  run = bnr.open_run(trained)
  state, images = run.restore(), run.source('test').images_NHWC[:5]
  found, _ = run.apply(state, images, 'population', average=True)
  averaged = average.instead(state, 'population')
  collections = run.parts.evaluation.estimate(averaged)
  forward = evaluate.make_forward(run.parts.network.evaluated, 'ema')
  expected, _ = forward(
    state.average, collections, run.parts.images.pixels(images)
  )
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
  raw, _ = run.apply(state, images, 'population')
  assert np.abs(found - raw).max() > 1e-3


def test_saved_statistics_of_both_stand_side_by_side(trained, caplog):
  run = bnr.open_run(trained)
  state = run.restore()
  raw = run.save_statistics(state, 'pooled')
  own = run.save_statistics(state, 'pooled', average=True)
  assert (raw.name, own.name) == ('pooled', 'average_pooled')
  exact = run.with_statistics(state, 'pooled', average=True).collections
  with pytest.MonkeyPatch.context() as patch:
    patch.delattr(population, 'estimate')  # they need not be estimated
    again = bnr.open_run(trained)
    found = again.with_statistics(state, 'pooled', average=True)
    other = again.with_statistics(state, 'pooled')
  jax.tree.map(np.testing.assert_array_equal, found.collections, exact)
  jax.tree.map(np.testing.assert_array_equal, found.params, state.average)
  jax.tree.map(np.testing.assert_array_equal, other.params, state.params)
  assert not caplog.records


def at_the_end(config, made):
  """Returns the row of a state at the end of training."""
  parts = assemble(config)
  evaluator = parts.evaluation.evaluators(
    jax.jit(parts.evaluation.add_batch())
  )['test']

  def estimate(state):
    return parts.evaluation.estimate(state, averaged=True)

  by_batch = config.eval.statistics == 'batch'
  return average.evaluate(made, evaluator, None if by_batch else estimate)


@pytest.mark.parametrize('statistics', ['ema', 'batch'])
def test_the_end_of_training_logs_it(trained, statistics):
  run = bnr.open_run(trained)
  config = config_of(eval__statistics=statistics)
  state = run.restore()
  rows = at_the_end(config, state)
  kind = 'batch' if statistics == 'batch' else 'population'
  state = run.with_statistics(state, kind, average=True)
  expected = run.evaluate(state, statistics)
  assert rows == {
    'average/loss': pytest.approx(expected['loss'], rel=1e-5),
    'average/accuracy': expected['accuracy'],
    'average/top5_accuracy': expected['top5_accuracy'],
  }


def test_undefined_statistics_are_no_end_of_a_run(caplog):
  config = config_of(norm__group_size=1, norm__group_variance='pooled')
  model = assemble(config).network.model
  made = states.create(model, optax.sgd(0.1), (8, 8, 1), 0, averaged=True)
  with caplog.at_level(logging.WARNING):
    rows = at_the_end(config, made)
  assert rows == {}
  assert 'averaged parameters are not evaluated: A group' in caplog.text


def test_the_command_line_has_rows_for_it(trained, capsys):
  assert main.main(['--mode=eval', f'--workdir={trained}']) == 0
  printed = capsys.readouterr().out
  assert 'The best step is chosen by test accuracy.' in printed
  rows = [line for line in printed.splitlines() if 'averaged' in line]
  assert len(rows) == 3
  for row, kind in zip(rows, ('population', 'pooled', 'batch, of 1,000')):
    assert f'{kind}, averaged parameters' in row
