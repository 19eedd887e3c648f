"""Every flag, declared once: its help, and where it has an effect."""

import argparse
from typing import Any, NamedTuple

from bnresearch import paths
from bnresearch.images import crops
from bnresearch.machine import process
from bnresearch.reports import prediction_file, reliability, results, targets
from bnresearch.sweeps.launch import LAUNCHERS

MODES = ('train', 'eval', 'predict')


class Flag(NamedTuple):
  """A flag, and where it has an effect.

  Attributes:
    name: as it is typed; without dashes for what needs none.
    options: of `ArgumentParser.add_argument`.
    modes: that have it. A flag of all of them may have refusals of its own.
    launcher: the only one that has it; '' for all.
    endings: what the name of its file may end in; () if it has no file.
    least: of its number; None if it has none.
  """

  name: str
  options: dict[str, Any]
  modes: tuple[str, ...] = MODES
  launcher: str = ''
  endings: tuple[str, ...] = ()
  least: int | None = None

  @property
  def key(self) -> str:
    """Its name in the arguments that are parsed."""
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
    help='where runs are kept, default runs/<name of the config>; or the run '
    'to evaluate or predict by; to evaluate, it may be given several times',
  ),
)
POINTS = (
  _flag(
    '--config',
    metavar='FILE[:ARG]',
    help='a config file, as those of configs/ in a clone, and its argument; or '
    'default, with every knob at its default',
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
    help='local: processes of this machine, the default; vectorized: points '
    'that differ in numbers only as one program, much faster for small '
    'networks; slurm: a job array, submitted at once, that saves itself when '
    'it is preempted and goes on',
  ),
  _flag(
    '--processes',
    'train',
    launcher='local',
    help='local: points trained at a time; default one on an accelerator, on '
    f'a CPU one a core, here {process.runs_at_a_time()}',
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
    help='run points again that have failed, which are skipped otherwise',
    **_SWITCH,
  ),
)
LIST = _flag('--list', help='print the points and stop', **_SWITCH)
EXPLAIN = _flag(
  '--explain', metavar='KNOB', help='say what a knob, or a group of them, is'
)
RESULTS = (
  _flag(
    '--status',
    'train',
    help='print how far each point is, and start nothing',
    **_SWITCH,
  ),
  _flag(
    '--collect',
    'train',
    endings=results.ENDINGS,
    help='write a table, a row a point, with its swept values, results and '
    f'origin, and start nothing; ends in {" or ".join(results.ENDINGS)}',
    **_FILE,
  ),
  _flag(
    '--target',
    'train',
    metavar='METRIC=VALUE',
    type=_target,
    help='a column with the step at which each point first reaches it, '
    'interpolated, such as test/accuracy=0.9',
  ),
)
USE = (
  _flag(
    '--step',
    'eval',
    'predict',
    metavar='STEP',
    help='checkpoint: best, latest or a number; default latest to evaluate, '
    'best to predict',
  ),
  _flag(
    '--save_statistics',
    'eval',
    help='eval: keep the estimated statistics in RUN/statistics',
    **_SWITCH,
  ),
  _flag('images', nargs='*', help='predict: image files, and folders of these'),
  _flag(
    '--crops',
    'eval',
    'predict',
    type=int,
    choices=crops.COUNTS,
    help='of each image, whose probabilities are averaged; default 1; of small '
    'images 10, where training has padded and mirrored them',
  ),
  _flag(
    '--predictions',
    'eval',
    endings=prediction_file.ENDINGS,
    help='eval: write the probabilities of every example, those of the '
    f'ensemble; ends in {" or ".join(prediction_file.ENDINGS)}',
    **_FILE,
  ),
  _flag(
    '--figure',
    'eval',
    endings=reliability.ENDINGS,
    help='eval: draw the reliability diagram, accuracy against confidence; '
    f'ends in {" or ".join(reliability.ENDINGS)}',
    **_FILE,
  ),
  _flag(
    '--json', 'predict', help='predict: print JSON, not a table', **_SWITCH
  ),
)

# By their titles in --help.
GROUPS = {
  'to train': (*POINTS, *LAUNCHING),
  'to look at the points of a config': (LIST, EXPLAIN, *RESULTS),
  'to evaluate and predict': USE,
}
FLAGS = (*GENERAL, *(flag for flags in GROUPS.values() for flag in flags))
