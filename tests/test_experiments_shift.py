"""Studies of corruptions, recurrent norms, bottlenecks: verdicts of numbers."""

import functools

import jax
import numpy as np
import pytest

from bnresearch import models
from configs import bottlenecks as bottlenecks_config
from experiments import (
  _corrupted,
  cooijmans2016_recurrent,
  relu6_precision,
  sandler2018_bottlenecks,
  schneider2020_corruptions,
)
from tests.published import images, network


def holds(judged):
  """Returns how each claim fared, by seed."""
  return [claim.holds for claim in judged]


# Corruptions. Two seeds, the second as the paper does not have it.


def corrupted(ema, population, batch, few):
  """Returns errors that are the same for all kinds but rotation."""
  by_strength = {}
  for name, rows in zip(_corrupted.NAMES, (ema, population, batch)):
    for kind in _corrupted.KINDS:
      error = np.array(rows, float)
      if name == 'batch' and kind == 'rotation':
        error[0, 1:] += 0.05
      by_strength[name, kind] = error
  by_size = {
    prior: np.array(few[prior]) if prior in few else np.full((2, 5), 0.9)
    for prior in _corrupted.PRIORS
  }
  return _corrupted.Found(by_strength, by_size)


def test_verdicts_on_corruptions_follow_from_the_errors():
  found = corrupted(
    ema=[[0.1, *[0.4] * 5], [0.2, *[0.3] * 5]],
    population=[[0.1, *[0.405] * 5], [0.2, *[0.4] * 5]],
    batch=[[0.1, *[0.2] * 5], [0.1, *[0.5] * 5]],
    few={
      0: [[0.9, 0.45, 0.3, 0.3, 0.3], [0.9, 0.2, 0.2, 0.2, 0.2]],
      16: [[0.35, 0.3, 0.3, 0.3, 0.3], [0.31, 0.25, 0.2, 0.2, 0.2]],
    },
  )
  judged = schneider2020_corruptions.judge(found)
  assert holds(judged) == [
    (True, False),  # fewer errors
    (True, False),  # at the greatest strength
    (True, False),  # rotation wins least
    (True, False),  # the population does not help
    (True, False),  # clean
    (True, False),  # four examples
    (True, False),  # one
  ]
  assert '35.6% ± 20.3% of the batch, 35.0% ± 7.1%' in judged[0].measured


def test_batches_of_images_are_normalized_together_and_the_rest_left_out():
  asked = []

  def mixed(batches, prior):
    asked.append((batches.shape, prior))
    return np.eye(3)[batches[..., 0, 0, 0]]

  pictures = np.array([0, 1, 2, 2, 0]).reshape(5, 1, 1, 1)
  labels_N = np.array([0, 1, 1, 2, 1])
  error = _corrupted._of_batches(mixed, pictures, labels_N, 2, 4)
  assert asked == [((2, 2, 1, 1, 1), 4.0)]
  assert error == 1 / 4
  assert _corrupted._of_batches(mixed, pictures, labels_N, 9, 4) == 2 / 5


# Recurrent networks.


def test_verdicts_on_recurrent_norms_follow_from_the_errors():
  error = {
    'none': [0.4, 0.1],
    'separate': [0.2, 0.2],
    'shared': [0.3, 0.1],
    'gamma_1': [0.3, 0.1],
    'layer': [0.1, 0.3],
  }
  found = lambda of, more: cooijmans2016_recurrent.Found(
    np.arange(2),
    np.zeros((2, 2)),
    {
      'ema': np.array(of) + more,
      'batch': np.array(of),
    },
  )
  grid = {('whole', name): found(of, 0) for name, of in error.items()}
  error.pop('gamma_1')
  more = {'separate': [0.05, 0.0], 'layer': [0.01, 0.02]}
  grid |= {
    ('until_blank', name): found(of, np.array(more.get(name, [0.1, 0.1])))
    for name, of in error.items()
  }
  judged = cooijmans2016_recurrent.judge(grid)
  assert holds(judged) == [(True, False)] * 10
  assert '+2.5 ± 3.5 (BN, separate)' in judged[-1].measured


# MobileNetV2.


def test_verdicts_on_bottlenecks_follow_from_the_errors():
  error = {
    (expansion, linear): np.array([0.2, 0.2])
    for expansion in bottlenecks_config.EXPANSIONS
    for linear in (True, False)
  }
  error[6, True] = np.array([0.15, 0.25])
  error[10, True] = np.array([0.147, 0.24])
  judged = sandler2018_bottlenecks.judge(error)
  assert holds(judged) == [(True, False)] * 4
  assert '+1.3 ± 4.5 with 10' not in judged[0].measured
  assert '20.0% ± 7.1% linear, 20.0% ± 0.0% with ReLU6' in judged[0].measured


def test_verdicts_on_precision_follow_from_the_points():
  points = lambda of: {
    form: np.array(of.get(form, [0.0, 0.0])) for form in relu6_precision.FORMATS
  }
  four = 'up to largest, 4 bits'
  found = {
    'relu6': relu6_precision.Found(
      points({relu6_precision.EIGHT: [0.1, 0.6], four: [1.0, 3.0]}),
      np.array([6.0, 6.0]),
    ),
    'relu': relu6_precision.Found(
      points(
        {
          relu6_precision.EIGHT: [0.2, 0.5],
          four: [2.0, 2.0],
          'bfloat16': [0.1, -0.3],
        }
      ),
      np.array([9.0, 12.0]),
    ),
  }
  judged = relu6_precision.judge(found)
  assert holds(judged) == [(True, False)] * 4
  assert 'largest outputs of ReLU: 10.5 ± 2.1' in judged[2].measured


def test_another_set_of_points_is_refused():
  with pytest.raises(
    ValueError, match='points=some after the colon: needs all or activations'
  ):
    bottlenecks_config.get_config('points=some')


def test_the_points_of_both_studies_share_their_runs():
  of_all, two = (
    bottlenecks_config.get_config(f'points={points}').sweep
    for points in ('all', 'activations')
  )
  assert set(map(str, of_all)) & set(map(str, two)) == {str(two[0])}


def test_rounded_taps_make_relu6_give_rounded_outputs():
  """Of the network that is measured: the next layer gets what fits 8 bits."""
  model = network('mlp', 'none', 10, {'activation': 'relu6'}, features=(5, 4))
  x_NHWC = 9 * images(4, N=3)
  variables = model.init(jax.random.key(0), x_NHWC, train=False)
  to = relu6_precision.FORMATS['fixed point, 4 bits']
  seen = {}

  def change(site, x):
    seen[site] = np.asarray(to(x))
    return to(x)

  apply = functools.partial(model.apply, variables, x_NHWC, train=False)
  exact_NK, _ = apply()
  with models.change(change):
    rounded_NK, taps = apply()
  assert set(seen) == {'hidden_1', 'hidden_2'}
  for site, value in seen.items():
    np.testing.assert_array_equal(taps[site], value)
    assert set(np.unique(value % 0.5)) == {0}
  own = jax.tree.map(np.asarray, variables['params'])
  hidden, last = own['hidden_2'], own['logits']
  x = np.minimum(seen['hidden_1'], 6) @ hidden['kernel'] + hidden['bias']
  expected = np.minimum(np.asarray(to(x)), 6) @ last['kernel'] + last['bias']
  np.testing.assert_allclose(rounded_NK, expected, rtol=1e-4, atol=1e-5)
  assert np.abs(rounded_NK - exact_NK).max() > 1e-3
