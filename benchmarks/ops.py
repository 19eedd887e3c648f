"""Speed of convolution and pooling on a CPU: this code, XLA, PyTorch.

Claim:    The forms of bnresearch/ops take at most XLA's time wherever they are
          used, forward and backward; pointwise convolutions and pooling take
          at most 1.25 times PyTorch's, depthwise and grouped ones 2.5 times.
Source:   our own goal; XLA's own forms take up to 250 times PyTorch's time.
Command:  python -m benchmarks.ops --output=ops.json
Cost:     three minutes on a CPU core.
Result:   benchmarks/results/ops_*.json

The shapes are those of MobileNets, ResNets, Inception and AlexNet. Contestants
take turns, and each pass is a separate program: for convolutions, the output,
the input gradient and the kernel gradient; for pooling, the output, and the
output with the gradient. XLA uses lax's convolutions and flax's pooling;
PyTorch uses channels last. All use one core, as runs of this code do, or as
many as --cores says. Times are of the fastest round.
"""

import os
import sys
from collections.abc import Sequence

import jax
import numpy as np
from rich.table import Table

from benchmarks import _ops_contestants as contestants
from benchmarks import _timing
from benchmarks._ops_contestants import Operator
from bnresearch import command
from bnresearch.machine import process
from bnresearch.reports import claims
from bnresearch.terminal import Console


def _depthwise(shape, window, strides=1):
  C = shape[-1]
  return Operator('depthwise', shape, window, strides, window // 2, C, C)


OPERATORS = (
  _depthwise((8, 112, 112, 32), 3),
  _depthwise((8, 112, 112, 96), 3, 2),
  _depthwise((8, 56, 56, 144), 3),
  _depthwise((8, 14, 14, 384), 3),
  _depthwise((8, 7, 7, 960), 3),
  _depthwise((32, 32, 32, 144), 3),
  _depthwise((32, 8, 8, 384), 3),
  _depthwise((8, 28, 28, 240), 5),
  Operator('pointwise', (8, 56, 56, 64), 1, features=256),
  Operator('pointwise', (8, 56, 56, 256), 1, features=64),
  Operator('pointwise', (8, 56, 56, 256), 1, strides=2, features=512),
  Operator('pointwise', (8, 28, 28, 192), 1, features=64),
  Operator('pointwise', (8, 14, 14, 1024), 1, features=256),
  Operator('pointwise', (8, 7, 7, 512), 1, features=2048),
  Operator('pointwise', (32, 8, 8, 160), 1, features=960),
  Operator('grouped', (8, 27, 27, 96), 5, padding=2, features=256, groups=2),
  Operator('grouped', (8, 13, 13, 384), 3, padding=1, features=256, groups=2),
  Operator('max pool', (8, 112, 112, 64), 3, 2, 1),
  Operator('max pool', (8, 35, 35, 288), 3, 2),
  Operator('max pool', (8, 28, 28, 192), 3, 1, 1),
  Operator('max pool', (32, 32, 32, 64), 2, 2),
  Operator('average pool', (8, 28, 28, 192), 3, 1, 1),
  Operator('average pool', (8, 56, 56, 128), 2, 2),
  Operator('average pool', (8, 17, 17, 768), 5, 3),
)
TINY = tuple(
  Operator(kind, (2, 6, 6, 4), window, padding=window // 2, **features)
  for kind, window, features in (
    ('depthwise', 3, {'features': 4, 'groups': 4}),
    ('pointwise', 1, {'features': 8}),
    ('grouped', 3, {'features': 4, 'groups': 2}),
    ('max pool', 3, {}),
    ('average pool', 3, {}),
  )
)
# Our goals: the greatest ratio to PyTorch's time.
OF_PYTORCH = {
  'depthwise': 2.5,
  'pointwise': 1.25,
  'grouped': 2.5,
  'max pool': 1.25,
  'average pool': 1.25,
}
OF_XLA = 1.0
CONTESTANTS = ('XLA', 'bnresearch', 'PyTorch')


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Measures all operators, prints them side by side, and judges the goals."""
  args = _timing.parse(
    'ops', __doc__, 9, argv, cores={'type': int, 'default': 1}
  )
  os.environ['NPROC'] = str(args.cores)
  process.prepare()
  if jax.default_backend() != 'cpu':
    print("Elsewhere than on a CPU, these operators are XLA's and flax's own.")
  table = Table(title=f'Convolution and pooling, float32, {args.cores} cores')
  columns = 'operator', 'shape', 'pass', *CONTESTANTS, 'of XLA', 'of PyTorch'
  for column in columns:
    table.add_column(column, justify='right')
  rows = []
  for operator in TINY if args.dry_run else OPERATORS:
    measured = _measure(operator, args)
    for row in measured:
      ms = row['ms']
      numbers = [
        f'{ms[name]:.3g}' if name in ms else '' for name in CONTESTANTS
      ]
      ratios = [
        f'{_ratio(row, of):.2f}' for of in ('XLA', 'PyTorch') if of in ms
      ]
      table.add_row(
        _name(operator), str(operator.shape), row['pass'], *numbers, *ratios
      )
    table.add_section()
    rows += measured
  Console(width=110).print(table)
  print('Times in ms.')
  judged = _judge(rows)
  return _timing.finish(
    'ops',
    args,
    judged,
    data='Gaussian numbers, float32',
    rounds=args.rounds,
    cores=args.cores,
    rows=rows,
  )


def _measure(operator, args):
  """Returns a row for each pass: the time of each contestant."""
  random = np.random.RandomState(0)
  x = random.normal(size=operator.shape).astype(np.float32)
  # Half of it is 0, as after a ReLU: maxima are often tied.
  x = np.maximum(x, 0)
  inputs = [x]
  if operator.features:
    C, k = operator.shape[-1], operator.window
    shape = k, k, C // operator.groups, operator.features
    inputs.append(random.normal(size=shape).astype(np.float32))
  xlas, ours = contestants.functions(operator)
  dy = random.normal(size=jax.eval_shape(xlas, *inputs).shape)
  dy = dy.astype(np.float32)
  passes = {
    'XLA': contestants.jax_passes(xlas, inputs, dy),
    'bnresearch': contestants.jax_passes(ours, inputs, dy),
    'PyTorch': contestants.torch_passes(operator, inputs, dy, args.cores),
  }
  rows = []
  for name in passes['XLA']:
    calls = {who: of[name] for who, of in passes.items() if of}
    seconds = _timing.fastest(calls, args.rounds, random)
    ms = {who: 1e3 * s for who, s in seconds.items()}
    rows.append({**operator._asdict(), 'pass': name, 'ms': ms})
  return rows


def _judge(rows):
  """Returns the claims about each kind, over its shapes and passes."""
  judged = []
  for kind, most in OF_PYTORCH.items():
    of_kind = [row for row in rows if row['kind'] == kind]
    for of, goal in (('XLA', OF_XLA), ('PyTorch', most)):
      ratios = [_ratio(row, of) for row in of_kind if of in row['ms']]
      if ratios:
        judged.append(
          claims.Claim(
            f'{kind}, over shapes and passes',
            f"at most {goal} of {of}'s time",
            'our goal',
            ', '.join(f'{ratio:.2f}' for ratio in ratios),
            tuple(ratio <= goal for ratio in ratios),
          )
        )
  return judged


def _ratio(row, of):
  return row['ms']['bnresearch'] / row['ms'][of]


def _name(operator):
  k, s = operator.window, operator.strides
  to = f' to {operator.features}' if operator.features else ''
  return f'{operator.kind} {k}x{k}/{s}{to}'


if __name__ == '__main__':
  sys.exit(main())
