"""The studies of Inception: verdicts from recorded numbers."""

import numpy as np
import pytest

from bnresearch.runs import run_directory
from configs import regularization as grid_of
from experiments import (
  _inception,
  _study,
  auxiliary_heads,
  ioffe2015_figure2,
  ioffe2015_figure3,
  ioffe2015_figure4,
  photometric,
  regularization,
)

# Of two seeds, the accuracies at steps 0, 100, 200, 300.
CURVES = {
  'inception': ([0.1, 0.2, 0.6, 0.7], [0.1, 0.4, 0.5, 0.6]),
  'bn_baseline': ([0.1, 0.5, 0.7, 0.8], [0.1, 0.2, 0.5, 0.55]),
  'bn_x5': ([0.1, 0.7, 0.8, 0.9], [0.1, 0.6, 0.7, 0.7]),
  'bn_x30': ([0.1, 0.4, 0.9, 0.95], [0.1, 0.6, 0.8, 0.75]),
  'bn_x5_sigmoid': ([0.1, 0.2, 0.5, 0.6], [0.1, 0.1, 0.1, 0.15]),
  'inception_x5': ([0.1, 0.1], [0.1, 0.1]),
  'inception_sigmoid': ([0.1, 0.1, 0.1, 0.1], [0.1, 0.1, 0.1, 0.1]),
}


@pytest.fixture
def runs(recorded):
  def run(label, seed, accuracy):
    ended = 'diverged' if (label, seed) == ('inception_x5', 0) else 'done'
    series = {'test/accuracy': accuracy}
    config = {'train': {'steps': 300}}
    return recorded(f'{label},seed={seed}', config, ended, **series)

  return {
    label: [run(label, seed, accuracy) for seed, accuracy in enumerate(both)]
    for label, both in CURVES.items()
  }


def test_steps_to_match_are_of_the_same_seed_and_interpolated(runs):
  assert _inception.to_match(runs, 'inception').tolist() == [300, 300]
  assert _inception.to_match(runs, 'bn_x5') == pytest.approx([100, 100])
  never = _inception.to_match(runs, 'bn_baseline')
  assert never == pytest.approx([200, np.inf])
  text = _inception.match_text(runs, 'bn_baseline')
  assert text == '200 steps; 1 of 2 seeds: not in 300 steps'
  assert _inception.match_text(runs, 'inception') == '300 ± 0 steps'
  assert _inception.match_text(runs, 'inception_x5') == 'not in 300 steps'


def test_where_inception_has_not_learned_there_is_nothing_to_match(runs):
  runs['inception'][0] = runs['inception_sigmoid'][0]
  assert _inception.to_match(runs, 'bn_x5') == pytest.approx(
    [np.nan, 100], nan_ok=True
  )
  text = _inception.match_text(runs, 'bn_x5')
  assert text == '100 steps; 1 of 2 seeds: Inception has not learned'
  verdicts = [claim.verdict for claim in ioffe2015_figure2.judge(runs)]
  once = 'reproduced, tried once'
  assert verdicts[:2] == [f'not {once}', once]
  assert ioffe2015_figure3.ratios(runs, 'bn_x5') == pytest.approx([3])
  runs['inception'][1] = runs['inception_sigmoid'][1]
  verdicts = [claim.verdict for claim in ioffe2015_figure2.judge(runs)]
  assert verdicts[0] == 'not tested'
  assert ioffe2015_figure3.judge(runs)[0].verdict == 'not tested'
  row = _inception.rows(runs)[0]
  assert row['steps_to_match'] == [None, None]


def test_the_verdicts_of_figure_2_follow_from_the_curves(runs):
  found = ioffe2015_figure2.judge(runs)
  assert [claim.verdict for claim in found] == [
    '1 of 2 times',  # BN-Baseline does not match the second seed's
    'reproduced',
    'reproduced',
    'reproduced',  # BN-x30 is the highest
    '1 of 2 times',  # 15% is not twice chance
    'reproduced',  # at 5 times the rate one has diverged, one is at chance
  ]
  assert found[0].measured == (
    '200 steps; 1 of 2 seeds: not in 300 steps; Inception 300 ± 0 steps'
  )
  assert 'chance is 10%' in found[4].measured


