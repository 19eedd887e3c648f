"""Figure 3 of the BN paper: steps to Inception's accuracy, and the highest.

Claim:    BN-x5 needs 14 times fewer steps than Inception to reach its highest
          accuracy; BN-x30 needs 11 times fewer, and reaches 2.6% more.
Source:   Ioffe & Szegedy 2015, section 4.2 and Figure 3, arXiv 1502.03167.
Command:  python -m experiments.ioffe2015_figure3
Cost:     nothing where experiments.ioffe2015_figure2 has made the runs.
Result:   experiments/results/ioffe2015_figure3_*.{png,svg,json}

Steps to match are those to the highest accuracy of Inception's run of the same
seed; between evaluations the accuracy is taken for linear. A ratio is that of
Inception's steps to a network's, the median over seeds; 0 is that of a network
that never gets there.
"""

import sys
from collections.abc import Sequence

import numpy as np
from rich.table import Table

from bnresearch import command
from bnresearch.reports import claims
from bnresearch.terminal import Console
from experiments import _inception, _study
from experiments._inception import CURVES

_FASTER = ('bn_baseline', 'bn_x5', 'bn_x30')


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  args = _inception.parse('ioffe2015_figure3', __doc__, argv)
  return _inception.conduct(args, 'figure2', judge, draw, rows=_inception.rows)


def ratios(runs: _inception.Runs, label: str) -> np.ndarray:
  """Returns how many times fewer steps than Inception's, of each seed.

  0 is that of a run that never gets there. Seeds in which Inception has not
  learned are left out.
  """
  plain_R = _inception.to_match(runs, 'inception')
  ratio_R = plain_R / _inception.to_match(runs, label)
  return ratio_R[~np.isnan(plain_R)]


def judge(runs: _inception.Runs) -> list[claims.Claim]:
  """Returns whether so many fewer steps are needed, and accuracy gained."""
  result = []
  for label in _FASTER:
    curve, plain = CURVES[label], CURVES['inception']
    found, published = ratios(runs, label), plain.steps / curve.steps
    gained = [
      _study.best(run) - _study.best(other)
      for run, other in zip(runs[label], runs['inception'])
    ]
    result += [
      claims.Claim(
        curve.title,
        'so many times fewer steps, or more',
        f'{published:.1f}',
        f'{_median(found):.1f}, median of {np.round(found, 1).tolist()}',
        tuple((found >= published).tolist()),
      ),
      claims.Claim(
        curve.title,
        "a highest accuracy above Inception's",
        f'by {curve.accuracy - plain.accuracy:.1%}',
        f'by {_study.plus_minus(gained, ".2%")}',
        tuple(g > 0 for g in gained),
      ),
    ]
  return result


def _median(values):
  return np.median(values) if len(values) else np.nan


def draw(runs: _inception.Runs, args) -> None:
  """Prints the table, and draws it as bars beside the published ones."""
  Console().print(_table(runs))
  figure, ((left, right),) = _study.canvas(1, 2, (9, 3.8), sharey=True)
  labels = [label for label in runs if np.isfinite(CURVES[label].accuracy)]
  for y, label in enumerate(labels):
    curve = CURVES[label]
    published = CURVES['inception'].steps / curve.steps
    _bars(left, y, published, ratios(runs, label), curve.color)
    highest = [_study.best(run) for run in runs[label]]
    _bars(right, y, curve.accuracy, highest, curve.color)
  left.set_yticks(range(len(labels)), [CURVES[label].title for label in labels])
  left.invert_yaxis()
  left.set(title='times fewer steps to match Inception', xlim=(0, None))
  right.set(title='highest accuracy')
  right.xaxis.set_major_formatter(lambda x, _: f'{x:.0%}')
  figure.suptitle(
    f'Ioffe & Szegedy 2015, Figure 3: published on ImageNet (pale), ours on '
    f'{args.data}, scale {args.scale} (dots: seeds)'
  )
  _study.save(figure, args.output)


def _bars(panel, y, published, measured, color):
  panel.barh(y - 0.2, published, 0.35, color=color, alpha=0.3)
  panel.barh(y + 0.2, _median(measured), 0.35, color=color)
  panel.plot(measured, [y + 0.2] * len(measured), 'k.', markersize=4)


def _table(runs):
  plain = CURVES['inception']
  table = Table(
    'network',
    caption='Steps to match are interpolated between evaluations; times fewer '
    'are medians over seeds, the rest means and deviations.',
  )
  for what in ('steps to match', 'times fewer', 'highest accuracy'):
    table.add_column(f'{what}, published', justify='right')
    table.add_column('ours', justify='right')
  for label, curve in CURVES.items():
    times, ratio_R = plain.steps / curve.steps, ratios(runs, label)
    bound = 'under ' if label == 'inception_sigmoid' else ''
    table.add_row(
      curve.title,
      _published(curve.steps, f'{curve.steps:g}M'),
      _inception.match_text(runs, label),
      _published(curve.steps, f'{times:.1f}'),
      _times(ratio_R),
      _published(curve.accuracy, f'{bound}{curve.accuracy:.1%}'),
      _study.plus_minus([_study.best(run) for run in runs[label]], '.2%'),
    )
  return table


def _times(ratio_R):
  if ratio_R.any():
    return f'{_median(ratio_R):.1f}'
  return 'never' if len(ratio_R) else ''


def _published(value, text):
  if np.isnan(value):
    return 'no number'
  return 'never' if np.isinf(value) else text


if __name__ == '__main__':
  sys.exit(main())
