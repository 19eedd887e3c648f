"""The command line: `python -m bnresearch.main --config=FILE --workdir=DIR`."""

import argparse
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from rich.console import Console

from bnresearch import build
from bnresearch import config as configs
from bnresearch.data import DamagedData, MissingData
from bnresearch.engine import machine
from bnresearch.engine.checkpoint import RestoreError
from bnresearch.inference import predict
from bnresearch.inference.run import open_run
from bnresearch.records import run_directory
from bnresearch.reports import evaluation, predictions, summary
from bnresearch.sweeps import local
from bnresearch.sweeps.points import Point, points

_EXAMPLES = """
train every point of a config's sweep; the same command again continues it
  python -m bnresearch.main --config=configs/figure1.py --workdir=runs/figure1
choose the data, change any knob (configs/default.py has them, explained)
  python -m bnresearch.main --config=configs/figure1.py:data=mnist,seeds=3 \\
      --config.optim.learning_rate=0.5 --workdir=runs/fast
see the points; run the second only; try all in two tiny steps, kept nowhere
  python -m bnresearch.main --config=configs/figure1.py --list
  python -m bnresearch.main --config=configs/figure1.py --point=1
  python -m bnresearch.main --config=configs/figure1.py --config.dry_run=True
what a network says of images, one or thousands, files or folders
  python -m bnresearch.main --mode=predict --workdir=runs/flowers rose.jpg more/
evaluate a checkpoint exactly, under each kind of statistics; keep these
  python -m bnresearch.main --mode=eval --step=best --save_statistics \\
      '--workdir=runs/figure1/init_std=0.01,norm=batch,seed=0'
"""

# What a user can mend: its message says how, a traceback would hide it.
_EXPECTED = (
  configs.ConfigError,
  run_directory.Refused,
  RestoreError,
  DamagedData,
  MissingData,
  FileNotFoundError,
)