def test_inception_that_learns_and_then_diverges_cannot_be_trained(
  runs, recorded
):
  accuracy = {'test/accuracy': [0.1, 0.4]}
  runs['inception_x5'] = [recorded('lost', {}, 'diverged', **accuracy)]
  *_, claim = ioffe2015_figure2.judge(runs)
  assert claim.verdict == 'reproduced, tried once'
  assert '1 of 1 diverged; highest accuracy 40.00%' in claim.measured
  assert _study.final(runs['inception_x5'][0]) == 0.1  # that of a guess


def test_the_provenance_of_a_study_is_that_of_its_runs(recorded):
  made = [recorded('first'), recorded('second')]
  for run, date, commit in zip(made, '21', 'ab'):
    with run_directory.claim(run.path, run.config) as directory:
      directory.begin_session(0, {'date': '0', 'commit': '0', 'jax': '1'})
      directory.begin_session(9, {'date': date, 'commit': commit, 'jax': '1'})
  assert _study._made_by(made) == {
    'date': '2',
    'commit': ['a', 'b'],
    'jax': '1',
  }


def test_the_ratios_of_figure_3_are_those_of_steps(runs):
  assert ioffe2015_figure3.ratios(runs, 'bn_x5') == pytest.approx([3, 3])
  assert ioffe2015_figure3.ratios(runs, 'bn_baseline') == pytest.approx(
    [1.5, 0]
  )
  faster, higher, *_ = ioffe2015_figure3.judge(runs)
  assert faster.published == '2.3'
  assert (faster.verdict, higher.verdict) == ('not reproduced', '1 of 2 times')
  assert '0.8, median of [1.5, 0.0]' in faster.measured
  rows = {row['label']: row for row in _inception.rows(runs)}
  assert rows['bn_baseline']['steps_to_match'] == [pytest.approx(200), 'never']
  assert rows['inception_sigmoid']['published_steps_in_millions'] == 'never'
  assert rows['inception_x5']['published_steps_in_millions'] is None


def test_the_verdicts_of_figure_4_compare_crops_and_ensembles():
  of = lambda top1, top5: [
    {'top1': a, 'top5': b, 'members': [a], 'crops': 10}
    for a, b in zip(top1, top5)
  ]
  one, many, _, six = ioffe2015_figure4.ROWS
  errors = {
    one: of([20.0, 21.0], [3.0, 3.0]),
    many: of([19.0, 20.0], [2.0, 3.0]),
    six: of([18.0, 21.0], [2.5, 3.5]),
  }
  found = ioffe2015_figure4.judge(errors)
  assert [claim.verdict for claim in found] == [
    'reproduced',
    '1 of 2 times',
    '1 of 2 times',
    'not reproduced',
  ]
  assert found[0].published == '21.99% instead of 25.2%, 144 crops'
  assert found[0].measured == '19.50 ± 0.71% instead of 20.50 ± 0.71%, 10 crops'


def test_figure_4_leaves_out_a_seed_of_which_a_network_diverged(
  recorded, monkeypatch, capsys
):
  calls = []

  def evaluate(networks, crops, name):
    calls.append(name)
    return {'top1': 20.0, 'top5': 2.0, 'members': [20.0] * len(networks)}

  monkeypatch.setattr(ioffe2015_figure4, '_evaluate', evaluate)
  labels = 'bn_x30', *(f'member_{k}' for k in range(6))
  runs = {
    label: [
      recorded(f'{label},seed=0', {'label': label, 'seed': 0}),
      recorded(
        f'{label},seed=1',
        {'label': label, 'seed': 1},
        'diverged' if label == 'member_2' else 'done',
      ),
    ]
    for label in labels
  }
  errors = ioffe2015_figure4.measure(runs, crops=10)
  for of_seeds in errors.values():
    assert [found['seed'] for found in of_seeds] == [0]
  assert 'member_2,seed=1 has diverged' in capsys.readouterr().err
  assert ioffe2015_figure4.measure(runs, crops=10) == errors
  assert len(calls) == 4  # each is kept
  (runs['member_1'][0].path / 'provenance.json').write_text('[{"date": "9"}]')
  assert ioffe2015_figure4.measure(runs, crops=10) == errors
  assert len(calls) == 6  # but for those of a network that is made anew
  with pytest.raises(run_directory.Refused, match='No seed is left'):
    ioffe2015_figure4.measure({k: v[1:] for k, v in runs.items()}, crops=10)


