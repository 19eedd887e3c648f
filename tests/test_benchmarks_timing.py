"""Contestants of benchmarks take turns, and compute the same."""

import jax
import numpy as np
import pytest

from benchmarks import _ops_contestants as contestants
from benchmarks import _timing, ops


def test_the_fastest_of_rounds_counts_and_orders_differ(monkeypatch):
  clock, order = [0.0], []
  monkeypatch.setattr(_timing.time, 'perf_counter', lambda: clock[0])

  def contestant(name, *seconds):
    spans = iter(seconds)

    def call():
      order.append(name)
      clock[0] += next(spans)

    return call

  # Two calls to warm up, of which the second says how many fill a turn; then a
  # call and those that count, in each round.
  warm = 1.0, 0.025
  calls = {
    'a': contestant('a', *warm, *(9.0, 0.5, 1.5) * 3, *(9.0, 0.25, 0.25)),
    'b': contestant('b', *warm, *(9.0, 4.0, 2.0) * 4),
  }
  random = np.random.RandomState(0)
  assert _timing.fastest(calls, 4, random) == pytest.approx({'a': 0.25, 'b': 3})
  turns = order[4::3]
  assert sorted(turns) == ['a'] * 4 + ['b'] * 4
  assert [sorted(turns[k : k + 2]) for k in range(0, 8, 2)] == [['a', 'b']] * 4
  assert turns != turns[:2] * 4


@pytest.mark.parametrize('argument', ['--rounds=0', '--cores=-1'])
def test_a_number_below_1_is_refused_by_name(argument, capsys):
  with pytest.raises(SystemExit):
    ops.main([argument])
  assert f'{argument}: needs 1 or more.' in capsys.readouterr().err


@pytest.mark.parametrize('operator', ops.TINY, ids=lambda o: o.kind)
def test_all_contestants_have_the_same_results(operator, assert_close):
  pytest.importorskip('torch', reason='PyTorch is not installed')
  random = np.random.RandomState(0)
  inputs = [random.normal(size=operator.shape).astype(np.float32)]
  if operator.features:
    k, C = operator.window, operator.shape[-1]
    shape = k, k, C // operator.groups, operator.features
    inputs.append(random.normal(size=shape).astype(np.float32))
  xlas, ours = contestants.functions(operator)
  dy = random.normal(size=xlas(*inputs).shape).astype(np.float32)
  expected = contestants.jax_passes(xlas, inputs, dy)
  actual = contestants.jax_passes(ours, inputs, dy)
  torchs = contestants.torch_passes(operator, inputs, dy, cores=1)
  assert [*actual] == [*expected] == [*torchs]
  for name, call in expected.items():
    assert_close(actual[name](), call(), rtol=1e-5)
    # With 'both', theirs has the gradient only.
    y, wanted = torchs[name](), jax.tree.leaves(call())[-1]
    if isinstance(y, tuple):
      (y,) = (value for value in y if value is not None)
    y = y.detach().numpy()
    axes = (2, 3, 1, 0) if name == 'dw' else (0, 2, 3, 1)
    assert_close(y.transpose(axes), wanted, rtol=1e-5)
