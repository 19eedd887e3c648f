"""Convolutions and poolings that papers exchange: accuracy against cost.

Claim:    Two 3x3 do the work of a 5x5, and 1x7 with 7x1 that of a 7x7, at a
          lower cost. A strided convolution replaces a pooling, and an average
          over the last map replaces a dense layer.
Source:   Simonyan & Zisserman 2014, section 4.1 (arXiv 1409.1556: the error of
          their net of five 5x5 is 7% higher than that of B, with two 3x3 for
          each); Szegedy et al. 2015, sections 3.1 and 3.2 (arXiv 1512.00567);
          Ioffe & Szegedy 2015, section 4.2 and appendix (arXiv 1502.03167);
          Lin et al. 2013, section 3.2 (arXiv 1312.4400); the source documents.
Scale:    networks a sixteenth as wide, those of Inception with few modules, on
          Fashion-MNIST, 800 steps. The papers have whole networks on ImageNet.
Room:     models
Config:   configs/convolutions.py:seeds=3
Command:  python -m experiments.convolutions --seeds=3
Cost:     about 10 minutes for the 24 runs of three seeds, on two cores of an
          AMD EPYC.
Result:   experiments/results/convolutions_*.{png,svg,json}

Two 3x3 are in each block of VGG B, a 5x5 in the paper's shallow net. 7x7 is in
Inception V3, whose pairs of 1x7 and 7x1 become one 7x7. Strides and the average
are BN-Inception's own. Multiply-adds and parameters are counted in these
networks. "No less accurate" allows half a point. All networks have BN.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.assembly import assemble
from bnresearch.models import measure
from bnresearch.reports import claims
from configs import convolutions as study
from experiments import _study
from experiments._table import Table

NOTES = """
Two 3x3 save 13% of VGG's parameters, not 28%: in each block the second one has
more channels to read than the first. They cost more multiply-adds than 5x5,
because the first 5x5 reads a single channel. After 800 steps, half an epoch,
VGG with them is a point behind the shallow network with 5x5. 1x7 and 7x1 cost
half of 7x7 and lose nothing beyond the deviation of seeds. Strides beat the
pooling after a module, and the average the dense layer, one of whose seeds does
not learn.
"""

TOLERANCE = 0.005  # of accuracy, in "no less accurate"
NAMES = {
  '5x5': '5x5',
  'two_3x3': 'two 3x3',
  'one_3x3': 'one 3x3',
  '7x7': '7x7',
  '1x7_7x1': '1x7 and 7x1',
  'pooled': 'pooling',
  'strided': 'strides, average',
  'dense': 'dense layer',
}


class Pair(NamedTuple):
  """Two points of a network.

  Attributes:
    ours: the label of the one that is claimed to be as good, and cheaper.
    other: that of the one that it replaces.
    cost: in what it is cheaper, a field of `Found`.
    stated: what is stated of the cost.
    published: what is stated of the accuracy.
  """

  ours: str
  other: str
  cost: str
  stated: str
  published: str = 'no number for this alone'


PAIRS = (
  Pair(
    'two_3x3',
    '5x5',
    'parameters',
    '18 instead of 25 weights, so 28% fewer',
    'an error lower by 7%, on ImageNet',
  ),
  Pair('1x7_7x1', '7x7', 'macs', '14 instead of 49 weights'),
  Pair('strided', 'pooled', 'macs', 'a pooling after the module costs more'),
  Pair('strided', 'dense', 'parameters', 'most parameters are in dense layers'),
)
COUNTED = {'parameters': 'parameters', 'macs': 'multiply-adds'}


class Found(NamedTuple):
  """What was measured of one point.

  Attributes:
    accuracy_R: the last test accuracy of each seed.
    parameters: their count.
    macs: multiply-adds an image.
  """

  accuracy_R: np.ndarray
  parameters: int
  macs: int


Points = dict[str, Found]  # by label


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser('convolutions', __doc__, steps=800)
  parser.set_defaults(data='fashion_mnist')
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  return _study.conduct(
    args, study.get_config, arg, judge, draw, _rows, found_in
  )


def found_in(runs: Sequence[bnr.Run]) -> Points:
  """Returns accuracies and costs of all points."""
  result = {}
  for (label,), group in _study.grouped(runs, 'label').items():
    parts = assemble(group[0].config)
    size, _, channels = parts.data.spec.image_shape
    cost = measure(parts.network.model, size, channels)
    accuracy_R = np.array([_study.final(run) for run in group])
    result[label] = Found(accuracy_R, cost.parameters, cost.macs)
  return result


def judge(points: Points) -> list[claims.Claim]:
  """Returns of each pair whether the one is as good, and cheaper."""
  result = []
  for pair in PAIRS:
    ours, other = points[pair.ours], points[pair.other]
    setting = f'{NAMES[pair.ours]} for {NAMES[pair.other]}'
    gained_R = ours.accuracy_R - other.accuracy_R
    costs = [getattr(found, pair.cost) for found in (ours, other)]
    result += [
      claims.Claim(
        setting,
        'no less accurate',
        pair.published,
        f'{_study.plus_minus(100 * gained_R, "+.2f")} points, '
        f'{_study.plus_minus(ours.accuracy_R, ".2%")} instead of '
        f'{_study.plus_minus(other.accuracy_R, ".2%")}',
        tuple((gained_R >= -TOLERANCE).tolist()),
      ),
      claims.Claim(
        setting,
        f'fewer {COUNTED[pair.cost]}',
        pair.stated,
        f'{costs[0]:,} instead of {costs[1]:,}, {costs[0] / costs[1] - 1:+.1%}',
        (costs[0] < costs[1],) * len(gained_R),
      ),
    ]
  more_R = points['two_3x3'].accuracy_R - points['one_3x3'].accuracy_R
  return [
    *result,
    claims.Claim(
      'two 3x3 for one 3x3',
      'more accurate, as they see a field of 5x5',
      'no number for this alone',
      f'{_study.plus_minus(100 * more_R, "+.2f")} points',
      tuple((more_R > 0).tolist()),
    ),
  ]


def table(result: dict[str, Any]) -> Table:
  """Returns accuracy, parameters and multiply-adds: a row for each point."""
  rows = [
    [
      study.POINTS[row['label']][0],
      NAMES[row['label']],
      _study.plus_minus(row['test_accuracy'], '.2%'),
      f'{row["parameters"]:,}',
      f'{row["macs"]:,}',
    ]
    for row in result['rows']
  ]
  columns = 'network', 'with', 'test accuracy', 'parameters', 'multiply-adds'
  return Table(columns, rows)


def draw(points: Points, args) -> None:
  """Writes the figure: accuracy against multiply-adds, for each network."""
  table(_rows(points)).show()
  figure, panels = _study.canvas(1, len(study.NETWORKS), (12, 3.8))
  for panel, network in zip(panels[0], study.NETWORKS):
    labels = [n for n, (of, _) in study.POINTS.items() if of == network]
    for n, label in enumerate(labels):
      found, color = points[label], f'C{n}'
      x = found.macs / 1e6
      panel.plot(
        [x] * len(found.accuracy_R), found.accuracy_R, '.', color=color
      )
      panel.plot(
        x,
        found.accuracy_R.mean(),
        'o',
        color=color,
        label=f'{NAMES[label]}: {found.parameters:,} parameters',
      )
    panel.set(title=network, xlabel='multiply-adds an image, in millions')
    panel.margins(x=0.2)
    panel.yaxis.set_major_formatter(lambda y, _: f'{y:.1%}')
    panel.legend(frameon=False, loc='upper center', bbox_to_anchor=(0.5, -0.2))
  panels[0, 0].set_ylabel('test accuracy')
  figure.suptitle(
    f'Accuracy against cost, {args.data}, {args.steps} steps '
    f'({_study.seeds(args.seeds)}, circles: means)'
  )
  _study.save(figure, args.output)


def _rows(points):
  return {
    'rows': [
      {
        'label': label,
        'test_accuracy': found.accuracy_R.tolist(),
        'parameters': found.parameters,
        'macs': found.macs,
      }
      for label, found in points.items()
    ]
  }


if __name__ == '__main__':
  sys.exit(main())
