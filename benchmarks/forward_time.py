"""Time of a network per batch: forward, and a whole training step.

Claim:    none is published for this machine. The documents time the forward
          pass of Inception V3 in batches of 32 images of 299x299 pixels.
Source:   the forward-time benchmark of TF-Slim's Inception V3: 10 batches to
          warm up, 100 timed, mean and deviation per batch.
Command:  python -m benchmarks.forward_time --models=inception_v3
          The Inceptions side by side, in batches of 2 instead of 32:
          python -m benchmarks.forward_time --batch=2 \\
              --models=googlenet,inception_v2,inception_v3,inception_v4
Cost:     the first command, about 45 minutes on two CPU cores, 8 of them with
          --modes=forward; with --burn_in=2 --batches=10, as in the results, 5
          minutes. The second, about 12, reckoned from these.
Result:   benchmarks/results/forward_time_*.json

A batch is timed from its call until the device has its result. A multiply-add
of a convolution or dense layer counts as two operations; a training step counts
as three forward passes. The reference is a product of 2048x2048 matrices,
measured in the same process on all cores.
"""

import argparse
import dataclasses
import os
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
import optax
from rich.table import Table

from benchmarks import _peak, _timing
from bnresearch import command, paths, zoo
from bnresearch.machine import process
from bnresearch.models import measure
from bnresearch.terminal import Console
from bnresearch.training import state, step, stream

MODES = ('forward', 'train')
COLUMNS = ('model', 'mode', 's a batch', 'deviation', 'images/s', 'GFLOP/s')


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Times all models and modes, and prints the table."""
  args = _parse(argv)
  os.environ.setdefault('NPROC', str(os.cpu_count()))
  process.prepare()
  peak = _peak.gflops(args.dtype)
  try:
    rows = [
      _row(name, mode, args, peak)
      for name in args.models
      for mode in args.modes
    ]
  except ValueError as error:
    print(error, file=sys.stderr)
    return 2
  table = Table(
    title=f'Batches of {args.batch}, {args.size}x{args.size} pixels: '
    f'{args.burn_in} to warm up, {args.batches} timed'
  )
  for column in (*COLUMNS, 'of peak'):
    table.add_column(column, justify='right')
  for row in rows:
    table.add_row(
      row['model'],
      row['mode'],
      f'{row["seconds"]:.3f}',
      f'{row["deviation"]:.3f}',
      f'{row["images_per_s"]:.1f}',
      f'{row["gflops"]:.0f}',
      f'{row["of_peak"]:.0%}',
    )
  Console(width=100).print(table)
  print(f'Peak of the matrix product: {peak:.0f} GFLOP/s, {args.dtype}.')
  return _timing.finish(
    'forward_time',
    args,
    [],
    data=f'uniform random numbers, {args.dtype}',
    batch=args.batch,
    size=args.size,
    burn_in=args.burn_in,
    batches=args.batches,
    peak_gflops=peak,
    rows=rows,
  )


def _row(name, mode, args, peak) -> dict[str, Any]:
  """Returns the measurements of one network."""
  channels = zoo.published(name).channels
  model = _in(args.dtype, zoo.network(name))
  shape = (args.batch, args.size, args.size, channels)
  x_NHWC = jax.random.uniform(jax.random.key(1), shape)
  play = {'forward': _forward, 'train': _training}[mode](model, x_NHWC)
  began = time.perf_counter()
  jax.block_until_ready(play())
  first = time.perf_counter() - began
  seconds = _time(play, f'{name}, {mode}', args)
  macs = measure(model, args.size, channels).macs
  gflop = 2 * macs * args.batch * (3 if mode == 'train' else 1) / 1e9
  mean = float(np.mean(seconds))
  return {
    'model': name,
    'mode': mode,
    'seconds': mean,
    'deviation': float(np.std(seconds)),
    'images_per_s': args.batch / mean,
    'gflops': gflop / mean,
    'of_peak': gflop / mean / peak,
    'first_call_s': first,  # which compiles
  }


def _in(dtype, model):
  """Returns a network that computes in a dtype."""
  if dtype == 'float32':
    return model
  return model.clone(layers=dataclasses.replace(model.layers, dtype=dtype))


def _forward(model, x_NHWC) -> Callable[[], Any]:
  """Returns a call that evaluates one batch."""
  init = jax.jit(lambda key: model.init(key, x_NHWC[:1], train=False))
  variables = init(jax.random.key(0))
  forward = jax.jit(lambda v, x: model.apply(v, x, train=False)[0])
  return lambda: forward(variables, x_NHWC)


def _training(model, x_NHWC) -> Callable[[], Any]:
  """Returns a call that makes one step of SGD with momentum."""
  updates = optax.sgd(1e-3, momentum=0.9)
  states = [state.create(model, updates, x_NHWC.shape[1:], seed=0)]
  batch = stream.Examples(x_NHWC, np.arange(len(x_NHWC)) % model.num_classes)
  train_step = jax.jit(
    step.make_train_step(model, updates, lambda key, x, y: (x, y)),
    donate_argnums=0,
  )
  key = jax.random.key(0)

  def play():
    states[0], metrics = train_step(states[0], batch, key)
    return states[0], metrics

  return play


def _time(play, title, args) -> list[float]:
  """Returns the seconds of each timed batch; prints progress."""
  began = time.perf_counter()
  for _ in range(args.burn_in):
    jax.block_until_ready(play())
  warm = time.perf_counter() - began
  print(f'{title}: {args.burn_in} batches to warm up, {warm:.1f} s', flush=True)
  seconds = []
  for k in range(1, args.batches + 1):
    began = time.perf_counter()
    jax.block_until_ready(play())
    seconds.append(time.perf_counter() - began)
    if k % 10 == 0 or k == args.batches:
      mean = np.mean(seconds)
      left = (args.batches - k) * mean
      print(
        f'{title}: {k} of {args.batches}, {mean:.3f} s a batch, {left:.0f} s '
        'left',
        flush=True,
      )
  return seconds


def _parse(argv):
  parser = argparse.ArgumentParser(
    prog='python -m benchmarks.forward_time',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument(
    '--models',
    default='inception_v3',
    help='comma-separated, of `python -m bnresearch.models`',
  )
  parser.add_argument(
    '--modes', default='forward,train', help='forward, train or both'
  )
  parser.add_argument(
    '--dtype', choices=('float32', 'bfloat16'), default='float32'
  )
  parser.add_argument('--batch', type=int, default=32)
  parser.add_argument('--size', type=int, default=299, help='in pixels')
  parser.add_argument('--burn_in', type=int, default=10)
  parser.add_argument('--batches', type=int, default=100)
  parser.add_argument('--output', type=paths.output, help='a JSON file')
  parser.add_argument(
    '--dry_run', action='store_true', help='a small network, two batches'
  )
  args = parser.parse_args(argv)
  args.models, args.modes = args.models.split(','), args.modes.split(',')
  for mode in args.modes:
    if mode not in MODES:
      parser.error(f'--modes={mode}: needs forward, train or both.')
  try:
    for name in args.models:
      zoo.published(name)
  except LookupError as error:
    parser.error(str(error))
  for name in ('batch', 'size', 'burn_in', 'batches'):
    if getattr(args, name) < 1:
      parser.error(f'--{name}={getattr(args, name)}: needs 1 or more.')
  if args.dry_run:
    args.models, args.batch, args.size = ['lenet_5'], 2, 28
    args.burn_in, args.batches = 1, 2
  return args


if __name__ == '__main__':
  sys.exit(main())
