"""What the studies of Inception share: their runs, and what is published."""

import argparse
import functools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import bnresearch as bnr
from bnresearch.reports import targets
from configs import inception
from experiments import _study
from experiments._table import Table


class Curve(NamedTuple):
  """A network of `configs/inception.py`, and what the paper says of it.

  Attributes:
    title: the paper's name.
    color: of its line.
    line: its style.
    steps: to Inception's highest accuracy, in millions; inf for never, nan
      where there is no number.
    accuracy: the highest, on ImageNet; nan where there is no number.
      Inception-Sigmoid's is an upper bound.
  """

  title: str
  color: str
  line: str
  steps: float
  accuracy: float


CURVES = {
  'inception': Curve('Inception', '#222222', '--', 31.0, 0.722),
  'bn_baseline': Curve('BN-Baseline', '#c0504d', ':', 13.3, 0.727),
  'bn_x5': Curve('BN-x5', '#2e75b6', '-', 2.1, 0.730),
  'bn_x30': Curve('BN-x30', '#70ad47', '-', 2.7, 0.748),
  'bn_x5_sigmoid': Curve('BN-x5-Sigmoid', '#8064a2', '-.', np.inf, 0.698),
  'inception_x5': Curve('Inception x5', '#999999', '--', np.nan, np.nan),
  'inception_sigmoid': Curve(
    'Inception-Sigmoid', '#d99a00', '-.', np.inf, 0.001
  ),
}
Runs = dict[str, list[bnr.Run]]  # by label, each of all seeds
Accuracies = dict[str, dict[str, np.ndarray]]  # by network, variant; (R,)


def parse(
  name: str,
  text: str,
  argv: Sequence[str] | None,
  steps: int = 9000,
  *,
  data: str = 'fashion_mnist',
  trial: str = 'digits',
) -> argparse.Namespace:
  """Returns the flags of such an experiment.

  Args:
    name: of the experiment.
    text: its header.
    argv: the arguments.
    steps: Inception's.
    data: default of --data.
    trial: that of a trial.
  """
  parser = _study.parser(
    *(name, text),
    seeds=3,
    folder='inception',
    ci={'data': trial, 'steps': 300},
    paper={},
  )
  parser.set_defaults(seeds=None)
  parser.add_argument(
    '--data',
    help=f'images of 28 to 32 pixels, default {data}; of scale=paper: ImageNet',
  )
  parser.add_argument(
    '--steps',
    type=int,
    help='of Inception, but for scale=paper: a multiple of 300; default '
    f'{steps:,}',
  )
  parser.add_argument(
    '--batch', type=int, help='of scale=paper: 32, the default, 64, 128 or 256'
  )
  args = parser.parse_args(argv)
  small = args.scale != 'paper'
  for key in ('batch',) if small else ('data', 'steps'):
    if getattr(args, key) is not None:
      parser.error(
        f'--{key} has no effect with --scale={args.scale}. Leave it out, or '
        f'take --scale={"paper" if small else "small"}.'
      )
  if args.seeds is None:
    args.seeds = 1 if args.dry_run else 3
  args.data = (args.data or data) if small else 'imagenet2012'
  args.steps = steps if args.steps is None else args.steps
  args.batch = 32 if args.batch is None else args.batch
  return args


def conduct(
  args: argparse.Namespace,
  study: str,
  judge,
  draw,
  measure=lambda runs: runs,
  rows=lambda measured: measured,
  **overrides: str,
) -> int:
  """Runs or reuses a study of `configs/inception.py`; see `_study.conduct`.

  `judge`, `draw` and `rows` get what `measure` makes of the runs by label, by
  default these runs. The rows are written beside the claims.
  """
  published, trial = args.scale == 'paper', args.scale == 'ci'
  if trial:  # studies run side by side then, so each has its own runs
    args.folder = f'{args.folder}-{study}'
  scale = 'paper' if published else 'small'
  arg = f'study={study},scale={scale},seeds={args.seeds}'
  if not published:
    arg += f',data={args.data},steps={args.steps}'
  else:
    arg += f',batch={args.batch}'
  return _study.conduct(
    args,
    inception.get_config,
    arg,
    judge,
    draw,
    lambda measured: {'rows': rows(measured)},
    lambda runs: measure(by_label(runs)),
    **overrides,
    **({'model__blocks': _few(study)} if args.dry_run or trial else {}),
  )


