"""The landscape: its points, medians while a network learns, its verdicts."""

import numpy as np
import pytest

from bnresearch.sweeps.points import points
from configs import landscape as config
from experiments import santurkar2018_landscape as study

RANGE = f'{study.PROBE}/{study.RANGE}'


@pytest.mark.parametrize('steps', [200, 1000, 1777])
def test_all_points_are_valid_and_records_divide_the_steps(steps):
  made = points(config.get_config(f'seeds=2,steps={steps}'), {})
  assert len(made) == 2 * 2 * 2
  of_one = made[0].config
  assert steps % of_one.probes.every == 0
  assert steps / of_one.probes.every >= 100
  # As published: from 1/2 to 4 steps, by plain SGD of rate 0.1.
  assert of_one.probes.step_lengths[:: len(config.LENGTHS) - 1] == (0.5, 4.0)
  assert (of_one.optim.name, of_one.optim.learning_rate) == ('sgd', 0.1)
  assert of_one.train.batch_size == 128


def test_the_median_of_a_run_is_of_all_records_or_of_those_while_it_learns(
  recorded,
):
  run = recorded(
    'run', **{'train/loss': [2.3, 1.0, 0.5, 0.01], RANGE: [9.0, 1.0, 3.0, 0.0]}
  )
  assert study.median(run, study.RANGE, study.ALL) == 2.0
  assert study.median(run, study.RANGE, study.LEARNING) == 2.0
  fast = recorded(
    'fast', **{'train/loss': [2.3, 1.0, 0.01, 0.0], RANGE: [9.0, 1.0, 0.0, 0.0]}
  )
  assert study.median(fast, study.RANGE, study.ALL) == 0.5
  assert study.median(fast, study.RANGE, study.LEARNING) == 1.0


def test_a_network_that_never_learns_has_no_median_and_holds_nothing(recorded):
  stuck = recorded('run', **{'train/loss': [2.3, 2.3], RANGE: [1.0, 1.0]})
  assert np.isnan(study.median(stuck, study.RANGE, study.LEARNING))
  nothing = {q: np.array([np.nan]) for q in study.QUANTITIES}
  something = {q: np.array([1.0]) for q in study.QUANTITIES}
  judged = study.judge_one('here', {'none': nothing, 'batch': something})
  assert {c.verdict for c in judged} == {'not reproduced, tried once'}


def test_a_step_into_what_is_not_finite_is_infinitely_rough(recorded):
  run = recorded('run', **{RANGE: [1.0, np.nan, np.inf]})
  assert study.finite(run, study.RANGE)[1].tolist() == [1.0, np.inf, np.inf]


def test_verdicts_on_a_smoother_landscape():
  smooth = {q: np.array([1.0, 1.0]) for q in study.QUANTITIES}
  rough = {q: np.array([40.0, 2.0]) for q in study.QUANTITIES}
  judged = study.judge_one('here', {'none': rough, 'batch': smooth})
  assert [c.verdict for c in judged] == [
    *['reproduced'] * 2,
    '1 of 2 times',  # 40 and 2 times, where 30 are wanted
    *['reproduced'] * 2,
  ]
  assert judged[0].measured == ('1 ± 0 with BN, 21 ± 27 without; ratio 21 ± 27')
  swapped = study.judge_one('here', {'none': smooth, 'batch': rough})
  assert {c.verdict for c in swapped} == {'not reproduced'}


def test_a_bin_has_the_median_of_its_records_in_each_run(recorded):
  # The records of `recorded` are at steps 0, 100, 200 and so on.
  one = recorded('one', **{RANGE: [5.0, 1.0, 2.0, 3.0, 7.0, 9.0]})
  two = recorded('two', **{RANGE: [6.0, 1.0, 2.0, 3.0, 8.0, 8.0, 0.0]})
  steps_B, values_RB = study.binned([one, two], study.RANGE)
  middle = np.sqrt(300 * 400)
  np.testing.assert_allclose(steps_B, [0.5, 100, 200, middle, 500], rtol=1e-10)
  assert values_RB.tolist() == [[5, 1, 2, 5, 9], [6, 1, 2, 5.5, 8]]


def test_the_site_gets_the_medians_over_seeds_and_the_accuracies():
  plain, normed = (f'lenet, {n}, {study.RANGE}' for n in ('none', 'batch'))
  values = {plain: [0.9, None, None], normed: [0.5, 0.1, None]}
  medians = {'steps': [0.5, 10, 20], 'values': values}
  made = study.curves({'medians_over_seeds': medians})
  assert [*made.rows] == [
    ('LeNet: range of the loss', 'with BN', 0.5, 0.5),  # first: it is blue
    ('LeNet: range of the loss', 'with BN', 10, 0.1),
    ('LeNet: range of the loss', 'without BN', 0.5, 0.9),
  ]
  runs = [
    {'run': f'lenet_batch,seed={k}', 'test_accuracy': a}
    for k, a in enumerate([0.9, 1.0])
  ]
  assert study.table({'runs': runs}).rows == [
    ['LeNet, with BN', '95.00% ± 7.07%']
  ]
