"""What experiments that train a sweep share: from flags to verdicts.

An experiment brings its config, `judge` and `draw`. This runs its points, or
reuses their runs, and prints and writes what was measured.
"""

import argparse
import pathlib
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

import bnresearch as bnr
from bnresearch import config as configs
from bnresearch import knobs, paths
from bnresearch.machine import process
from bnresearch.reports import best as best_step
from bnresearch.reports import claims, results, summary
from bnresearch.runs import run_directory
from bnresearch.sweeps import launch
from bnresearch.sweeps.points import Point, points
from bnresearch.terminal import Console, explain, say
from experiments import _figure, _scale

_ROWS = 60  # most that a printed table has
canvas, save = _figure.canvas, _figure.save

# Both get what was measured: the runs, or what `measure` makes of them.
Judge = Callable[[Any], list[claims.Claim]]
Draw = Callable[[Any, argparse.Namespace], None]


def parser(
  name: str,
  text: str,
  *,
  steps: int | None = None,
  seeds: int = 1,
  folder: str | None = None,
  launcher: str = 'local',
  ci: Mapping[str, Any] | None = None,
  paper: Mapping[str, Any] | None = None,
) -> argparse.ArgumentParser:
  """Returns the flags that every such experiment has.

  Args:
    name: of the experiment.
    text: its header.
    steps: default of --steps; if None, there is neither this flag nor --data.
    seeds: default of --seeds.
    folder: of runs that several experiments share, instead of the name.
    launcher: of the runs.
    ci: {flag: value} of a trial, where `_scale.trial` does not suit; one run at
      a time, as studies run side by side then.
    paper: the same of the published scale, if there is one.
  """
  folder = folder or name
  trial = _scale.trial(steps, {'processes': 1} | dict(ci or {}))
  result = _scale.Parser(name, text, trial, paper)
  result.set_defaults(name=name, folder=folder, launcher=launcher, processes=1)
  if steps:
    result.add_argument('--data', default='digits', help='digits, mnist, ...')
    result.add_argument(
      '--steps', type=int, default=steps, help=f'of each run; default {steps:,}'
    )
  result.add_argument(
    '--seeds',
    type=int,
    default=seeds,
    help=f'runs of each setting; default {seeds}',
  )
  if launcher == 'local':
    _add_processes(result)
  result.add_argument(
    '--workdir',
    type=paths.local,
    help=f'of the runs, which are reused; default runs/{folder}-DATA, of a '
    f'trial runs/ci/{folder}-DATA, of a dry run one that is gone afterwards',
  )
  result.add_argument(
    '--output',
    type=picture,
    default=name,
    help=f'path of the picture without its ending; default {name}',
  )
  result.add_argument(
    '--dry_run', action='store_true', help='two steps, synthetic data'
  )
  return result


def picture(text: str) -> pathlib.Path:
  """Reads --output, the path of a PNG, an SVG and a JSON; a type of arguments.

  Raises:
    Unusable: one of them cannot be written.
  """
  path = paths.local(text)
  for ending in ('.png', '.svg', '.json'):
    paths.output(path.with_suffix(ending))
  return path


def _add_processes(to):
  at_a_time = process.runs_at_a_time()
  to.add_argument(
    '--processes',
    type=at_least_one,
    default=at_a_time,
    help=f'runs at a time; default {at_a_time}',
  )


def at_least_one(text: str) -> int:
  """Reads a number of 1 or more; a type of arguments."""
  if (value := int(text)) < 1:
    raise argparse.ArgumentTypeError(f'{value}: needs 1 or more.')
  return value


