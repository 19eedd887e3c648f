"""Loops of probes that walk: in Python, or in XLA where all is traced."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.probes import _loops


def doubled(calls):
  def body(k, x):
    calls.append(k)
    return 2 * x + k

  return body


def convolved(calls):
  kernel = jnp.ones((1, 1, 1, 1))

  def body(k, x):
    calls.append(k)
    shaped = x.reshape(1, 1, 1, 1)
    dimensions = ('NHWC', 'HWIO', 'NHWC')
    y = jax.lax.conv_general_dilated(
      2 * shaped, kernel, (1, 1), 'SAME', dimension_numbers=dimensions
    )
    return y.reshape(()) + k

  return body


@pytest.mark.parametrize('make', [doubled, convolved])
def test_a_loop_has_one_result_in_python_and_traced(make):
  x, calls = jnp.float32(3), []
  alone = _loops.repeated(make(calls), x, 5)
  assert calls == [*range(5)]
  traced = jax.jit(lambda x: _loops.repeated(make([]), x, 5))(x)
  assert float(alone) == float(traced) == 3 * 2**5 + 26


def test_where_all_is_traced_only_convolutions_are_unrolled():
  def program(body):
    return str(jax.make_jaxpr(lambda x: _loops.repeated(body, x, 50))(1.0))

  programs = program(doubled([])), program(convolved([]))
  assert [p.count('conv_general_dilated[') for p in programs] == [0, 50]
  loops = [p.count('scan[') + p.count('while[') for p in programs]
  assert loops == [1, 0]


def test_a_map_over_members_is_traced():
  x_R = jnp.arange(3.0)
  found = jax.vmap(lambda x: _loops.repeated(doubled([]), x, 4))(x_R)
  np.testing.assert_array_equal(found, 16 * x_R + 11)
