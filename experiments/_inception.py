"""What the studies of Inception share: their runs, and what is published."""

import argparse
import functools
import pathlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import bnresearch as bnr
from bnresearch.reports import targets
from configs import inception
from experiments import _study


class Curve(NamedTuple):
  """A network of `configs/inception.py`, and what the paper says of it.

  Attributes:
    title: the paper's name.
    color: of its line.
    line: its style.
    steps: to Inception's highest accuracy, in millions; inf for never, nan
      where there is no number.
    accuracy: the highest, on ImageNet; nan where there is no number.
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
Accuracies = dict[str, dict[str, np.ndarray]]  # by network, variant; (S,)


def parse(
  name: str, text: str, argv: Sequence[str] | None, steps: int = 9000
) -> argparse.Namespace:
  """Returns the flags of such an experiment."""
  parser = _study.parser(name, text, steps=steps)
  parser.add_argument('--scale', choices=('small', 'paper'), default='small')
  parser.set_defaults(data='fashion_mnist', seeds=None)
  args = parser.parse_args(argv)
  if args.seeds is None:
    args.seeds = 1 if args.dry_run else 3
  if args.scale == 'paper':
    args.data = 'imagenet2012'
  args.workdir = args.workdir or pathlib.Path('runs', f'inception-{args.data}')
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

  What `measure` makes of the runs by label, or else these, is what `judge`,
  `draw` and `rows` get; the latter are written beside the claims.
  """
  arg = f'study={study},scale={args.scale},seeds={args.seeds}'
  if args.scale == 'small':
    arg += f',data={args.data},steps={args.steps}'
  return _study.conduct(
    args,
    inception.get_config,
    arg,
    judge,
    draw,
    lambda measured: {'scale': args.scale, 'rows': rows(measured)},
    lambda runs: measure(by_label(runs)),
    **overrides,
    # 5a stays, for the ensemble's members whose last BN is per activation.
    **({'model__blocks': '(0, 0, 1)'} if args.dry_run else {}),
  )


def conduct_both(args: argparse.Namespace, study: str, judge, draw) -> int:
  """Does the same for a study of variants of Inception and of BN-x5.

  `judge` and `draw` get the last test accuracies; there are few evaluations.
  """
  every = {'eval__every': '500', 'checkpoint__every': '500'}
  final = functools.partial(_final, study=study)
  return conduct(args, study, judge, draw, final, _final_rows, **every)


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


def to_match(runs: Runs, label: str) -> list[float]:
  """Returns, for each seed, the steps to Inception's highest accuracy.

  That is the highest of Inception's run of the same seed. Between evaluations
  the accuracy is taken for linear; a run that never reaches it has inf.
  """
  return [
    targets.steps_to(run.metrics['test/accuracy'], _study.best(plain))
    for run, plain in zip(runs[label], runs['inception'])
  ]


def steps_text(steps: Sequence[float]) -> str:
  """Writes the mean of steps and their spread, and how many never came."""
  reached = [s for s in steps if np.isfinite(s)]
  if not reached:
    return 'never'
  never = len(steps) - len(reached)
  text = f'{_study.spread(reached, ",.0f")} steps'
  return f'{text}, never in {never} of {len(steps)}' if never else text


def rows(runs: Runs) -> list[dict]:
  """Returns the rows of Figure 3: of each network, a value a seed."""
  return [
    {
      'label': label,
      'published_steps_in_millions': _finite(curve.steps),
      'published_accuracy': _finite(curve.accuracy),
      'steps_to_match': [_finite(s) for s in to_match(runs, label)],
      'highest_accuracy': [_study.best(run) for run in runs[label]],
      'status': [run.status['status'] for run in runs[label]],
    }
    for label, curve in CURVES.items()
  ]


def _finite(value):
  """Returns a number, None where JSON has no name for it."""
  return value if np.isfinite(value) else None
