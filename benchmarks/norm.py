"""Speed of the BN layer: this code, flax.linen.BatchNorm, PyTorch.

Claim:    BN with the following ReLU, forward and backward, takes at most flax's
          time and 0.6 of its temporary memory.
Source:   our own goal; from the forward pass, the paper's six equations need
          only the input, the mean and the deviation.
Command:  python -m benchmarks.norm --output=norm.json
Cost:     about two minutes on two CPU cores.
Result:   benchmarks/results/norm_*.json

All contestants compute the output, the new running statistics and the gradients
of input, scale and bias, in turns, each on all cores. Three numbers of memory
are relative to the input's: what the forward pass keeps for the backward pass
(the input itself is 1); the temporaries of the compiled program; and the bytes
that it accesses, at least 8: read x twice, write y; read x and dy twice, write
dx. On an accelerator, batches are eight times as large and 20 calls are in
flight; 'of copy' is the bandwidth implied by these 8 over that of a copy.

The temporaries depend on which results XLA lets share memory, and so on the
order of the gradients: the table has both, x first and parameters first.
"""

import functools
import os
import sys
from collections.abc import Callable, Sequence

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from benchmarks import _timing
from bnresearch import command
from bnresearch.machine import process
from bnresearch.norms.batch import Norm
from bnresearch.reports import claims
from bnresearch.terminal import Console

SHAPES = ((32, 56, 56, 64), (32, 28, 28, 256), (256, 14, 14, 512), (60, 100))
# Larger than an accelerator's caches.
LARGE = ((256, 56, 56, 64), (256, 28, 28, 256), (2048, 14, 14, 512))
IN_FLIGHT = 20  # calls there: starting one would take as long as the call
# {key of a row: its title}
COLUMNS = {
  'ms': 'ms',
  'time_of_flax': 'of flax',
  'kept': 'kept',
  'temporary_x_first': 'temporary',
  'temporary_params_first': 'or',
  'bytes': 'bytes',
  'of_copy': 'of copy',
}
LEAST = 8  # times the bytes of the input
TIME_GOAL, MEMORY_GOAL = 1.0, 0.6
BANDWIDTH_GOAL = 0.8  # on an accelerator, in bfloat16

