"""The flags of `python -m bnresearch.main`, and which of them go together."""

import argparse
from collections.abc import Iterator

from bnresearch import build, paths
from bnresearch.machine import process
from bnresearch.reports import prediction_file, reliability, results, targets
from bnresearch.sweeps.launch import LAUNCHERS

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
the same as a SLURM job array (config.slurm has its resources)
  python -m bnresearch.main --config=configs/figure1.py --launcher=slurm \\
      --config.slurm.partition=short --config.slurm.minutes=60
how far it is, from another terminal too; all results as a table
  python -m bnresearch.main --config=configs/figure1.py --status
  python -m bnresearch.main --config=configs/figure1.py --collect=figure1.csv
what a network says of images, one or thousands, files or folders
  python -m bnresearch.main --mode=predict --workdir=runs/flowers rose.jpg more/
evaluate a checkpoint exactly, under each kind of statistics; keep these
  python -m bnresearch.main --mode=eval --step=best --save_statistics \\
      '--workdir=runs/figure1/init_std=0.01,norm=batch,seed=0'
several runs alone and as an ensemble, by 10 or 144 crops of each image; what
they say of each example, and how far it can be relied upon
  python -m bnresearch.main --mode=eval --crops=10 --workdir=runs/a \\
      --workdir=runs/b --predictions=both.parquet --figure=both.png
