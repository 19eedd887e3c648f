"""The flags of the command `bnresearch`, and which of them go together.

`table.py` declares each flag, with the modes and the launcher that have it. The
parser, its help and the refusals follow from that.
"""

import argparse
import pathlib
import sys
from collections.abc import Iterator

from bnresearch import command, paths
from bnresearch.flags.table import FLAGS, GENERAL, GROUPS, MODES, RESULTS

_MODULE = 'python -m bnresearch.main'
_EXAMPLES = """
train every point of a config's sweep; the same command again continues
  python -m bnresearch.main --config=configs/figure1.py --workdir=runs/figure1
choose the data; change any knob; explain a knob, or a group of knobs
  python -m bnresearch.main --config=configs/figure1.py:data=mnist,seeds=3 \\
      --config.optim.learning_rate=0.5 --workdir=runs/fast
  python -m bnresearch.main --explain=optim.learning_rate
  python -m bnresearch.main --explain=optim
list the points; run only the second; try all in two tiny steps, saving nothing
  python -m bnresearch.main --config=configs/figure1.py --list
  python -m bnresearch.main --config=configs/figure1.py --point=1
  python -m bnresearch.main --config=configs/figure1.py --config.dry_run=True
run the same as a SLURM job array; config.slurm sets its resources
  python -m bnresearch.main --config=configs/figure1.py --launcher=slurm \\
      --config.slurm.partition=short --config.slurm.minutes=60
show progress, from any terminal; write all results as a table
  python -m bnresearch.main --config=configs/figure1.py --status
  python -m bnresearch.main --config=configs/figure1.py --collect=figure1.csv
predict the classes of images, one or thousands, files or folders; draw them
  python -m bnresearch.main --mode=predict --workdir=runs/flowers rose.jpg more/
  python -m bnresearch.main --mode=predict --workdir=runs/flowers more/ \\
      --figure=flowers.png
evaluate a checkpoint exactly, under each kind of statistics, and save these
  python -m bnresearch.main --mode=eval --step=best --save_statistics \\
      '--workdir=runs/figure1/init_std=0.01,norm=batch,seed=0'
evaluate runs alone and as an ensemble, on 10 or 144 crops of each image; write
all predictions and a reliability diagram
  python -m bnresearch.main --mode=eval --crops=10 --workdir=runs/a \\
      --workdir=runs/b --predictions=both.parquet --figure=both.png
write pages of a sweep, which open from disk; write them again as it goes on
  python -m bnresearch.main --mode=report --workdir=runs/figure1 \\
      --output=report --target=test/accuracy=0.95 --watch
"""


def parser() -> argparse.ArgumentParser:
  """Returns the parser of all flags but the overrides of knobs."""
  prog = _called_by()
  result = command.parser(
    'main',
    'Trains the points of a config, evaluates a checkpoint, predicts with one, '
    'or writes a report of runs.',
    _EXAMPLES.replace(_MODULE, prog),
  )
  result.prog = prog
  for flag in GENERAL:
    result.add_argument(flag.name, **flag.options)
  for title, flags in GROUPS.items():
    group = result.add_argument_group(title)
    for flag in flags:
      group.add_argument(flag.name, **flag.options)
  return result


def _called_by():
  """Returns what the user typed: the command that pip installs, or ours."""
  command = pathlib.Path(sys.argv[0]).stem
  return command if command == 'bnresearch' else _MODULE


def problems(args: argparse.Namespace) -> Iterator[str]:
  """Yields the problems of flags together; none is silently ignored."""
  given = [(flag, value) for flag, value in _values(args) if _is_given(value)]
  for flag, _ in given:
    if args.mode not in flag.modes:
      yield f'{flag.name}: only for --mode={" and --mode=".join(flag.modes)}.'
    elif flag.launcher not in ('', launcher(args)):
      yield f'{flag.name}: only with --launcher={flag.launcher}.'
  for flag, _ in given:
    if args.list and flag in RESULTS:
      yield (
        f'{flag.name}: has no effect with --list. Leave one of the two out.'
      )
  for flag, value in given:
    if flag.least is not None and value < flag.least:
      yield f'{flag.name}={value}: needs {flag.least} or more.'
  for flag, file in given:
    if flag.endings and file.suffix not in flag.endings:
      known = ' or '.join(flag.endings)
      yield f'{flag.name}={file}: needs a name that ends in {known}.'
    elif flag.endings and (why := paths.unwritable(file)):
      yield f'{flag.name}={file}: {why}'
  yield from _of_several_runs(args)
  if args.mode != 'predict':
    for word in args.images:
      yield f'{word}: no such flag; images are for --mode=predict.'


def problems_of_a_dry_run(args: argparse.Namespace) -> Iterator[str]:
  """Yields the problems of flags that have no effect on a dry run.

  A dry run trains here, point after point, and keeps nothing, so it refuses the
  flags that only training has. It takes --workdir, so that its command is the
  run's with one more word.
  """
  for flag, value in _values(args):
    trains = 'train' in flag.modes and flag.modes != MODES
    if trains and value and value != 'local':
      yield (
        f'{flag.name}: has no effect on a dry run, which is made here, point '
        'after point, and kept nowhere. Leave it out, or '
        '--config.dry_run=True.'
      )


def _values(args):
  """Yields each flag and its value, without the overrides of knobs."""
  for flag in FLAGS:
    if hasattr(args, flag.key):
      yield flag, getattr(args, flag.key)


def _is_given(value):
  return value is not None and value is not False


def _of_several_runs(args):
  runs = args.workdir or []
  if len(runs) > 1 and args.mode not in ('eval', 'report'):
    yield (
      f'--workdir is given {len(runs)} times: --mode={args.mode} takes one. '
      'Several are for --mode=eval and --mode=report.'
    )
  for k, path in enumerate(runs):
    if path.resolve() in [other.resolve() for other in runs[:k]]:
      yield f'--workdir={path}: is given twice. Each run counts once.'
  if args.save_statistics and side_by_side(args):
    yield (
      '--save_statistics: only for one run, without --crops, --predictions and '
      '--figure, which are by the running statistics.'
    )


def side_by_side(args: argparse.Namespace) -> bool:
  """Returns whether the runs are evaluated side by side and as an ensemble.

  Otherwise one run is evaluated under each kind of statistics.
  """
  asked = args.crops, args.predictions, args.figure
  several = len(args.workdir or ()) > 1
  return args.mode == 'eval' and (several or any(asked))


def launcher(args: argparse.Namespace) -> str:
  """Returns the name of the launcher, by default 'local'."""
  return args.launcher or 'local'
