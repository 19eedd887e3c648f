"""From LeNet to AlexNet: consecutive convolutions, dropout, augmentation.

Claim:    AlexNet is better than LeNet, because it has several convolutions
          before a pooling, dropout and augmented images.
Source:   the source documents, which name the three and give a number for
          dropout, 1 to 2 points (Krizhevsky et al. 2012, NIPS, for AlexNet).
Scale:    AlexNet an eighth as wide, 1,000 images of Fashion-MNIST, 13 epochs.
          The paper has 1.2 million images of ImageNet.
Room:     models
Config:   configs/lenet_to_alexnet.py:seeds=3
Command:  python -m experiments.lenet_to_alexnet --seeds=3
Cost:     100 s for the 24 runs of three seeds, on two cores of an AMD EPYC.
Result:   experiments/results/lenet_to_alexnet_*.{png,svg,json}

The points are all eight combinations. Each of the three is judged twice: added
to the network that has none of them, and left out of the network that has all.
The gap is how much lower the last accuracy is on the test images than on the
training images, both measured without dropout and augmentation.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from configs import lenet_to_alexnet as study
from experiments import _study
from experiments._table import Table

NOTES = """
Dropout and augmentation do what they are for: the gap falls from 14 points to 7
and to 5. They also slow training, and 400 steps are too few to gain by them:
with either, the network fits its training images less well. Consecutive
convolutions make no difference beyond that of seeds.
"""

PARTS = {
  'convolutions': 'consecutive convolutions',
  'dropout': 'dropout',
  'augmentation': 'augmentation',
}
PUBLISHED = {'dropout': '1 to 2 points, the documents'}
COLORS = {
  'convolutions': '#2e75b6',
  'dropout': '#c0504d',
  'augmentation': '#70ad47',
}
NONE, ALL = study.label(()), study.label(tuple(PARTS))


class Found(NamedTuple):
  """Last accuracies of one point.

  Attributes:
    test_R: of each seed, on the test images.
    gap_R: how much higher it is on the training images.
  """

  test_R: np.ndarray
  gap_R: np.ndarray


Points = dict[str, Found]  # by label


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser('lenet_to_alexnet', __doc__, steps=400)
  parser.set_defaults(data='fashion_mnist')
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  return _study.conduct(
    args, study.get_config, arg, judge, draw, _rows, measure
  )


def measure(runs: Sequence[bnr.Run]) -> Points:
  """Returns the last accuracies of all points."""
  found = {}
  for (label,), group in _study.grouped(runs, 'label').items():
    test_R = np.array([_study.final(run) for run in group])
    train_R = np.array([_on_training_images(run) for run in group])
    found[label] = Found(test_R, train_R - test_R)
  return found


def _on_training_images(run):
  if _study.diverged(run):
    return _study.chance(run)
  return run.evaluate(run.restore(), split='train')['accuracy']


def without(part: str) -> str:
  """Returns the label of the point with the other two parts."""
  return study.label(tuple(other for other in PARTS if other != part))


def judge(points: Points) -> list[claims.Claim]:
  """Returns what each part brings, alone and beside the others."""
  every = points[ALL].test_R - points[NONE].test_R
  result = [
    claims.Claim(
      'all three',
      'the network with them is more accurate than that without',
      'no number',
      _study.in_points(every),
      _study.by_seed(every > 0),
    )
  ]
  for part, name in PARTS.items():
    alone = points[part].test_R - points[NONE].test_R
    beside = points[ALL].test_R - points[without(part)].test_R
    published = PUBLISHED.get(part, 'no number')
    result += [
      claims.Claim(
        name,
        'alone, it raises the accuracy',
        published,
        _study.in_points(alone),
        _study.by_seed(alone > 0),
      ),
      claims.Claim(
        name,
        'beside the other two, it raises the accuracy',
        published,
        _study.in_points(beside),
        _study.by_seed(beside > 0),
      ),
    ]
  for part in ('dropout', 'augmentation'):
    narrowed = points[NONE].gap_R - points[part].gap_R
    result.append(
      claims.Claim(
        PARTS[part],
        'alone, it narrows the gap of training and test',
        'no number',
        f'by {_study.in_points(narrowed)} of {points[NONE].gap_R.mean():.1%}',
        _study.by_seed(narrowed > 0),
      )
    )
  return result


def table(result: dict[str, Any]) -> Table:
  """Returns test accuracy and gap: a row for each combination."""
  rows = [
    [
      row['label'].replace('+', ', '),
      _study.plus_minus(row['test_accuracy'], '.2%'),
      _study.plus_minus(row['gap'], '.1%'),
    ]
    for row in result['rows']
  ]
  return Table(['network with', 'test accuracy', 'gap'], rows)


def draw(points: Points, args) -> None:
  """Writes the figure: what each part brings, and all combinations."""
  figure, ((left, right),) = _study.canvas(1, 2, (10, 3.8))
  for y, part in enumerate(PARTS):
    for offset, (more, less), alpha in (
      (-0.2, (part, NONE), 0.45),
      (0.2, (ALL, without(part)), 0.9),
    ):
      gained = 100 * (points[more].test_R - points[less].test_R)
      left.barh(
        y + offset, gained.mean(), 0.36, color=COLORS[part], alpha=alpha
      )
      left.plot(gained, [y + offset] * len(gained), 'k.', markersize=4)
  left.axvline(0, color='0.4', lw=0.8)
  left.set_yticks(range(len(PARTS)), [*PARTS.values()])
  left.invert_yaxis()
  left.set(
    xlabel='points of test accuracy',
    title='alone (pale), beside the others (full)',
  )
  for y, found in enumerate(points.values()):
    right.plot(found.test_R, [y] * len(found.test_R), 'o', color='#2e75b6')
    right.plot(
      found.test_R + found.gap_R,
      [y] * len(found.test_R),
      'x',
      color='#999999',
    )
  right.set_yticks(range(len(points)), [n.replace('+', ', ') for n in points])
  right.invert_yaxis()
  right.set(xlabel='accuracy', title='test images (o), training images (x)')
  right.xaxis.set_major_formatter(lambda x, _: f'{x:.0%}')
  figure.suptitle(
    f'From LeNet to AlexNet, {args.data}, {args.steps:,} steps '
    f'({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


def _rows(points):
  return {
    'rows': [
      {
        'label': label,
        'test_accuracy': found.test_R.tolist(),
        'gap': found.gap_R.tolist(),
      }
      for label, found in points.items()
    ]
  }


if __name__ == '__main__':
  sys.exit(main())
