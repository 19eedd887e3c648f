"""The command line: `python -m bnresearch.main --config=FILE --workdir=DIR`."""

import functools
import pathlib
import sys
import tempfile
from collections.abc import Sequence

from bnresearch import command, flags, knobs, paths
from bnresearch import config as configs
from bnresearch.inference import predict
from bnresearch.inference.run import open_run
from bnresearch.machine import process
from bnresearch.reports import (
  evaluation,
  predictions,
  profile,
  results,
  side_by_side,
  summary,
)
from bnresearch.reports.site import report
from bnresearch.runs import run_directory
from bnresearch.sweeps import launch, local
from bnresearch.sweeps.points import points
from bnresearch.terminal import Console, say

# What may be changed of an existing run: where its data is now.
_MOVED = tuple(key for key in run_directory.FREE if key.startswith('data.'))


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status.

  0: all is done, or goes on as jobs. 1: a run failed or was interrupted. 2:
  wrong use.
  """
  parser = flags.parser()
  args, rest = parser.parse_known_args(argv)
  # Images may come between flags. Argparse takes a flag whose value has a
  # space, as --config.model.blocks=(1, 2), for an image.
  words = args.images + rest
  args.images = [a for a in words if not a.startswith('-')]
  rest = [a for a in words if a.startswith('-')]
  unused = list(flags.problems(args))
  try:
    values = configs.from_flags(rest, parser)
  except configs.ConfigError as error:
    raise configs.ConfigError([*error.problems, *unused]) from None
  if unused:
    raise configs.ConfigError(unused)
  if args.explain is not None:
    return _explain(args, values)
  if args.mode == 'report':
    return _report(args, values)
  if args.mode != 'train':
    return _use_run(args, values)
  if not args.config:
    raise configs.ConfigError('--config=FILE is missing; see --help.')
  return _train(args, values)


def _explain(args, values):
  """Says what a knob is; refuses all other flags, which have no effect."""
  nothing = flags.parser().parse_args([f'--explain={args.explain}'])
  given = [k for k, v in vars(args).items() if v != getattr(nothing, k)]
  others = [*given, *(f'config.{key}' for key in values)]
  if others:
    raise configs.ConfigError(
      f'--{flag}: has no effect with --explain. Leave one of the two out.'
      for flag in others
    )
  say(knobs.explain(args.explain))
  return 0


def _train(args, values):
  console = Console()
  chosen = points(configs.load(args.config), values)
  if args.point is not None and not 0 <= args.point < len(chosen):
    raise configs.ConfigError(
      f'--point={args.point}: the points are 0 to {len(chosen) - 1}.'
    )
  if args.list:
    for k, point in enumerate(chosen):
      say(f'{k:3}  {point.name}')
    return 0
  if args.point is not None:
    chosen = [chosen[args.point]]
  dry = chosen[0].config.dry_run
  if unused := dry and [*flags.problems_of_a_dry_run(args)]:
    raise configs.ConfigError(unused)
  name = pathlib.Path(args.config.partition(':')[0]).stem
  (workdir,) = args.workdir or [pathlib.Path('runs', name)]
  if args.status or args.collect:
    return _look(args, chosen, workdir, console)
  if dry:
    return _dry_run(chosen, console)
  options = launch.Options(
    flags.launcher(args),
    args.processes or process.runs_at_a_time(),
    args.at_once or 0,
    args.wait,
    args.retry_failed,
  )
  result = launch.run(chosen, workdir, console, options)
  console.print(*summary.tables(chosen, workdir, result, args.target))
  return _conclude(result, options, console)


def _look(args, chosen, workdir, console):
  """Prints or writes how far the points are, and starts nothing."""
  statuses = launch.statuses_of(chosen, workdir, console)
  if args.status:
    console.print(*summary.tables(chosen, workdir, statuses, args.target))
    failed = [p for p in chosen if statuses[p.name] == 'failed']
    launch.tell_failed(failed, workdir, console)
  if args.collect:
    rows = results.rows(chosen, workdir, statuses, args.target)
    results.write(args.collect, rows)
    ended = sum(s in run_directory.ENDED for s in statuses.values())
    say(f'Wrote {args.collect}: {len(chosen)} points, {ended} have ended.')
  return 0


def _conclude(result, options, console):
  """Says what to do next; returns the exit status."""
  left = [s for s in result.values() if s not in run_directory.ENDED]
  tell = functools.partial(console.print, soft_wrap=True)
  failed, refused = left.count('failed'), left.count('refused')
  going = left.count('queued') + left.count('running')
  if not left:
    tell('All is done.')
  if failed:
    tell(f'{failed} failed: --retry_failed runs what has failed again.')
  if refused:
    tell(f'{refused} refused: their directories are not theirs, see above.')
  if going:
    tell(f'{going} queued or running: --status shows how far.')
  if failed + refused + going < len(left):
    tell('The same command again continues.')
  follows = options.launcher != 'slurm' or options.wait
  submitted = not follows and going == len(left)
  return 0 if submitted or not left else 1


def _dry_run(chosen, console):
  """Trains all points in a temporary directory.

  The checkpoint of each is restored and evaluated.
  """
  tiny = [p._replace(config=configs.tiny(p.config)) for p in chosen]
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder)
    result = local.run(tiny, workdir, 1, console)
    for point in tiny:
      line = f'dry run of {point.name}: {result[point.name]}'
      if result[point.name] == 'done':
        run = open_run(point.directory(workdir))
        accuracy = run.evaluate(run.restore())['accuracy']
        line += f', its checkpoint restored: test accuracy {accuracy:.2%}'
      console.print(line, soft_wrap=True)
  return 0 if all(s == 'done' for s in result.values()) else 1


def _report(args, values):
  """Writes pages of runs, which it never opens to compute anything."""
  if not args.workdir or not args.output:
    raise configs.ConfigError(
      '--mode=report needs --workdir=DIR, a run or a folder of runs, and '
      '--output=FOLDER, where its pages go.'
    )
  if args.config or args.list or args.point is not None or values:
    raise configs.ConfigError(
      '--mode=report takes no --config, --list or --point: the runs have '
      'their own configs.'
    )
  if why := paths.unwritable_folder(args.output):
    raise configs.ConfigError(f'--output={args.output}: {why}')
  made = report.Report(
    args.output, args.workdir, args.target, watched=args.watch
  )
  report.show(made, args.output / 'index.html')
  if args.watch:
    report.watch(made)
  return 0


def _use_run(args, values):
  """Evaluates checkpoints, or predicts with or profiles a run."""
  moved = {
    key.removeprefix('data.'): value
    for key, value in values.items()
    if key in _MOVED
  }
  if not args.workdir:
    raise configs.ConfigError(
      f'--mode={args.mode} needs --workdir=RUN, a run directory.'
    )
  if (
    args.config
    or args.list
    or args.point is not None
    or len(moved) < len(values)
  ):
    raise configs.ConfigError(
      f'--mode={args.mode} takes no --config, --list or --point: the run has '
      'its own config. Only where its data is may be said, by '
      f'{", ".join(f"--config.{key}" for key in _MOVED)}.'
    )
  process.prepare(process.cores())
  runs = [open_run(path, **moved) for path in args.workdir]
  _check_moved(runs[0], values)
  use = {'eval': _evaluate, 'predict': _predict, 'profile': _profile}
  return use[args.mode](args, runs)


def _check_moved(run, values):
  found, rules = knobs.leaves(run.config), knobs.KNOBS
  wrong = [key for key in values if not rules[key].rule.holds(found[key])]
  if wrong:
    raise configs.ConfigError(
      f'{key} = {found[key]!r}: needs {rules[key].rule.needs}.' for key in wrong
    )


def _evaluate(args, runs):
  _check_crops(args, runs)
  if args.save_statistics and (why := paths.unwritable_folder(runs[0].path)):
    raise configs.ConfigError(f'--save_statistics: {runs[0].path} {why}')
  networks = [(run, run.restore(args.step or 'latest')) for run in runs]
  if not flags.side_by_side(args):
    evaluation.show(*networks[0], save=args.save_statistics)
    return 0
  side_by_side.show(
    networks,
    crop_count=args.crops or 1,
    predictions=args.predictions,
    figure=args.figure,
  )
  return 0


def _predict(args, runs):
  files = predict.files(map(paths.local, args.images))
  if not files:
    raise configs.ConfigError(
      '--mode=predict needs images, or folders of images, to predict.'
    )
  _check_crops(args, runs)
  (run,) = runs
  state = run.restore(args.step or 'best')
  return predictions.show(
    run,
    state,
    files,
    crop_count=args.crops or 1,
    as_json=args.json,
    figure=args.figure,
  )


def _profile(args, runs):
  (run,) = runs
  if why := paths.unwritable_folder(run.path):
    raise configs.ConfigError(f'--mode=profile: {run.path} {why}')
  profile.show(run, run.path / 'profile', args.steps or 10)
  return 0


def _check_crops(args, runs):
  for run in runs:
    try:
      run.parts.images.crop(args.crops or 1)
    except ValueError as error:
      raise configs.ConfigError(
        f'--crops={args.crops}: {run.path}: {error}'
      ) from None


if __name__ == '__main__':
  sys.exit(main())
