"""Experiments: each passes a dry run, is listed, and tells what it is."""

import functools
import json
import os
import re
import signal
import threading
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.assembly import assemble
from bnresearch.reports import claims, drift
from configs import default
from experiments import ioffe2015_figure1 as figure1
from tests import folders, studies

EXPERIMENTS = studies.names('experiments')
OF_THE_SAME_RUNS = 'ioffe2015_figure2', 'ioffe2015_figure3'
DRY_RUN_BELOW = 'ioffe2015_figure1', *OF_THE_SAME_RUNS


def dry_run(name, tmp_path, *arguments):
  return studies.dry_run('experiments', name, tmp_path, *arguments)


@pytest.mark.parametrize('name', sorted({*EXPERIMENTS} - {*DRY_RUN_BELOW}))
@pytest.mark.study
def test_an_experiment_passes_its_dry_run(name, tmp_path):
  arguments = []
  if name == 'flowers':
    folder = folders.in_order(tmp_path / 'photographs')
    arguments = [f'--folder={folder}', '--models=googlenet']
  dry_run(name, tmp_path, *arguments)


@pytest.mark.study
def test_figures_2_and_3_pass_their_dry_run_with_the_same_runs(tmp_path):
  workdir = f'--workdir={tmp_path / "runs"}'
  first, second = (
    dry_run(name, tmp_path, workdir) for name in OF_THE_SAME_RUNS
  )
  assert second['runs'] == first['runs']  # to the seconds that they took
  # Of the runs, not of the process that only reads them.
  for key in ('date', 'threads', 'commit'):
    assert second[key] == first[key]


def test_an_interrupted_study_says_how_it_is_continued(tmp_path, capsys):
  def interrupt():
    while not next(tmp_path.glob('*/status.json'), None):
      time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGTERM)

  threading.Thread(target=interrupt, daemon=True).start()
  study = [f'--workdir={tmp_path}', '--processes=1', '--steps=1000000']
  assert figure1.main(study) == 1
  assert 'the same command continues them' in capsys.readouterr().out


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_the_header_has_claim_source_command_cost_and_result(name):
  studies.assert_header('experiments', name)


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_the_header_names_a_room_of_the_library(name):
  text = (studies.ROOT / 'experiments' / f'{name}.py').read_text()
  (room,) = re.findall(r'^Room: +(\w+)$', text, re.M)
  assert (studies.ROOT / 'bnresearch' / room).is_dir(), room


def test_all_experiments_are_listed_with_their_verdicts():
  result = studies.run('experiments')
  assert result.returncode == 0, result.stderr
  listed = result.stdout
  for name in EXPERIMENTS:
    assert f'experiments.{name}' in listed
  figure1 = listed.partition('experiments.ioffe2015_figure1\n')[2]
  once, thrice = figure1.split('  On ')[1:3]
  assert once.startswith('digits, 1 seed, 50,000 steps, ')
  assert 'reproduced, tried once        tight init, std 0.01: trains' in once
  assert thrice.startswith('mnist, 3 seeds, 50,000 steps, ')
  assert 'reproduced, 3 of 3 times      tight init, std 0.01: trains' in thrice


def test_figure1_draws_four_panels_for_each_initialization(tmp_path):
  dry_run('ioffe2015_figure1', tmp_path)
  drawn = tmp_path / 'ioffe2015_figure1.svg'
  assert drawn.read_text().count('<g id="axes_') == 8
  assert drawn.with_suffix('.png').read_bytes().startswith(b'\x89PNG')


