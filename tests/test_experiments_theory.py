"""Experiments that train nothing: what follows from random matrices."""

import numpy as np

from experiments import (
  daneshmand2020_rank,
  sandler2018_spiral,
  yang2019_explosion,
)

ONCE = 'reproduced, tried once'


# The explosion of gradients.


def test_the_rate_of_a_geometric_growth_is_its_factor():
  squares = 3.0 * 1.5 ** np.arange(20, 0, -1)  # bottom to top
  shallow = np.ones(20)
  found = yang2019_explosion.rates(np.stack([squares, shallow]))
  np.testing.assert_allclose(found, [1.5, 1.0], rtol=1e-10)


def test_verdicts_on_exploding_gradients():
  def growing(rate):
    return rate ** np.arange(40.0, 0, -1)[None]

  names = {
    'relu, batch, std 1, width 100': 1.6,
    'relu, batch, std 1, width 1000': 1.467,
    'tanh, batch, std 1, width 1000': 1.2,
    'sigmoid, batch, std 1, width 1000': 1.3,
    'relu, batch, std 0.01, width 1000': 1.5,
    'relu, none, std 0.0447, width 1000': 1.0,
  }
  found = {name: growing(rate) for name, rate in names.items()}
  factor, scale, smooth = yang2019_explosion.judge(found)
  assert factor.verdict == ONCE
  assert scale.verdict == smooth.verdict == f'not {ONCE}'
  assert '1.4670; without BN 1.0000' in factor.measured


# The rank of representations.


def test_the_rank_counts_equally_strong_directions(assert_close):
  random = np.random.RandomState(0)
  rotation, _ = np.linalg.qr(random.normal(size=(12, 12)))
  assert_close(daneshmand2020_rank.rank(7 * rotation), 12.0, 1e-5)
  assert_close(daneshmand2020_rank.rank(rotation[:, :3]), 3.0, 1e-5)
  one = np.outer(random.normal(size=9), random.normal(size=5))
  assert_close(daneshmand2020_rank.rank(one), 1.0, 1e-5)


def test_verdicts_on_rank_collapse():
  found = {}
  for width in (16, 64):
    found['none', width] = np.ones((1, 10))
    found['batch', width] = np.full((1, 10), width**0.75)
  plain, normed, grows = daneshmand2020_rank.judge(found)
  assert plain.verdict == normed.verdict == grows.verdict == ONCE
  assert 'p = 0.75' in grows.measured
  found['batch', 64] = np.full((1, 10), 16**0.75)
  *_, grows = daneshmand2020_rank.judge(found)
  assert grows.verdict == f'not {ONCE}'


# What ReLU destroys.


def test_a_spiral_is_lost_as_often_as_two_channels_are_not_active(assert_close):
  shares = {n: sandler2018_spiral.measure(n, 200)[0].mean() for n in (2, 3, 5)}
  for n, share in shares.items():
    assert_close(share, (n + 1) / 2**n, 0.1)


def test_where_all_channels_are_active_the_way_back_is_exact(assert_close):
  y_Nn, back_N2 = sandler2018_spiral.embedded(2, seed=0)
  both = (y_Nn > 0).all(1)
  assert 0 < both.sum() < len(both)
  assert_close(back_N2[both], sandler2018_spiral.spiral()[both], 1e-9)


def test_verdicts_on_the_spiral():
  few, many = np.array([0.5, 0.1]), np.array([0.0, 0.0])
  far, near = np.array([0.8, 0.8]), np.array([0.3, 0.9])
  found = {2: (few, far), 3: (few, far), 15: (many, near), 30: (many, near)}
  collapse, kept, nearer = sandler2018_spiral.judge(found)
  assert collapse.holds == (True, False)
  assert kept.holds == (True, True)
  assert nearer.holds == (True, False)
