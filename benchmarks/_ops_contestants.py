"""Contestants of `benchmarks.ops`: XLA, this code, PyTorch."""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from bnresearch.ops import convolution, pooling

# Maps a pass's name to a call that returns when the pass is done.
Passes = dict[str, Callable[[], object]]


class Operator(NamedTuple):
  """An operator to measure; `padding` per side, `features` in the output."""

  kind: str
  shape: tuple[int, int, int, int]
  window: int
  strides: int = 1
  padding: int = 0
  features: int = 0
  groups: int = 1


def functions(operator: Operator) -> list[Callable[..., jax.Array]]:
  """Returns XLA's function and ours, both of the inputs."""
  _, _, k, s, padding, features, groups = operator
  pads = [(padding, padding)] * 2
  if features:
    options = {
      'window_strides': (s, s),
      'padding': pads,
      'dimension_numbers': lax.ConvDimensionNumbers(
        (0, 3, 1, 2), (3, 2, 0, 1), (0, 3, 1, 2)
      ),
      'feature_group_count': groups,
    }
    functions = lax.conv_general_dilated, convolution.conv_general_dilated
    return [functools.partial(f, **options) for f in functions]
  if operator.kind == 'max pool':
    functions, last = (nn.max_pool, pooling.max_pool), ()
  else:
    functions, last = (nn.avg_pool, pooling.average_pool), (False,)
  return [lambda x, f=f: f(x, (k, k), (s, s), pads, *last) for f in functions]


def jax_passes(
  function: Callable[..., jax.Array],
  inputs: Sequence[np.ndarray],
  dy: np.ndarray,
) -> Passes:
  """Returns the compiled passes, by name."""
  inputs, dy = [jnp.asarray(value) for value in inputs], jnp.asarray(dy)

  def gradient(k, dy, *inputs):
    def of_one(one):
      return function(*inputs[:k], one, *inputs[k + 1 :])

    return jax.vjp(of_one, inputs[k])[1](dy)

  def both(dy, x):
    y, vjp = jax.vjp(function, x)
    return y, vjp(dy)

  def call(function, *arguments):
    program = jax.jit(function).lower(*arguments).compile()
    return lambda: jax.block_until_ready(program(*arguments))

  passes = {'forward': call(function, *inputs)}
  if len(inputs) == 1:
    return {**passes, 'both': call(both, dy, *inputs)}
  for k, name in enumerate(('dx', 'dw')):
    passes[name] = call(functools.partial(gradient, k), dy, *inputs)
  return passes


def torch_passes(
  operator: Operator, inputs: Sequence[np.ndarray], dy: np.ndarray, cores: int
) -> Passes | None:
  """Returns the same passes by PyTorch on the CPU, channels last.

  Returns None if PyTorch is not installed, or if JAX is not on the CPU.
  """
  if jax.default_backend() != 'cpu':
    return None
  try:
    import torch
  except ImportError:
    return None
  torch.set_num_threads(cores)
  functional = torch.nn.functional
  last = {'memory_format': torch.channels_last}
  x, dy = (
    torch.from_numpy(a).movedim(-1, 1).contiguous(**last)
    for a in (inputs[0], dy)
  )
  _, _, k, s, padding, features, groups = operator
  if features:
    kernel = torch.from_numpy(inputs[1]).permute(3, 2, 0, 1).contiguous(**last)
    rest = (s, s), (padding, padding), (1, 1)
    gradient = lambda *wanted: torch.ops.aten.convolution_backward(
      dy, x, kernel, None, *rest, False, (0, 0), groups, (*wanted, False)
    )
    return {
      'forward': lambda: functional.conv2d(x, kernel, None, *rest, groups),
      'dx': lambda: gradient(True, False),
      'dw': lambda: gradient(False, True),
    }
  if operator.kind == 'max pool':
    pool = lambda x: functional.max_pool2d(x, k, s, padding)
  else:
    pool = lambda x: functional.avg_pool2d(
      x, k, s, padding, count_include_pad=False
    )
  leaf = x.clone().requires_grad_()
  return {
    'forward': lambda: pool(x),
    'both': lambda: torch.autograd.grad(pool(leaf), leaf, dy),
  }
