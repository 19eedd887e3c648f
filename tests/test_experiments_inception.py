"""The studies of Inception: verdicts from recorded numbers."""

import numpy as np
import pytest

from experiments import (
  _inception,
  auxiliary_heads,
  ioffe2015_figure2,
  ioffe2015_figure3,
  ioffe2015_figure4,
  photometric,
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
    return recorded(f'{label},seed={seed}', {}, ended, **series)

  return {
    label: [run(label, seed, accuracy) for seed, accuracy in enumerate(both)]
    for label, both in CURVES.items()
  }


def test_steps_to_match_are_of_the_same_seed_and_interpolated(runs):
  assert _inception.to_match(runs, 'inception') == [300, 300]
  assert _inception.to_match(runs, 'bn_x5') == pytest.approx([100, 100])
  never = _inception.to_match(runs, 'bn_baseline')
  assert never == pytest.approx([200, np.inf])
  assert _inception.steps_text(never) == '200 steps, never in 1 of 2'
  assert _inception.steps_text([100, 300]) == '200 ± 141 steps'
  assert _inception.steps_text([np.inf]) == 'never'


def test_the_verdicts_of_figure_2_follow_from_the_curves(runs):
  found = ioffe2015_figure2.judge(runs)
  assert [claim.verdict for claim in found] == [
    '1 of 2 times',  # BN-Baseline does not match the second seed's
    'reproduced',
    'reproduced',
    'reproduced',  # BN-x30 is the highest
    '1 of 2 times',  # 15% is not twice chance
    '1 of 2 times',  # one has diverged
  ]
  assert (
    '200 steps, never in 1 of 2; Inception 300 ± 0 steps' in found[0].measured
  )
  assert 'chance is 10%' in found[4].measured


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
  assert rows['bn_baseline']['steps_to_match'] == [pytest.approx(200), None]
  assert rows['inception_sigmoid']['published_steps_in_millions'] is None


def test_the_verdicts_of_figure_4_compare_crops_and_ensembles():
  of = lambda top1, top5: [
    {'top1': a, 'top5': b, 'members': [a]} for a, b in zip(top1, top5)
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
  assert found[0].published == '21.99% instead of 25.2%'
  assert '19.50 ± 0.71% instead of 20.50 ± 0.71%' in found[0].measured


def test_figure_4_refuses_images_that_have_no_ten_crops(capsys):
  assert ioffe2015_figure4.main(['--dry_run', '--data=mnist']) == 2
  assert '--data=mnist: has no ten crops' in capsys.readouterr().err


def test_what_both_networks_gain_is_of_the_same_seed():
  by = lambda **values: {k: np.array(v) for k, v in values.items()}
  heads = {
    'inception': by(none=[0.5, 0.6], total=[0.6, 0.6], alternating=[0.7, 0.7]),
    'bn_x5': by(none=[0.8, 0.8], total=[0.8, 0.9], alternating=[0.7, 0.7]),
  }
  assert [c.verdict for c in auxiliary_heads.judge(heads)] == [
    '1 of 2 times',
    'reproduced',
    '1 of 2 times',
    'not reproduced',
    '1 of 2 times',
  ]
  strengths = {
    'inception': {'0.5': np.array([0.6, 0.7]), '1': np.array([0.6, 0.6])},
    'bn_x5': {'0.5': np.array([0.8, 0.9]), '1': np.array([0.7, 0.9])},
  }
  half, more = photometric.judge(strengths)
  assert (half.verdict, more.verdict) == ('1 of 2 times', '1 of 2 times')
  assert 'by +5.00 ± 7.07 points' in half.measured
