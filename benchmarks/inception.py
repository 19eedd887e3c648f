"""Cost of Figure 2, as published or small: the time of a step of each network.

Claim:    none is published. At 32 images a step, Inception takes 31 million
          steps; here its variants with all modifications take a third of them.
Source:   Ioffe & Szegedy 2015, section 4.2, arXiv 1502.03167.
Command:  python -m benchmarks.inception --output=inception.json
Cost:     five minutes on two CPU cores.
Result:   benchmarks/results/inception_*.json

The networks are those of configs/inception.py:scale=paper, or of scale=small on
Fashion-MNIST. Networks that differ only in numbers, such as the learning rate,
share a compiled step and are timed once. It is the step of a run, with
distortions, L2 and update, on images of 224 or 28 pixels already on the device;
`benchmarks.data` times reading and cropping. The time is of the fastest round,
so the days are a lower bound.
"""

import sys
from collections.abc import Sequence

import jax
import numpy as np
from rich.table import Table

from benchmarks import _timing
from bnresearch import command, data, lookup
from bnresearch import config as configs
from bnresearch.assembly import assemble
from bnresearch.knobs import tree
from bnresearch.machine import devices, process
from bnresearch.sweeps.points import Point, points
from bnresearch.terminal import Console
from bnresearch.training import parallel
from bnresearch.training.stream import Examples
from configs import inception

# Points that differ in one of these are compiled separately.
_COMPILED = 'norm.name', 'model.activation', 'model.lrn', 'model.dropout_rate'
_CLASSES = 1000
_DAY_S = 86_400


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Times each step, and prints how long the runs would take."""
  args = _timing.parse(
    'inception',
    __doc__,
    3,
    argv,
    scale={'choices': ('paper', 'small'), 'default': 'paper'},
    batch={
      'type': int,
      'default': 32,
      'help': '32, 64, 128 or 256; 32 for the small scale',
    },
    dtype={'choices': ('float32', 'bfloat16'), 'default': 'float32'},
  )
  process.prepare(process.cores())
  # The host crops.
  paper = args.scale == 'paper'
  values = {'train.dtype': args.dtype}
  values |= {'augment.crop': 'none'} if paper else {}
  try:
    config = inception.get_config(
      f'scale={args.scale}' + (f',batch={args.batch}' if paper else '')
    )
    chosen = points(config, values)
  except ValueError as error:
    print(error, file=sys.stderr)
    return 2
  if args.dry_run:
    chosen = [p._replace(config=_tiny(p.config)) for p in chosen[:2]]
  rows = _rows(chosen, args.rounds)
  Console().print(_table(rows, args))
  return _timing.finish(
    'inception',
    args,
    [],
    data='uniform random numbers',
    steps=chosen[0].config.train.steps,
    scale=args.scale,
    batch=chosen[0].config.train.batch_size,
    dtype=args.dtype,
    rounds=args.rounds,
    rows=rows,
  )


def _rows(chosen: Sequence[Point], rounds: int) -> list[dict]:
  """Returns a row for each point: its steps, and the time of each."""
  first = {}  # the first point of those that share a compiled step
  for point in chosen:
    first.setdefault(_compiled_by(point), point)
  calls = {point.name: _training(point) for point in first.values()}
  seconds = _timing.fastest(calls, rounds, np.random.RandomState(0))
  rows = []
  for point in chosen:
    train = point.config.train
    taken = seconds[first[_compiled_by(point)].name]
    rows.append(
      {
        'label': point.config.label,
        'steps': train.steps,
        'seconds_a_step': taken,
        'steps_per_s': 1 / taken,
        'images_per_s': train.batch_size / taken,
        'days': train.steps * taken / _DAY_S,
      }
    )
  return rows


def _compiled_by(point):
  values = tree.leaves(point.config)
  return tuple(values[key] for key in _COMPILED)


def _training(point: Point) -> _timing.Call:
  """Returns a call that makes the next step of a run, on the same batch."""
  config = point.config
  side, N = config.data.image_size, config.train.batch_size
  shape, K = (side, side, 3), _CLASSES
  if config.data.name != 'imagenet2012':
    spec = lookup.find('data', config.data.name).spec()
    shape, K = spec.image_shape, len(spec.class_names)
  images = np.random.RandomState(0).randint(0, 256, (N, *shape))
  labels_N = np.arange(N, dtype=np.int32) % K
  batch = Examples(images.astype(np.uint8), labels_N)
  source = data.Arrays(*batch, tuple(map(str, range(K))))
  parts = assemble(config, sources={'train': source})
  mesh = parts.training.mesh()
  with jax.set_mesh(mesh):
    states = [parallel.shared(parts.training.fresh_state())]
    batch = parallel.split(batch)
  compiled, key = (
    jax.jit(parts.training.train_step, donate_argnums=0),
    jax.random.key(0),
  )

  def play():
    with jax.set_mesh(mesh):
      states[0], metrics = compiled(states[0], batch, key)
    jax.block_until_ready(metrics)

  print(f'Compiling {config.label}', flush=True)
  play()
  return play


def _tiny(config):
  """Returns the config of a narrow network of few modules, on small images."""
  small = configs.tiny(config)
  configs.override(
    small,
    {
      'data.image_size': 64,
      'model.blocks': (0, 0, 0),
      'model.width': 0.05,
    },
  )
  return small


def _table(rows, args):
  table = Table(
    title=f'scale={args.scale}, {args.dtype}, on {devices.described()}',
    caption='One seed; without reading images and evaluation.',
  )
  columns = 'network', 'steps', 's a step', 'steps/s', 'images/s', 'days'
  for column in columns:
    table.add_column(column, justify='right')
  for row in rows:
    table.add_row(
      row['label'],
      f'{row["steps"]:,}',
      f'{row["seconds_a_step"]:.3g}',
      f'{row["steps_per_s"]:,.3g}',
      f'{row["images_per_s"]:,.3g}',
      f'{row["days"]:,.3g}',
    )
  table.add_section()
  total = sum(row['days'] for row in rows)
  table.add_row('all', '', '', '', '', f'{total:,.3g}')
  return table


if __name__ == '__main__':
  sys.exit(main())