@pytest.mark.parametrize(
  ('model', 'first', 'last'),
  [
    ({'features': (8,) * 12}, ['hidden_1', 'hidden_2'], 'hidden_12'),
    (
      {'name': 'vgg', 'stem': 'small'},
      ['block_1/conv_1', 'block_1/conv_2'],
      'block_5/conv_3',
    ),
    ({'name': 'resnet'}, ['stem'], 'stage_4_block_3/sum'),
  ],
)
@pytest.mark.parametrize('remat', ['none', 'blocks'])
def test_layers_come_in_the_order_of_the_network(
  recorded, model, first, last, remat
):
  config = default.get_config()
  config.model.update(model)
  config.train.remat = remat
  taps = assemble(config).network.evaluated.init_with_output
  x_NHWC = jnp.zeros((1, 28, 28, 1))
  init = functools.partial(taps, train=False)
  (_, taps), _ = jax.eval_shape(init, jax.random.key(0), x_NHWC)
  # As the logbook has them, by name.
  drawn = {f'{drift.PERCENTILES}/{name}': [0] for name in sorted(taps)}
  names = drift.layers(recorded('run', config.to_dict(), **drawn))
  assert sorted(names) == sorted(taps)
  assert names[: len(first)] == first
  assert names[-1] == last


@pytest.fixture
def of_units(recorded):
  """Makes runs of three units of which the first moves as the test wants."""

  def make(name, accuracy, medians, spreads):
    rows = []
    for median, spread in zip(medians, spreads):
      unit = np.array([[median - spread / 2], [median], [median + spread / 2]])
      # Unit 1 moves half as much, unit 2 not at all.
      rows.append(
        np.concatenate([unit, unit / 2, 0 * unit + [[0], [1], [2]]], 1)
      )
    series = {'test/accuracy': accuracy, f'{drift.PERCENTILES}/hidden_3': rows}
    return recorded(name, default.get_config().to_dict(), **series)

  return make


def test_verdicts_follow_from_the_recorded_numbers(of_units):
  plain = of_units('plain', [0.1, 0.1, 0.8, 0.9], [0, 0, 3, 4], [1, 1, 2, 8])
  normed = of_units('normed', [0.1, 0.9, 0.9, 0.95], [0, 0, 0, 1], [1, 2, 2, 2])
  faster, higher, stable = figure1._judge_one('here', [plain], [normed])
  assert faster.verdict == 'reproduced, tried once'
  assert 'after 100 steps with BN, 300 without' in faster.measured
  assert higher.verdict == 'reproduced, tried once'
  assert '95.00% with BN, 90.00% without' in higher.measured
  # Medians move by 1, 0.5, 0 with BN, 4, 2, 0 without; spreads 1-, 8-fold.
  assert 'median moves by 0.50 with BN, 2.00 without' in stable.measured
  assert stable.verdict == 'reproduced, tried once'
  assert drift.typical_unit(plain) == 1

  swapped = figure1._judge_one('here', [normed], [plain])
  assert [c.verdict for c in swapped] == ['not reproduced, tried once'] * 3
  mixed = figure1._judge_one('here', [plain, normed], [normed, plain])
  assert [c.verdict for c in mixed] == ['1 of 2 times'] * 3
  assert 'never with BN' in mixed[0].measured


def test_claims_are_printed_and_written_with_their_verdict(tmp_path):
  claim = claims.Claim('tight', 'faster', 'Fig. 1', '10 against 20', (True,))
  assert claims.text([claim]).splitlines()[:2] == [
    'tight:',
    '  faster: REPRODUCED, TRIED ONCE',
  ]
  claims.write(tmp_path / 'r.json', [claim], seeds=1)
  written = json.loads((tmp_path / 'r.json').read_text())
  assert written['seeds'] == 1
  assert written['claims'][0]['verdict'] == 'reproduced, tried once'


def test_a_verdict_is_printed_with_the_number_of_trials():
  assert claims.told(()) == 'not tested'
  assert claims.told((False,)) == 'not reproduced, tried once'
  assert claims.told((True, True, True)) == 'reproduced, 3 of 3 times'
  assert claims.told((False, False)) == 'not reproduced, 0 of 2 times'
  assert claims.told((True, False)) == '1 of 2 times'
