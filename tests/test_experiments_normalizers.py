"""Studies of all normalizers, of whitening, of the variance per image."""

import numpy as np
import pytest

from bnresearch import lookup
from configs import normalizers as normalizers_config
from configs import whitening as whitening_config
from experiments import _whitening, image_variance, normalizers, whitening

# All normalizers, in batches of several sizes.


def test_every_normalizer_of_the_library_is_in_the_sweep_and_has_a_label():
  known = set(lookup.names('norms'))
  assert set(normalizers_config.NORMS) == set(normalizers.LABELS) == known
  points = normalizers_config.get_config('seeds=3').sweep
  assert len(points) == 3 * len(known) * len(normalizers_config.SIZES)


def test_those_called_norms_of_batches_are():
  fields = {
    name: lookup.find('norms', name).Norm.__dataclass_fields__
    for name in normalizers.LABELS
  }
  of_batches = {name for name, own in fields.items() if 'group_size' in own}
  assert of_batches == normalizers.OF_BATCHES


def test_runs_of_all_batch_sizes_see_as_many_examples():
  config = normalizers_config.get_config('examples=1024,sizes=4+64')
  for point in config.sweep:
    size, steps = point['train.batch_size'], point['train.steps']
    assert size * steps == 1024
    assert point['optim.learning_rate'] / size == pytest.approx(0.05 / 32)
    assert size / (1 - point['norm.momentum']) == pytest.approx(1280)
    assert point['label'] == f'{point["norm.name"]}-{size}'
  assert {point['train.batch_size'] for point in config.sweep} == {4, 64}


def accuracies(**changed):
  """Returns two seeds' accuracies in batches of 2 and of 32."""
  plain = dict.fromkeys(normalizers.LABELS, ((0.9, 0.9), (0.95, 0.95)))
  return {
    name: {2: np.array(small), 32: np.array(large)}
    for name, (small, large) in (plain | changed).items()
  }


def test_verdicts_on_all_normalizers():
  judged = normalizers.judge(
    accuracies(
      batch=((0.8, 0.97), (0.96, 0.96)),
      group=((0.91, 0.93), (0.91, 0.94)),
      filter_response=((0.95, 0.92), (0.9, 0.9)),
    )
  )
  assert [c.verdict for c in judged] == [
    '1 of 2 times',
    '1 of 2 times',
    *['1 of 2 times'] * 4,
    '1 of 2 times',
    'reproduced',
  ]
  assert judged[0].published == '65.3% against 76.4%, R50'
  assert '88.50% ± 12.02% of 2' in judged[0].measured
  assert '+0.50 ± 0.71 points lost' in judged[1].measured
  assert judged[2].measured.startswith('92.00% ± 1.41% group, ')


def test_the_table_has_a_row_for_each_normalizer_by_the_runs_names():
  runs = [
    {'run': f'{norm}-{size},seed={seed}', 'test_accuracy': 0.9 + seed / 100}
    for norm in ('batch', 'iterative_whitening')
    for size in (2, 128)
    for seed in (0, 1)
  ]
  table = normalizers.table({'runs': runs})
  assert table.columns == ['normalizer', 'batches of 2', 'batches of 128']
  assert table.rows == [
    ['batch', '90.50 ± 0.71', '90.50 ± 0.71'],
    ['iterative whitening', '90.50 ± 0.71', '90.50 ± 0.71'],
  ]


# Whitening.


def test_every_method_of_whitening_has_every_learning_rate():
  config = whitening_config.get_config('seeds=2')
  points = {tuple(sorted(point.items())) for point in config.sweep}
  assert len(points) == len(config.sweep) == 7 * 3 * 2
  assert config.norm.whitened_channels == whitening_config.BLOCK
  assert set(whitening.COLORS) == set(whitening_config.METHODS)


def method(reached, accuracy=0.9, correlation=0.2, seconds=1e-3):
  return _whitening.Found(
    rate=0.1,
    steps_T=np.array([20, 40]),
    loss_RT=np.ones((2, 2)),
    reached_R=np.array(reached, float),
    accuracy_R=np.full(2, accuracy),
    correlation_R=np.full(2, correlation),
    seconds=np.full(3, seconds),
    times=np.full(3, 1e3 * seconds),
  )


def test_verdicts_on_whitening():
  found = {
    'none': method([200, 220]),
    'inputs by PCA': method([100, 240]),
    'inputs by ZCA': method([100, np.inf], seconds=1.1e-3),
    'BN': method([40, 40], seconds=2e-3),
    'IterNorm': method([60, 60], 0.92, 0.05, 4e-3),
  }
  judged = whitening.judge(found)
  assert [c.verdict for c in judged] == [
    '1 of 2 times',
    '1 of 2 times',
    *['reproduced'] * 6,
  ]
  assert judged[0].measured == 'inputs by PCA: step 170; none: step 210'
  assert judged[1].measured == 'inputs by ZCA: step never; none: step 210'
  assert judged[6].measured.startswith(
    'BN: 2.00/2.00/2.00 times that of none; I'
  )
  assert len(judged[6].holds) == 3


def test_the_step_that_reaches_the_loss_is_the_first_below_it():
  steps = np.array([20, 40, 60])
  assert _whitening._reached(steps, np.array([1.0, 0.05, 0.2])) == 40
  assert _whitening._reached(steps, np.array([1.0, 0.5, 0.2])) == np.inf


# The variance per image.


def test_the_documents_example_is_reproduced_exactly():
  found = image_variance.variances(image_variance.example(5))
  assert found['two_pass'] == pytest.approx(2.337, rel=1e-13)
  assert found['per_image'] == pytest.approx(0.933, rel=1e-13)
  assert found['y two_pass'] == pytest.approx(1, rel=1e-13)
  assert found['y per_image'] == pytest.approx(2.337 / 0.933, rel=1e-13)


def test_the_share_between_images_is_that_of_their_means():
  x = image_variance.example(0)
  assert image_variance.share_between(x) == pytest.approx(1.404 / 2.337)
  same = np.broadcast_to(x[:1], x.shape)
  assert image_variance.share_between(same) == pytest.approx(0, abs=1e-12)


def test_verdicts_on_the_variance_per_image():
  accuracy = {
    ('two_pass', True): np.array([0.95, 0.96]),
    ('per_image', True): np.array([0.94, 0.97]),
    ('two_pass', False): np.array([0.95, 0.96]),
    ('per_image', False): np.array([0.90, 0.91]),
  }
  lost = [
    {'conv_1': np.array([0.5, 0.7]), 'conv_2': np.array([share, share])}
    for share in (0.9, 0.4)
  ]
  judged = image_variance.judge(image_variance.Found(accuracy, lost))
  assert [c.verdict for c in judged] == [
    'reproduced',
    'not reproduced',
    '1 of 2 times',
    '1 of 2 times',
    'reproduced',
  ]
  assert 'joint 2.337, mean of per-image variances 0.933' in judged[0].measured
  assert 'variance 2.505 instead of 1.000' in judged[1].measured
  assert '60.0% ± 0.0% in conv_1, 65.0% ± 35.4% in' in judged[2].measured