def test_figure_4_refuses_images_that_have_no_ten_crops(capsys):
  assert ioffe2015_figure4.main(['--dry_run', '--data=mnist']) == 2
  assert '--data=mnist: has no ten crops' in capsys.readouterr().err


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--scale=paper', '--steps=300'], '--steps has no effect with --scale=pa'),
    (['--batch=64'], '--batch has no effect with --scale=small'),
    (
      ['--dry_run', '--processes=0'],
      'argument --processes: 0: needs 1 or more',
    ),
    (['--dry_run', '--steps=0'], 'steps=0 after the colon: needs 1'),
    (['--dry_run', '--steps=1000'], 'needs a multiple of 300, such as 900'),
  ],
)
def test_flags_without_effect_and_wrong_steps_are_refused(
  flags, message, capsys
):
  try:
    status = ioffe2015_figure2.main(flags)
  except SystemExit as stopped:
    status = stopped.code
  assert status == 2
  assert message in capsys.readouterr().err


def test_what_both_networks_gain_is_of_the_same_seed():
  by = lambda **values: {k: np.array(v) for k, v in values.items()}
  heads = {
    'inception': by(none=[0.5, 0.6], total=[0.6, 0.6], alternating=[0.7, 0.7]),
    'bn_x5': by(none=[0.8, 0.8], total=[0.8, 0.9], alternating=[0.7, 0.7]),
  }
  assert [c.verdict for c in auxiliary_heads.judge(heads)] == [
    '1 of 2 times',
    '1 of 2 times',
    'reproduced',
    'reproduced',
  ]
  strengths = {
    'inception': {'0.5': np.array([0.6, 0.7]), '1': np.array([0.6, 0.6])},
    'bn_x5': {'0.5': np.array([0.8, 0.9]), '1': np.array([0.7, 0.9])},
  }
  half, more = photometric.judge(strengths)
  assert (half.verdict, more.verdict) == ('1 of 2 times', '1 of 2 times')
  assert 'by +5.00 ± 7.07 points' in half.measured


def test_the_verdicts_on_dropout_and_l2():
  """Of two seeds: with BN dropout harms, without it helps."""
  found = {
    (norm, rate, weight): regularization.Found(
      np.array([0.8, 0.8]) + (rate if norm == 'none' else -rate) / 10,
      np.array([0.1, 0.1]) - rate / 10,
    )
    for norm in ('none', 'batch')
    for rate in grid_of.DROPOUT
    for weight in grid_of.L2
  }
  verdicts = [claim.verdict for claim in regularization.judge(found)]
  assert verdicts == [
    'reproduced',  # dropout does not help with BN
    'reproduced',  # less than without
    'not reproduced',  # BN alone has the larger gap
    'not reproduced',  # L2 changes nothing
    'not reproduced',  # the best is without BN
  ]


def test_a_diverged_run_guesses_on_all_images(recorded):
  config = {
    'norm': {'name': 'none'},
    'model': {'dropout_rate': 0.0},
    'optim': {'l2': 0.0},
  }
  lost = recorded('lost', config, 'diverged', **{'test/accuracy': [0.1, 0.6]})
  (found,) = regularization.measure([lost]).values()  # there is no checkpoint
  assert (*found.test_R, *found.gap_R) == (0.1, 0)
