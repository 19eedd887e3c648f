"""What is stated of networks: our numbers by hand, and which of them differ."""

import itertools

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from bnresearch import stated
from bnresearch.models import __main__ as command_line
from bnresearch.models import googlenet

# What differs from ours by more than rounding, by the beginning of its line.
WRONG = (
  'what two 3x3 for each 5x5 add',
  'share of dense layers in the parameters of alexnet',
  'parameters of GoogLeNet',
  'AlexNet over GoogLeNet',
  'multiply-adds of GoogLeNet',
  'parameters of BN-Inception',
  'BN-Inception over GoogLeNet',
)


@pytest.fixture(scope='module')
def statements():
  return stated.statements()


def here(statements, start):
  (found,) = (s for s in statements if s.what.startswith(start))
  return found.here


def test_kernels_have_the_weights_that_one_counts_by_hand(statements):
  assert here(statements, 'weights of a 5x5') == (5 * 5, 2 * 3 * 3)
  separable = 3 * 3 * 3 + 3 * 256
  assert here(statements, 'weights of a 3x3') == (3 * 3 * 3 * 256, separable)
  bottleneck = 256 * 64 + 3 * 3 * 64 * 64 + 64 * 256
  basic = 2 * 3 * 3 * 256 * 256
  assert here(statements, "weights of ResNet's") == (bottleneck, basic)


def test_two_3x3_see_what_a_5x5_sees():
  """On 5x5 pixels, each makes one."""
  x_NHWC = jax.ShapeDtypeStruct((1, 5, 5, 1), jnp.float32)
  conv = lambda size: nn.Conv(1, (size, size), padding='VALID')
  for layers in ([conv(5)], [conv(3), conv(3)]):
    init = nn.Sequential(layers).init_with_output
    y_NHWC, _ = jax.eval_shape(init, jax.random.key(0), x_NHWC)
    assert y_NHWC.shape == (1, 1, 1, 1)


def test_two_3x3_cost_googlenet_more_because_its_5x5_widen(statements):
  """By its table: 25 C K weights, against 9 C K + 9 K K."""
  pairs = [(row[3], row[4]) for row in googlenet.ROWS.values()]
  assert all(2 * C <= K <= 4 * C for C, K in pairs)
  added = sum(9 * C * K + 9 * K * K + K - 25 * C * K for C, K in pairs)
  assert added > 0
  expected = added / 6_998_552
  found = here(statements, 'what two 3x3 for each 5x5 add')
  assert found == pytest.approx((expected,))
  assert round(100 * expected) == 4


def test_the_share_of_dense_layers_is_that_by_hand(statements):
  def dense(*widths):
    return sum((C + 1) * K for C, K in itertools.pairwise(widths))

  alexnet = dense(256 * 6 * 6, 4096, 4096, 1000) / 61_100_840
  vgg = dense(512 * 7 * 7, 4096, 4096, 1000) / 138_357_544
  start = 'share of dense layers in the parameters of'
  assert here(statements, f'{start} alexnet') == pytest.approx((alexnet,))
  assert here(statements, f'{start} vgg_16') == pytest.approx((vgg,))
  assert (f'{alexnet:.0%}', f'{vgg:.0%}') == ('96%', '89%')


def test_what_is_wrong_is_said_to_be(statements):
  wrong = [s.what for s in statements if not s.holds]
  assert len(wrong) == len(WRONG)
  assert all(what.startswith(start) for what, start in zip(wrong, WRONG))
  assert here(statements, 'AlexNet over GoogLeNet') == pytest.approx(
    (60_965_224 / 6_998_552,)
  )


def test_a_rounded_number_holds_and_one_farther_off_does_not():
  make = lambda here: stated.Statement('x', (100.0, 10.0), 'y', here)
  assert make((104.0, 10.0)).holds
  assert not make((104.0, 10.6)).holds


def test_the_command_prints_all_of_it(statements, monkeypatch, capsys):
  monkeypatch.setattr(stated, 'statements', lambda: statements)
  assert command_line.main(['--compare']) == 0
  printed = capsys.readouterr().out
  for text in ('25, 18', '6,912, 795', '69,632, 1,179,648', '+4.1%', '96.0%'):
    assert text in printed
  assert printed.count(' no ') == len(WRONG)


@pytest.mark.parametrize('other', ['--model=nin', '--size=32', '--norm=none'])
def test_the_comparison_takes_nothing_else(other, capsys):
  assert command_line.main(['--compare', other]) == 2
  name = other.partition('=')[0]
  assert f'--compare: takes no {name}.' in capsys.readouterr().err
