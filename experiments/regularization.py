"""Dropout and L2, with BN and without: does BN do their work?

Claim:    With BN, dropout can be removed without more overfitting, and L2 can
          be five times weaker, which improves the accuracy.
Source:   Ioffe & Szegedy 2015, section 4.2.1 (arXiv 1502.03167: Inception on
          ImageNet, without numbers for these alone); caffenet-benchmark
          (ducha-aiki, batchnorm.md at e47c4ff: CaffeNet at 128 pixels).
Scale:    three layers of 300 ReLUs on Fashion-MNIST, 20 epochs. The
          published networks are Inception and CaffeNet on ImageNet.
Room:     training
Config:   configs/regularization.py:seeds=3
Command:  python -m experiments.regularization --seeds=3
Cost:     22 minutes for the 54 runs of three seeds, vectorized, on two cores of
          an AMD EPYC.
Result:   experiments/results/regularization_*.{png,svg,json}

20 epochs are enough for a network to overfit. The gap is how much lower the
last accuracy is on the test images than on the training images, both measured
without dropout.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.progress import track

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from configs import regularization as study
from experiments import _study
from experiments._table import Table

NOTES = """
Dropout lowers the accuracy with BN and without it. BN does not do the work of
dropout, though: the network with BN fits the training images better, and its
gap is 9 points. Without BN the gap is 4 to 6 points, and with a dropout rate of
0.5 it is 2 to 3. With BN, a five times weaker L2 costs accuracy.
"""

NORMS = {'none': 'without BN', 'batch': 'with BN'}
# CaffeNet with BN after the activation, {dropout rate: accuracy}.
PUBLISHED = {0.0: 0.513, 0.2: 0.527, 0.5: 0.499}
_WEAK, _STRONG = study.L2[1:]


class Found(NamedTuple):
  """Last accuracies of one point.

  Attributes:
    test_R: of each seed, on the test images.
    gap_R: how much higher it is on the training images.
  """

  test_R: np.ndarray
  gap_R: np.ndarray


Grid = dict[tuple[str, float, float], Found]  # by norm, dropout rate, L2


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser(
    'regularization', __doc__, steps=20_000, launcher='vectorized'
  )
  parser.set_defaults(data='fashion_mnist')
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  return _study.conduct(
    args, study.get_config, arg, judge, draw, _rows, measure
  )


def measure(runs: Sequence[bnr.Run]) -> Grid:
  """Returns the last accuracies of all points."""
  keys = 'norm.name', 'model.dropout_rate', 'optim.l2'
  trained = {
    run.path: _on_training_images(run)
    for run in track(runs, 'on the training images', transient=True)
  }
  found = {}
  for point, group in _study.grouped(runs, *keys).items():
    test_R = np.array([_study.final(run) for run in group])
    train_R = np.array([trained[run.path] for run in group])
    found[point] = Found(test_R, train_R - test_R)
  return found


def _on_training_images(run):
  if _study.diverged(run):
    return _study.chance(run)
  return run.evaluate(run.restore(), split='train')['accuracy']


def judge(grid: Grid) -> list[claims.Claim]:
  """Returns whether a network with BN can do without the two."""
  none, most = study.DROPOUT[0], study.DROPOUT[-1]
  gain = {
    norm: grid[norm, most, 0.0].test_R - grid[norm, none, 0.0].test_R
    for norm in NORMS
  }
  weaker = (
    grid['batch', none, _WEAK].test_R - grid['batch', none, _STRONG].test_R
  )
  gap_R = grid['batch', none, _WEAK].gap_R - grid['none', most, _WEAK].gap_R
  best = {
    norm: np.max([grid[norm, *rest].test_R for _, *rest in grid], axis=0)
    for norm in NORMS
  }
  points = _study.in_points
  return [
    claims.Claim(
      'dropout',
      f'with BN, a rate of {most:g} does not improve the accuracy',
      f'CaffeNet: {PUBLISHED[most]:.1%} instead of {PUBLISHED[none]:.1%}; '
      f'but {PUBLISHED[0.2]:.1%} with a rate of 0.2',
      points(gain['batch']),
      tuple((gain['batch'] <= 0).tolist()),
    ),
    claims.Claim(
      'dropout',
      'gives less with BN than without',
      'no number',
      f'{points(gain["batch"])} with BN, {points(gain["none"])} without',
      tuple((gain['batch'] < gain['none']).tolist()),
    ),
    claims.Claim(
      'dropout',
      f'BN without it overfits no more than a rate of {most:g} without BN',
      'no number',
      f'{points(gap_R)} between the gaps of training and test, L2 {_WEAK:g}',
      tuple((gap_R <= 0).tolist()),
    ),
    claims.Claim(
      'L2',
      'with BN, a five times smaller weight improves the accuracy',
      'no number',
      f'{points(weaker)}, {_WEAK:g} instead of {_STRONG:g}',
      tuple((weaker > 0).tolist()),
    ),
    claims.Claim(
      'both',
      'the best point with BN is better than the best without',
      'no number',
      f'{_study.plus_minus(best["batch"], ".2%")} with BN, '
      f'{_study.plus_minus(best["none"], ".2%")} without',
      tuple((best['batch'] > best['none']).tolist()),
    ),
  ]


def table(result: dict[str, Any]) -> Table:
  """Returns test accuracies and gaps: a row for each norm and dropout rate."""
  found: dict[str, list[str]] = {}
  for row in result['rows']:
    of = f'{NORMS[row["norm"]]}, dropout {row["dropout_rate"]:g}'
    accuracy = _study.plus_minus(row['test_accuracy'], '.2%')
    text = f'{accuracy}, gap {np.mean(row["gap"]):.1%}'
    found.setdefault(of, []).append(text)
  return Table(
    ['test accuracy, gap', *(f'L2 {weight:g}' for weight in study.L2)],
    [[of, *cells] for of, cells in found.items()],
  )


def draw(grid: Grid, args) -> None:
  """Writes the grid as a map for each norm, one scale of colors for both."""
  figure, panels = _study.canvas(1, len(NORMS), (8, 3.4))
  mean = {point: found.test_R.mean() for point, found in grid.items()}
  low, high = min(mean.values()), max(mean.values())
  for panel, (norm, title) in zip(panels[0], NORMS.items()):
    table = [
      [mean[norm, rate, l2] for l2 in study.L2] for rate in study.DROPOUT
    ]
    panel.imshow(table, cmap='viridis', vmin=low, vmax=high, aspect='auto')
    for y, rate in enumerate(study.DROPOUT):
      for x, l2 in enumerate(study.L2):
        found = grid[norm, rate, l2]
        text = f'{mean[norm, rate, l2]:.2%}\ngap {found.gap_R.mean():+.1%}'
        dark = mean[norm, rate, l2] < (low + high) / 2
        color = 'white' if dark else 'black'
        panel.text(x, y, text, ha='center', va='center', color=color)
    panel.set_xticks(range(len(study.L2)), [f'{w:g}' for w in study.L2])
    panel.set_yticks(
      range(len(study.DROPOUT)), [f'{r:g}' for r in study.DROPOUT]
    )
    panel.grid(False)
    panel.set(title=title, xlabel='weight of L2')
  panels[0, 0].set(ylabel='dropout rate')
  figure.suptitle(
    f'Test accuracy, and how much higher training is: MLP, {args.data} '
    f'({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


def _rows(grid):
  return {
    'rows': [
      {
        'norm': norm,
        'dropout_rate': rate,
        'l2': weight,
        'test_accuracy': found.test_R.tolist(),
        'gap': found.gap_R.tolist(),
      }
      for (norm, rate, weight), found in grid.items()
    ]
  }


if __name__ == '__main__':
  sys.exit(main())