"""

# Flags that only some modes, or one launcher, have.
_OF_MODES = {
  'launcher': ('train',),
  'processes': ('train',),
  'at_once': ('train',),
  'wait': ('train',),
  'retry_failed': ('train',),
  'status': ('train',),
  'collect': ('train',),
  'target': ('train',),
  'step': ('eval', 'predict'),
  'save_statistics': ('eval',),
  'predictions': ('eval',),
  'figure': ('eval',),
  'crops': ('eval', 'predict'),
  'json': ('predict',),
}
_OF_LAUNCHER = {
  'processes': 'local',
  'at_once': 'vectorized',
  'wait': 'slurm',
}
# What a dry run does without: it is made here, point after point, kept nowhere.
# --workdir may stand in its command, which is the run's with one word more.
_NOT_OF_A_DRY_RUN = (
  'launcher',
  'processes',
  'at_once',
  'wait',
  'retry_failed',
  'status',
  'collect',
  'target',
)
_ENDINGS = {
  'collect': results.ENDINGS,
  'predictions': prediction_file.ENDINGS,
  'figure': reliability.ENDINGS,
}


def parser() -> argparse.ArgumentParser:
  """Returns the parser of all flags but the overrides of knobs."""
  result = argparse.ArgumentParser(
    prog='python -m bnresearch.main',
    description='Trains the points of a config, or evaluates a checkpoint, or '
    'predicts by it.',
    epilog=_EXAMPLES,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  result.add_argument(
    '--mode', choices=('train', 'eval', 'predict'), default='train'
  )
  result.add_argument(
    '--workdir',
    metavar='DIR',
    type=paths.local,
    action='append',
    help='where runs are kept, default runs/<name of the config>; or the run '
    'to evaluate or predict by; to evaluate, it may be given several times',
  )
  _add_training(result.add_argument_group('to train'))
  _add_looking(result.add_argument_group('to look at the points of a config'))
  _add_use(result.add_argument_group('to evaluate and predict'))
  return result


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
    '--point', metavar='K', type=int, help='train only point K of --list'
  )
  group.add_argument(
    '--launcher',
    choices=tuple(LAUNCHERS),
    help='local: processes of this machine, the default; vectorized: points '
    'that differ in numbers only as one program, much faster for small '
    'networks; slurm: a job array, submitted at once, that saves itself when '
    'it is preempted and goes on',
  )
  group.add_argument(
    '--processes',
    metavar='N',
    type=int,
    help='local: points trained at a time; default one on an accelerator, on '
    f'a CPU one a core, here {process.runs_at_a_time()}',
  )
  group.add_argument(
    '--at_once',
    metavar='N',
    type=int,
    help='vectorized: points in one program; default as many as fit',
  )
  group.add_argument(
    '--wait',
    action='store_true',
    help='slurm: follow the jobs to their end; Ctrl-C only stops following',
  )
  group.add_argument(
    '--retry_failed',
    action='store_true',
    help='run points again that have failed, which are skipped otherwise',
  )


def _add_looking(group):
  group.add_argument(
    '--list', action='store_true', help='print the points and stop'
  )
  group.add_argument(
    '--status',
    action='store_true',
    help='print how far each point is, and start nothing',
  )
  group.add_argument(
    '--collect',
    metavar='FILE',
    type=paths.local,
    help='write a table, a row a point, with its swept values, results and '
    f'origin, and start nothing; ends in {" or ".join(results.ENDINGS)}',
  )
  group.add_argument(
    '--target',
    metavar='METRIC=VALUE',
    type=_target,
    help='a column with the step at which each point first reaches it, '
    'interpolated, such as test/accuracy=0.9',
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
    help='of each image, whose probabilities are averaged; default 1; of small '
    'images 10, where training has padded and mirrored them',
  )
  group.add_argument(
    '--predictions',
    metavar='FILE',
    type=paths.local,
    help='eval: write the probabilities of every example, those of the '
    f'ensemble; ends in {" or ".join(prediction_file.ENDINGS)}',
  )
  group.add_argument(
    '--figure',
    metavar='FILE',
    type=paths.local,
    help='eval: draw the reliability diagram, accuracy against confidence; '
    f'ends in {" or ".join(reliability.ENDINGS)}',
  )
  group.add_argument(
    '--json', action='store_true', help='predict: print JSON, not a table'
  )


def _target(text):
  try:
    return targets.parse(text)
  except ValueError as error:
    raise argparse.ArgumentTypeError(str(error)) from None


def problems(args: argparse.Namespace) -> Iterator[str]:
  """Yields what does not go together: nothing is silently ignored."""
  for flag, modes in _OF_MODES.items():
    if getattr(args, flag) is not None and getattr(args, flag) is not False:
      if args.mode not in modes:
        yield f'--{flag}: only for --mode={" and --mode=".join(modes)}.'
      elif _OF_LAUNCHER.get(flag, launcher(args)) != launcher(args):
        yield f'--{flag}: only with --launcher={_OF_LAUNCHER[flag]}.'
  for flag in ('status', 'collect', 'target'):
    if args.list and getattr(args, flag):
      yield f'--{flag}: has no effect with --list. Leave one of the two out.'
  for flag in ('processes', 'at_once'):
    value = getattr(args, flag)
    if value is not None and value < 1:
      yield f'--{flag}={value}: needs 1 or more.'
  for flag, endings in _ENDINGS.items():
    file, known = getattr(args, flag), ' or '.join(endings)
    if file and file.suffix not in endings:
      yield f'--{flag}={file}: needs a name that ends in {known}.'
    elif file and (why := paths.unwritable(file)):
      yield f'--{flag}={file}: {why}'
  yield from _of_several_runs(args)
  if args.mode != 'predict':
    for word in args.images:
      yield f'{word}: no such flag; images are for --mode=predict.'


def problems_of_a_dry_run(args: argparse.Namespace) -> Iterator[str]:
  """Yields what has no effect where the config says that it is a dry run."""
  for flag in _NOT_OF_A_DRY_RUN:
    value = getattr(args, flag)
    if value and value != 'local':
      yield (
        f'--{flag}: has no effect on a dry run, which is made here, point '
        'after point, and kept nowhere. Leave it out, or '
        '--config.dry_run=True.'
      )


def _of_several_runs(args):
  runs = args.workdir or []
  if len(runs) > 1 and args.mode != 'eval':
    yield (
      f'--workdir is given {len(runs)} times: --mode={args.mode} takes one. '
      'Several are for --mode=eval.'
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

  If not, it is one run under each kind of statistics.
  """
  asked = args.crops, args.predictions, args.figure
  several = len(args.workdir or ()) > 1
  return args.mode == 'eval' and (several or any(asked))


def launcher(args: argparse.Namespace) -> str:
  """Returns the name of the launcher, 'local' unless another is asked for."""
  return args.launcher or 'local'