LAYERS = {
  'bnresearch': functools.partial(
    Norm(running_variance='biased').apply, train=True
  ),
  'flax': nn.BatchNorm(use_running_average=False).apply,
  'flax 2-pass': nn.BatchNorm(
    use_running_average=False, use_fast_variance=False
  ).apply,
}


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Measures all shapes, prints them side by side, and judges the goals."""
  args = _timing.parse(
    'norm',
    __doc__,
    25,
    argv,
    dtype={'choices': ('float32', 'bfloat16'), 'default': 'float32'},
  )
  os.environ.setdefault('NPROC', str(os.cpu_count()))
  process.prepare()
  shapes = SHAPES if jax.default_backend() == 'cpu' else LARGE
  shapes = ((4, 7, 7, 8), (60, 100)) if args.dry_run else shapes
  table = Table(title=f'BN and ReLU, forward and backward, {args.dtype}')
  for column in ('shape', 'layer', *COLUMNS.values()):
    table.add_column(column, justify='right')
  rows = []
  for shape in shapes:
    measured = _measure(shape, args)
    for row in measured:
      numbers = [f'{row[k]:.3g}' if k in row else '' for k in COLUMNS]
      table.add_row(str(shape), row['layer'], *numbers)
    table.add_section()
    rows += measured
  Console(width=110).print(table)
  print(f'Memory over that of x; bytes accessed are at least {LEAST}.')
  judged = _judge(rows)
  return _timing.finish(
    'norm',
    args,
    judged,
    data=f'Gaussian numbers, {args.dtype}',
    rounds=args.rounds,
    rows=rows,
  )


def _measure(shape, args):
  """Returns a row for each contestant, from its fastest round."""
  random = np.random.RandomState(0)
  x, dy = (random.normal(2, 3, shape).astype(np.float32) for _ in range(2))
  accelerator = jax.default_backend() != 'cpu'
  times = IN_FLIGHT if accelerator else 1
  calls, memory = {}, {}
  for name, layer in LAYERS.items():
    call, memory[name] = _jax_call(layer, x, dy, args.dtype)
    calls[name] = _repeated(call, times)
  if not accelerator and (play := _torch_call(x, dy)):
    calls['PyTorch'] = play
  if accelerator:
    copied, copy = jnp.asarray(x, args.dtype), jax.jit(lambda x: x + 1)
    calls['copy'] = _repeated(lambda: copy(copied), times)

  fastest = _timing.fastest(calls, args.rounds, random)
  fastest = {name: seconds / times for name, seconds in fastest.items()}
  # A copy reads and writes once.
  copy_s = fastest.pop('copy', 0.0)
  least_s = copy_s * LEAST / 2
  return [
    {
      'shape': shape,
      'layer': name,
      'ms': 1e3 * fastest[name],
      'time_of_flax': fastest[name] / fastest['flax'],
      **memory.get(name, {}),
      **({'of_copy': least_s / fastest[name]} if accelerator else {}),
    }
    for name in fastest
  ]


def _repeated(call, times):
  """Returns a call of so many, which returns when the last is done."""

  def calls():
    for _ in range(times):
      result = call()
    jax.block_until_ready(result)

  return calls


def _jax_call(layer, x, dy, dtype):
  """Returns a call that starts the compiled passes, and their memory use."""
  x, dy = jnp.asarray(x, dtype), jnp.asarray(dy, dtype)
  C = x.shape[-1]
  params = {'scale': jnp.ones(C), 'bias': jnp.zeros(C)}
  running = {'mean': jnp.zeros(C), 'var': jnp.ones(C)}

  def forward(x, params):
    variables = {'params': params, 'batch_stats': running}
    y, new = layer(variables, x, mutable=['batch_stats'])
    return jax.nn.relu(y), new

  def compiled(forward, *inputs):
    @jax.jit
    def both(dy, *inputs):
      y, vjp, new = jax.vjp(forward, *inputs, has_aux=True)
      return y, new, vjp(dy.astype(y.dtype))

    return both.lower(dy, *inputs).compile()

  program = compiled(forward, x, params)
  other = compiled(lambda params, x: forward(x, params), params, x)
  backward = jax.eval_shape(lambda *a: jax.vjp(forward, *a)[1], x, params)
  used = {
    'kept': sum(a.size * a.dtype.itemsize for a in jax.tree.leaves(backward)),
    'temporary_x_first': program.memory_analysis().temp_size_in_bytes,
    'temporary_params_first': other.memory_analysis().temp_size_in_bytes,
    'bytes': program.cost_analysis()['bytes accessed'],
  }
  used = {key: number / x.nbytes for key, number in used.items()}
  return lambda: program(dy, x, params), used


def _torch_call(x, dy) -> Callable[[], None] | None:
  """Returns the same by PyTorch, channels last; None if not installed."""
  try:
    import torch
  except ImportError:
    return None
  dense = x.ndim == 2
  layer = (torch.nn.BatchNorm1d if dense else torch.nn.BatchNorm2d)(x.shape[-1])
  x, dy = (torch.from_numpy(a).movedim(-1, 1) for a in (x, dy))
  if not dense:
    x, dy = (a.contiguous(memory_format=torch.channels_last) for a in (x, dy))
  x.requires_grad_()
  parameters = list(layer.parameters())

  def call():
    y = torch.relu(layer(x))
    torch.autograd.grad(y, [x, *parameters], dy)

  return call


def _judge(rows):
  """Returns the claims, over the shapes."""
  by_shape = {}
  for row in rows:
    by_shape.setdefault(row['shape'], {})[row['layer']] = row
  ours = [layers['bnresearch'] for layers in by_shape.values()]
  times = [row['time_of_flax'] for row in ours]
  judged = [_claim(f"at most {TIME_GOAL} of flax's time", times, TIME_GOAL)]
  for order in ('x', 'params'):
    key = f'temporary_{order}_first'
    ratios = [
      of['bnresearch'][key] / of['flax'][key] for of in by_shape.values()
    ]
    words = (
      f'at most {MEMORY_GOAL} of its temporaries, gradient of {order} first'
    )
    judged.append(_claim(words, ratios, MEMORY_GOAL))
  if jax.default_backend() != 'cpu':
    reached = [row['of_copy'] for row in ours]
    judged.append(
      claims.Claim(
        'over the shapes',
        f'at least {BANDWIDTH_GOAL:.0%} of the copy bandwidth',
        'our goal',
        ', '.join(f'{r:.2f}' for r in reached),
        tuple(r >= BANDWIDTH_GOAL for r in reached),
      )
    )
  return judged


def _claim(text, ratios, goal):
  return claims.Claim(
    'over the shapes',
    text,
    'our goal',
    ', '.join(f'{r:.2f}' for r in ratios),
    tuple(r <= goal for r in ratios),
  )


if __name__ == '__main__':
  sys.exit(main())
