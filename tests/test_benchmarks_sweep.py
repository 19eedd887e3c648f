"""The sweep whose speed is measured, and how its times are reported."""

import argparse
import logging
import random

import jax
import jax.numpy as jnp
import pytest

from benchmarks import _sweep_contestants as contestants
from benchmarks import sweep
from bnresearch.sweeps.vectorized import traced


def arguments(*flags):
  return sweep._parse(['--data=synthetic', *flags])


def test_32_points_are_8_rates_with_4_seeds_of_one_program():
  found = contestants.points_of(arguments())
  configs = [point.config for point in found]
  pairs = {(c.optim.learning_rate, c.seed) for c in configs}
  rates, seeds = ({pair[k] for pair in pairs} for k in (0, 1))
  assert (len(pairs), len(rates), seeds) == (32, 8, {0, 1, 2, 3})
  assert len({traced.kind(c) for c in configs}) == 1
  first = configs[0]
  assert first.norm.name == 'batch'
  assert first.probes.names == ()
  assert first.checkpoint.every == first.train.steps == 2000


def test_the_study_of_figure_1_has_its_points_as_published():
  args = arguments('--study=figure1', '--steps=500')
  found = contestants.points_of(args)
  assert args.points == len(found) == 4
  chosen = {(p.config.model.init_std, p.config.norm.name) for p in found}
  assert chosen == {(s, n) for s in (0.01, 0.1) for n in ('none', 'batch')}
  assert all(p.config.probes.names for p in found)
  skipped = contestants.measure('torch', args, None)
  assert skipped == {'skipped': 'PyTorch trains the rates only'}


def test_steps_that_no_run_can_have_are_refused():
  with pytest.raises(SystemExit, match=r'train.steps .* 750'):
    arguments('--steps=750')


@pytest.mark.parametrize('flag', ['--contestants=tensorflow', '--widths=4,0'])
def test_a_wrong_list_is_refused_by_name(flag, capsys):
  with pytest.raises(SystemExit):
    arguments(flag)
  assert f'{flag.partition("=")[2]}: needs' in capsys.readouterr().err


def test_compilations_are_counted_in_the_log_of_this_jax(caplog):
  def scanned(x):
    return 3 * x - new  # no program that the tests have kept

  with caplog.at_level(logging.WARNING), jax.log_compiles():
    x = jnp.ones(3)
    for _ in range(2):
      new = random.random()
      jax.jit(lambda x: scanned(x))(x)
      jax.jit(scanned)(x)
      jax.clear_caches()
  log = '\n'.join(record.getMessage() for record in caplog.records)
  found = contestants.compilations(log)
  assert found['training_programs'] == 2
  assert found['programs'] >= 4
  assert found['compile_s'] > 0
  hit = "\nPersistent compilation cache hit for 'jit_scanned' with key 'k'"
  cached = contestants.compilations(log + hit)
  assert cached['training_programs'] == 1
  assert cached['programs'] == found['programs'] - 1


def result(whole, compiled, platform='cpu'):
  return {
    'whole_s': whole,
    'train_s': whole / 2,
    'platform': platform,
    'training_programs': compiled,
  }


def test_verdicts_follow_from_the_times_of_each_round():
  rounds = {
    'vectorized': [result(10.0, 1), result(20.0, 1)],
    'sequential': [result(15.0, 8), result(40.0, 8)],
    'uncached': [result(20.0, 32), result(50.0, 32)],
    'torch': [{'whole_s': whole} for whole in (30.0, 72.0)],
  }
  slower, torch, once = sweep._judge(rounds)
  assert (slower.holds, torch.holds) == ((True, True), (False, True))
  assert slower.measured == '1.75, median of [1.5, 2.0]'
  assert once.verdict == 'reproduced'
  assert once.measured == 'vectorized 1, sequential 8, uncached 32'

  rounds['torch'] = [{'skipped': 'not here'}] * 2
  rounds['vectorized'] = [result(1.0, 2, 'gpu'), result(5.0, 1, 'gpu')]
  slower, once = sweep._judge(rounds)
  assert '10.0 times as fast as sequential' in slower.claim
  assert slower.verdict == once.verdict == '1 of 2 times'


def test_the_best_width_takes_least_time_for_a_step_of_a_member(monkeypatch):
  turns = []

  def measure(name, args, data):
    turns.append(args.points)
    return {'train_s': {2: 4.0, 4: 6.0}[args.points]}

  monkeypatch.setattr(contestants, 'measure', measure)
  args = argparse.Namespace(rounds=2, widths=[2, 4], points=32, steps=1000)
  assert sweep._widths(args, None) == pytest.approx({2: 2.0, 4: 1.5})
  assert turns == [2, 4, 4, 2]