def _few(study):
  # Members of the ensemble have a last BN, that of 5a, per activation.
  return '(0, 0, 1)' if study == 'ensemble' else '(0, 0, 0)'


def conduct_both(args: argparse.Namespace, study: str, judge, draw) -> int:
  """Does the same for a study of variants of Inception and of BN-x5.

  `judge` and `draw` get the last test accuracies; there are few evaluations.
  """
  final = functools.partial(_final, study=study)
  few = {'eval__every': '500', 'checkpoint__every': '500'}
  seldom = {} if args.scale == 'paper' else few
  return conduct(args, study, judge, draw, final, _final_rows, **seldom)


def _final(runs, study) -> Accuracies:
  found: Accuracies = {}
  for label, group in runs.items():
    network, _, variant = label.partition(f'_{study}_')
    values = np.array([_study.final(run) for run in group])
    found.setdefault(network, {})[variant] = values
  return found


def _final_rows(found):
  return [
    {'label': network, 'variant': variant, 'accuracy': values.tolist()}
    for network, by_variant in found.items()
    for variant, values in by_variant.items()
  ]


def by_label(runs: Sequence[bnr.Run]) -> Runs:
  """Returns {label: its runs}."""
  return {
    label: group for (label,), group in _study.grouped(runs, 'label').items()
  }


def learned(run: bnr.Run) -> bool:
  """Says whether a run was ever better than twice chance."""
  return _study.best(run) > 2 * _study.chance(run)


def to_match(runs: Runs, label: str) -> np.ndarray:
  """Returns, for each seed, the steps to Inception's highest accuracy, (R,).

  It is the highest of Inception's run of the same seed. The accuracy is
  interpolated linearly between evaluations. A run that never reaches it has
  inf; where Inception has not learned, there is nothing to match, hence nan.
  """
  return np.array(
    [
      targets.steps_to(run.metrics['test/accuracy'], _study.best(plain))
      if learned(plain)
      else np.nan
      for run, plain in zip(runs[label], runs['inception'])
    ]
  )


def match_text(runs: Runs, label: str) -> str:
  """Writes the mean and deviation of the steps to match, and who never did."""
  return steps_text(to_match(runs, label), runs[label][0].config.train.steps)


def steps_text(steps_R: np.ndarray, given: int) -> str:
  """Writes the steps of `to_match`, for runs of `given` steps."""
  R = len(steps_R)
  never, without = np.isinf(steps_R).sum(), np.isnan(steps_R).sum()
  parts = []
  if never + without < R:
    reached = _study.plus_minus(steps_R[np.isfinite(steps_R)], ',.0f')
    parts.append(f'{reached} steps')
  if never:
    parts.append(f'{_some(never, R)}not in {given:,} steps')
  if without:
    parts.append(f'{_some(without, R)}Inception has not learned')
  return '; '.join(parts)


def _some(count, R):
  return '' if count == R else f'{count} of {R} seeds: '


def rows(runs: Runs) -> list[dict]:
  """Returns the rows of Figure 3: for each network, a value per seed."""
  return [
    {
      'label': label,
      'published_steps_in_millions': _named(curve.steps),
      'published_accuracy': _named(curve.accuracy),
      'steps': runs[label][0].config.train.steps,
      'steps_to_match': [_named(s) for s in to_match(runs, label)],
      'highest_accuracy': [_study.best(run) for run in runs[label]],
      'status': [run.status['status'] for run in runs[label]],
    }
    for label, curve in CURVES.items()
  ]


def steps_of(row: dict) -> np.ndarray:
  """Returns the steps of `to_match` from a row of `rows`, (R,)."""
  numbers = {None: np.nan, 'never': np.inf}
  return np.array([numbers.get(s, s) for s in row['steps_to_match']])


def variants(result: dict) -> Table:
  """Returns the last accuracies of `conduct_both`: a row for each network."""
  found: dict[str, dict[str, str]] = {}
  for row in result['rows']:
    text = _study.plus_minus(row['accuracy'], '.2%')
    found.setdefault(CURVES[row['label']].title, {})[row['variant']] = text
  columns = dict.fromkeys(row['variant'] for row in result['rows'])
  rows = [[title, *of.values()] for title, of in found.items()]
  return Table(['last test accuracy', *columns], rows)


def _named(value):
  """Returns a number as JSON can have it: no nan, and 'never' for inf."""
  if np.isnan(value):
    return None
  return 'never' if np.isinf(value) else float(value)
