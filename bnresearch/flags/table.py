"""Every flag, declared once: its help, and where it has an effect."""

import argparse
from typing import Any, NamedTuple

from bnresearch import paths
from bnresearch.images import crops
from bnresearch.machine import process
from bnresearch.reports import (
  photographs,
  prediction_file,
  reliability,
  results,
  targets,
)
from bnresearch.sweeps.launch import LAUNCHERS

MODES = ('train', 'eval', 'predict', 'profile', 'report')


class Flag(NamedTuple):
  """A flag, and where it has an effect.

  Attributes:
    name: as typed; an argument that is not a flag has no dashes.
    options: of `ArgumentParser.add_argument`.
    modes: those that have it. A flag of all modes may have refusals of its own.
    launcher: the only one that has it; '' if all do.
    endings: how the name of its file may end; () if it has no file.
    least: the smallest value of its number; None for no limit.
  """

  name: str
  options: dict[str, Any]
  modes: tuple[str, ...] = MODES
  launcher: str = ''
  endings: tuple[str, ...] = ()
  least: int | None = None

  @property
  def key(self) -> str:
    """Its name in the parsed arguments."""
    return self.name.removeprefix('--')


def _flag(name, *modes, launcher='', endings=(), least=None, **options):
  return Flag(name, options, modes or MODES, launcher, endings, least)


def _target(text):
  try:
    return targets.parse(text)
  except ValueError as error:
    raise argparse.ArgumentTypeError(str(error)) from None


_FILE = {'metavar': 'FILE', 'type': paths.local}
_NUMBER = {'metavar': 'N', 'type': int, 'least': 1}
_SWITCH = {'action': 'store_true'}

GENERAL = (
  _flag('--mode', choices=MODES, default='train'),
  _flag(
    '--workdir',
    metavar='DIR',
    type=paths.local,
    action='append',
    help='the folder of the runs, default runs/<name of the config>; or the '
    'run to evaluate, predict with, profile or report; repeat it to evaluate '
    'or report several; a report takes folders of runs too',
  ),
)
POINTS = (
  _flag(
    '--config',
    metavar='FILE[:ARG]',
    help='a config file, such as those in configs/ of a clone, and its '
    'argument; or the word default, for every knob at its default',
  ),
  _flag(
    '--config.KEY',
    metavar='VALUE',
    dest='unused',
    help='override a knob, such as --config.train.steps=1000',
  ),
  _flag('--point', metavar='K', type=int, help='train only point K of --list'),
)
LAUNCHING = (
  _flag(
    '--launcher',
    'train',
    choices=tuple(LAUNCHERS),
    help='local: processes on this machine, the default; vectorized: points '
    'that differ only in numbers as one program, much faster for small '
    'networks; slurm: a job array, submitted at once, whose jobs save '
    'themselves when preempted and continue',
  ),
  _flag(
    '--processes',
    'train',
    launcher='local',
    help='local: points to train at a time; default one on an accelerator, one '
    f'per core on a CPU, here {process.runs_at_a_time()}',
    **_NUMBER,
  ),
  _flag(
    '--at_once',
    'train',
    launcher='vectorized',
    help='vectorized: points in one program; default as many as fit',
    **_NUMBER,
  ),
  _flag(
    '--wait',
    'train',
    launcher='slurm',
    help='slurm: follow the jobs to their end; Ctrl-C only stops following',
    **_SWITCH,
  ),
  _flag(
    '--retry_failed',
    'train',
    help='run failed points again, which are otherwise skipped',
    **_SWITCH,
  ),
)
LIST = _flag('--list', help='print the points and stop', **_SWITCH)
EXPLAIN = _flag(
  '--explain', metavar='KNOB', help='say what a knob or a group of knobs is'
)
RESULTS = (
  _flag(
    '--status',
    'train',
    help='print how far each point is; start nothing',
    **_SWITCH,
  ),
  _flag(
    '--collect',
    'train',
    endings=results.ENDINGS,
    help='write a table, one row per point, of swept values, results and '
    f'origin; start nothing; ends in {" or ".join(results.ENDINGS)}',
    **_FILE,
  ),
  _flag(
    '--target',
    'train',
    'report',
    metavar='METRIC=VALUE',
    type=_target,
    help='add a column: the step at which each point first reaches a value, '
    'such as test/accuracy=0.9, interpolated',
  ),
)
REPORT = (
  _flag(
    '--output',
    'report',
    metavar='FOLDER',
    type=paths.local,
    help='where the pages are written: index.html, and a page for each run; '
    "needs pip install 'bnresearch[report]'",
  ),
  _flag(
    '--watch',
    'report',
    help='write them again as runs go on, until none has for a minute; an '
    'open page shows the new numbers by itself',
    **_SWITCH,
  ),
)
USE = (
  _flag(
    '--step',
    'eval',
    'predict',
    metavar='STEP',
    help='the checkpoint: best, latest or a number; default latest to '
    'evaluate, best to predict',
  ),
  _flag(
    '--save_statistics',
    'eval',
    help='eval: keep the estimated statistics in RUN/statistics',
    **_SWITCH,
  ),
  _flag('images', nargs='*', help='predict: image files, or folders of them'),
  _flag(
    '--crops',
    'eval',
    'predict',
    type=int,
    choices=crops.COUNTS,
    help='crops of each image, over which probabilities are averaged; default '
    '1; small images take 10 if training padded and mirrored them',
  ),
  _flag(
    '--predictions',
    'eval',
    endings=prediction_file.ENDINGS,
    help='eval: write the probabilities of every example, for several runs '
    f'those of the ensemble; ends in {" or ".join(prediction_file.ENDINGS)}',
    **_FILE,
  ),
  _flag(
    '--figure',
    'eval',
    'predict',
    endings=reliability.ENDINGS,
    help='eval: draw the reliability diagram, accuracy against confidence; '
    f'predict: draw the photographs, at most {photographs.MOST}, each with its '
    f'most probable classes; ends in {" or ".join(reliability.ENDINGS)}',
    **_FILE,
  ),
  _flag(
    '--steps',
    'profile',
    help='profile: training steps to time, and then to trace; default 10',
    **_NUMBER,
  ),
  _flag(
    '--json', 'predict', help='predict: print JSON, not a table', **_SWITCH
  ),
)

# By title in --help.
GROUPS = {
  'to train': (*POINTS, *LAUNCHING),
  'to look at the points of a config': (LIST, EXPLAIN, *RESULTS),
  'to use a run': USE,
  'to report runs as pages': REPORT,
}
FLAGS = (*GENERAL, *(flag for flags in GROUPS.values() for flag in flags))