def conduct(
  args: argparse.Namespace,
  get_config: Callable[[str], knobs.Config],
  arg: str,
  judge: Judge,
  draw: Draw,
  notes: Callable[[Any], dict[str, Any]] = lambda measured: {},
  measure: Callable[[Sequence[bnr.Run]], Any] = lambda runs: runs,
  **overrides: str,
) -> int:
  """Runs or reuses the runs, judges, draws; returns the exit status.

  A run that has diverged is a result like any other; one that has failed is
  tried again. `judge`, `draw` and `notes` get what `measure` makes of the runs,
  by default the runs. The notes are written beside the claims. The overrides
  are knobs, with __ for the dot.
  """
  console = Console()
  with tempfile.TemporaryDirectory() as scratch:
    apart = ('ci',) if args.scale == _scale.CI else ()
    shared = pathlib.Path('runs', *apart, f'{args.folder}-{args.data}')
    default = pathlib.Path(scratch) if args.dry_run else shared
    workdir = args.workdir or default
    try:
      chosen = _points(get_config(arg), overrides, args.dry_run)
      options = launch.Options(args.launcher, args.processes, retry_failed=True)
      statuses = launch.run(chosen, workdir, console, options)
    except (ValueError, FileNotFoundError, RuntimeError) as error:
      say(explain(error), sys.stderr)
      return 2
    if len(chosen) <= _ROWS:
      console.print(summary.table(chosen, workdir))
    if not set(statuses.values()) <= set(run_directory.ENDED):
      say('Not all runs have ended: the same command continues them.')
      return 1
    runs = [bnr.open_run(point.directory(workdir)) for point in chosen]
    measured = measure(runs)
    judged = judge(measured)
    say(f'From {seeds(args.seeds)}.\n{claims.text(judged)}')
    if args.scale == _scale.CI:
      say(_scale.MEANING[_scale.CI])
    draw(measured, args)
    claims.write(
      args.output.with_suffix('.json'),
      judged,
      experiment=args.name,
      data=args.data,
      seeds=args.seeds,
      steps=chosen[0].config.train.steps,
      runs=[_row(point, run) for point, run in zip(chosen, runs)],
      launcher=args.launcher,
      processes=args.processes,
      scale=args.scale,
      **notes(measured),
      **_made_by(runs),
    )
  say(f'Wrote {args.output}.png, .svg and .json')
  return 0


def _points(config, overrides, dry_run):
  values = {key.replace('__', '.'): v for key, v in overrides.items()}
  chosen = points(config, values)
  if not dry_run:
    return chosen
  return [p._replace(config=configs.tiny(p.config)) for p in chosen]


def _row(point: Point, run: bnr.Run) -> dict[str, Any]:
  return {
    'run': point.name,
    'status': run.status['status'],
    'step': run.status['step'],
    'test_accuracy': final(run),
    'seconds': run.status['seconds'],
  }


def _made_by(runs: Sequence[bnr.Run]) -> dict[str, Any]:
  """Returns the commit, versions and so on that made the runs, not the report.

  The date is the last run's. All else is the value that they share or, if they
  differ, the list of their values.
  """
  found: dict[str, set] = {}
  for run in runs:
    for key, value in results.made_by(run.path).items():
      found.setdefault(key, set()).add(value)
  return {
    key: max(values)
    if key == 'date'
    else values.pop()
    if len(values) == 1
    else sorted(values)
    for key, values in found.items()
  }


def final(run: bnr.Run, metric: str = 'test/accuracy') -> float:
  """Returns the last value of a metric.

  A run that has diverged guesses from then on, whatever its last evaluation
  was: its accuracy is that of a guess.
  """
  if metric == 'test/accuracy' and diverged(run):
    return chance(run)
  return float(run.metrics[metric].values[-1])


def diverged(run: bnr.Run) -> bool:
  """Says whether a run ended because its loss was not finite."""
  return run.status['status'] == 'diverged'


def chance(run: bnr.Run) -> float:
  """Returns the accuracy of a guess."""
  return 1 / len(run.spec.class_names)


def best(run: bnr.Run) -> float:
  """Returns the test accuracy of a run's best step.

  That is the highest one, unless a validation split chooses.
  """
  return best_step.of(run.path, run.config, run.metrics).accuracy


def grouped(
  runs: Sequence[bnr.Run], *keys: str
) -> dict[tuple[Any, ...], list[bnr.Run]]:
  """Returns the runs grouped by their values of these dotted keys.

  The runs of a group differ in their seed, and are in the order of the sweep.
  """
  result: dict[tuple[Any, ...], list[bnr.Run]] = {}
  for run in runs:
    values = knobs.leaves(run.config)
    result.setdefault(tuple(values[key] for key in keys), []).append(run)
  return result


def plus_minus(values: Sequence[float] | np.ndarray, form: str) -> str:
  """Writes the mean, and ± the standard deviation if there are several."""
  mean = format(np.mean(values), form)
  if len(values) == 1:
    return mean
  return f'{mean} ± {np.std(values, ddof=1):{form.lstrip("+")}}'


def in_points(share_R: np.ndarray) -> str:
  """Writes a difference of shares in percentage points, with its sign."""
  return f'{plus_minus(100 * share_R, "+.2f")} points'


def by_seed(holds_R: Sequence[bool] | np.ndarray) -> tuple[bool, ...]:
  """Returns whether a claim holds for each seed, as JSON has it."""
  return tuple(map(bool, holds_R))


def seeds(count: int) -> str:
  """Writes how many seeds there are."""
  return f'{count} seed{"s" * (count > 1)}'