def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status.

  0: all is done. 1: a run failed or was interrupted. 2: wrong use.
  """
  parser = _parser()
  args, rest = parser.parse_known_args(argv)
  try:
    # Images may come between flags.
    args.images += [a for a in rest if not a.startswith('-')]
    rest = [a for a in rest if a.startswith('-')]
    unused = _unused(args)
    try:
      values = configs.from_flags(rest, parser)
    except configs.ConfigError as error:
      raise configs.ConfigError([*error.problems, *unused]) from None
    if unused:
      raise configs.ConfigError(unused)
    if args.mode != 'train':
      return _use_run(args, values)
    if not args.config:
      raise configs.ConfigError(['--config=FILE is missing; see --help.'])
    return _train(args, values)
  except _EXPECTED as error:
    print(error, file=sys.stderr)
    return 2


def _parser():
  parser = argparse.ArgumentParser(
    prog='python -m bnresearch.main',
    description='Trains the points of a config, or evaluates a checkpoint, or '
    'predicts by it.',
    epilog=_EXAMPLES,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument(
    '--mode', choices=('train', 'eval', 'predict'), default='train'
  )
  parser.add_argument(
    '--workdir',
    metavar='DIR',
    type=pathlib.Path,
    help='where runs are kept, default runs/<name of the config>; or the run '
    'to evaluate or predict by',
  )
  _add_training(parser.add_argument_group('to train'))
  _add_use(parser.add_argument_group('to evaluate and predict'))
  return parser


def _add_training(group):
  group.add_argument(
    '--config', metavar='FILE[:ARG]', help='a file of configs/, its argument'
  )
  group.add_argument(
    '--config.KEY',
    metavar='VALUE',
    dest='unused',
    help='override a knob, such as --config.train.steps=1000',
  )
  group.add_argument(
    '--list', action='store_true', help='print the points and stop'
  )
  group.add_argument(
    '--point', metavar='K', type=int, help='train only point K of --list'
  )
  group.add_argument(
    '--processes',
    metavar='N',
    type=int,
    default=machine.cores(),
    help='points trained at a time, a core each; default %(default)s',
  )


def _add_use(group):
  group.add_argument(
    '--step',
    metavar='STEP',
    help='checkpoint: best, latest or a number; default latest to evaluate, '
    'best to predict',
  )
  group.add_argument(
    '--save_statistics',
    action='store_true',
    help='eval: keep the estimated statistics in RUN/statistics',
  )
  group.add_argument(
    'images', nargs='*', help='predict: image files, and folders of these'
  )
  group.add_argument(
    '--crops',
    type=int,
    choices=build.CROP_COUNTS,
    help='predict: of each image, averaged; default 1',
  )
  group.add_argument(
    '--json', action='store_true', help='predict: print JSON, not a table'
  )


def _train(args, values):
  console = Console()
  chosen = points(configs.load(args.config), values)
  if args.point is not None and not 0 <= args.point < len(chosen):
    raise configs.ConfigError(
      [f'--point={args.point}: the points are 0 to {len(chosen) - 1}.']
    )
  if args.processes < 1:
    raise configs.ConfigError(
      [f'--processes={args.processes}: needs 1 or more.']
    )
  if args.list:
    for k, point in enumerate(chosen):
      print(f'{k:3}  {point.name}')
    return 0
  if args.point is not None:
    chosen = [chosen[args.point]]
  if chosen[0].config.dry_run:
    return _dry_run(chosen, console)
  file = pathlib.Path(args.config.partition(':')[0])
  workdir = args.workdir or pathlib.Path('runs', file.stem)
  result = local.run(chosen, workdir, args.processes, console)
  console.print(summary.table(chosen, workdir))
  ended = all(status in run_directory.ENDED for status in result.values())
  print('All is done.' if ended else 'The same command again continues.')
  return 0 if ended else 1


def _dry_run(chosen, console):
  """Trains all points in a directory that is gone afterwards."""
  tiny = [Point(p.name, configs.tiny(p.config)) for p in chosen]
  with tempfile.TemporaryDirectory() as folder:
    result = local.run(tiny, pathlib.Path(folder), 1, console)
  for name, status in result.items():
    print(f'dry run of {name}: {status}')
  return 0 if all(s == 'done' for s in result.values()) else 1


def _unused(args):
  """Returns what the mode does not have: nothing is silently ignored."""
  modes = {
    'step': ('eval', 'predict'),
    'save_statistics': ('eval',),
    'crops': ('predict',),
    'json': ('predict',),
  }
  found = [
    f'--{flag}: only for --mode={" and --mode=".join(of)}.'
    for flag, of in modes.items()
    if getattr(args, flag) and args.mode not in of
  ]
  if args.mode != 'predict':
    found += [
      f'{word}: no such flag; images are for --mode=predict.'
      for word in args.images
    ]
  return found


def _use_run(args, values):
  """Evaluates a checkpoint, or predicts by it."""
  moved = {
    key.removeprefix('data.'): value
    for key, value in values.items()
    if key in run_directory.FREE
  }
  if args.workdir is None:
    raise configs.ConfigError(
      [f'--mode={args.mode} needs --workdir=RUN, a run directory.']
    )
  if (
    args.config
    or args.list
    or args.point is not None
    or len(moved) < len(values)
  ):
    raise configs.ConfigError(
      [
        f'--mode={args.mode} takes no --config, --list or --point: the run has '
        'its own config. Only where its data is may be said, by '
        f'{", ".join(f"--config.{key}" for key in run_directory.FREE)}.'
      ]
    )
  run = open_run(args.workdir, **moved)
  if args.mode == 'eval':
    state = run.restore(args.step or 'latest')
    evaluation.show(run, state, save=args.save_statistics)
    return 0
  files = predict.files(args.images)
  if not files:
    raise configs.ConfigError(
      ['--mode=predict needs images, or folders of images, to predict.']
    )
  try:
    build.crop(run.config, args.crops or 1)
  except ValueError as error:
    raise configs.ConfigError([f'--crops={args.crops}: {error}']) from None
  state = run.restore(args.step or 'best')
  return predictions.show(
    run, state, files, crop_count=args.crops or 1, as_json=args.json
  )


if __name__ == '__main__':
  sys.exit(main())
