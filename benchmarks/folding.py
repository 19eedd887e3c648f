"""Speed of networks in evaluation: with batch norms, and with them folded.

Claim:    a network whose batch norms are folded into its kernels takes at most
          the time of the network with batch norms. The paper says that at
          inference BN "is simply a linear transform", which may be composed
          with others (section 3.1, Algorithm 2), but states no speed.
Source:   our own goal.
Command:  python -m benchmarks.folding --output=folding.json
Cost:     two to four minutes on two CPU cores.
Result:   benchmarks/results/folding_*.json

ResNet-18, ResNet-50 and MobileNetV2 in float32, as published except for the
image size. Contestants take turns, each on all cores; times are of the fastest
round. 'bytes' is what the program accesses by XLA's count, over that with BN.
XLA computes scale, shift and ReLU in one pass over a map, so folding saves
arithmetic, but not that pass. PyTorch, channels last, has a separate pass for
BN, which `fuse_conv_bn_eval` removes.
"""

import functools
import math
import os
import sys
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from rich.table import Table

from benchmarks import _folding_torch, _timing
from bnresearch import command, models, zoo
from bnresearch.inference.folded import fold_network
from bnresearch.machine import process
from bnresearch.reports import claims
from bnresearch.terminal import Console

NETWORKS = 'resnet_18', 'resnet_50', 'mobilenet_v2'
GOAL = 1.0
WITH_BN = {'folded': 'bnresearch', 'PyTorch, fused': 'PyTorch'}
COLUMNS = 'ms', 'of with BN', 'of PyTorch', 'bytes'


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Times all networks, prints them side by side, and judges the goal."""
  args = _timing.parse(
    'folding',
    __doc__,
    15,
    argv,
    batch={'type': int, 'default': 8},
    size={'type': int, 'default': 112, 'help': 'of images, in pixels'},
  )
  if args.dry_run:
    args.batch, args.size = 1, 32
  os.environ.setdefault('NPROC', str(os.cpu_count()))
  process.prepare()
  table = Table(title=f'{args.batch} images of {args.size} pixels, evaluated')
  for column in ('network', 'contestant', *COLUMNS):
    table.add_column(column, justify='right')
  rows = []
  for name in NETWORKS[: 1 if args.dry_run else None]:
    measured = _measure(name, args)
    for row in measured:
      numbers = [f'{row[k]:.3g}' if k in row else '' for k in COLUMNS]
      table.add_row(name, row['contestant'], *numbers)
    table.add_section()
    rows += measured
  Console(width=100).print(table)
  judged = _judge(rows)
  return _timing.finish(
    'folding',
    args,
    judged,
    data='Gaussian numbers, float32',
    batch=args.batch,
    size=args.size,
    rounds=args.rounds,
    rows=rows,
  )


def _measure(name, args):
  """Returns a row for each contestant, from its fastest round."""
  random = np.random.RandomState(0)
  shape = args.batch, args.size, args.size, 3
  x_NHWC = random.normal(0, 1, shape).astype(np.float32)
  model = zoo.network(name)
  variables = _drawn(models.shapes(model, args.size), random)
  folded = fold_network(model, variables, x_NHWC)
  calls, used = {}, {}
  for key, network in (('bnresearch', (model, variables)), ('folded', folded)):
    calls[key], used[key] = _call(*network, jnp.asarray(x_NHWC))
  if jax.default_backend() == 'cpu':
    calls |= _folding_torch.calls(name, x_NHWC, os.cpu_count())
  fastest = _timing.fastest(calls, args.rounds, random)
  rows = []
  for key, seconds in fastest.items():
    row = {'network': name, 'contestant': key, 'ms': 1e3 * seconds}
    if key in WITH_BN:
      row['of with BN'] = seconds / fastest[WITH_BN[key]]
    if key in used and 'PyTorch' in fastest:
      theirs = 'PyTorch, fused' if key == 'folded' else 'PyTorch'
      row['of PyTorch'] = seconds / fastest[theirs]
    if key == 'folded':
      row['bytes'] = used[key] / used['bnresearch']
    rows.append(row)
  return rows


def _drawn(shapes, random):
  """Draws variables of these shapes: compiling `init` would take longer."""

  def draw(path, leaf):
    name, shape = path[-1].key, leaf.shape
    if name == 'kernel':
      value = random.normal(0, math.sqrt(2 / math.prod(shape[:-1])), shape)
    elif name in ('scale', 'var'):
      value = random.uniform(0.5, 1.5, shape)
    else:
      value = random.normal(0, 0.1, shape)
    return jnp.asarray(value, leaf.dtype)

  return jax.tree_util.tree_map_with_path(draw, shapes)


def _call(model, variables, x_NHWC):
  """Returns a call of the compiled network, and the bytes that it accesses."""
  apply = functools.partial(model.apply, train=False)
  logits = jax.jit(lambda variables, x: apply(variables, x)[0])
  program = logits.lower(variables, x_NHWC).compile()
  play = lambda: jax.block_until_ready(program(variables, x_NHWC))
  return play, program.cost_analysis()['bytes accessed']


def _judge(rows):
  """Returns the claim about this code, over the networks."""
  ratios = [row['of with BN'] for row in rows if row['contestant'] == 'folded']
  return [
    claims.Claim(
      'over the networks',
      'folded, at most the time with batch norms',
      'our goal',
      ', '.join(f'{r:.2f}' for r in ratios),
      tuple(r <= GOAL for r in ratios),
    )
  ]


if __name__ == '__main__':
  sys.exit(main())
