"""Activations, initializers, and BN or none: does BN make the choice easier?

Claim:    With BN the initial weights need less care, and saturating
          activations can be trained. Each initializer is best for the
          activations it was made for. Some activations beat ReLU with BN.
Source:   the source documents, which name the activations and initializers;
          Ioffe & Szegedy 2015, sections 3.3 and 4.2.2 (arXiv 1502.03167);
          caffenet-benchmark (ducha-aiki, batchnorm.md at e47c4ff).
Scale:    ten layers of 64 units on Fashion-MNIST, half an epoch, BN before the
          activation. CaffeNet is convolutional, on ImageNet at 128 pixels, with
          BN after it.
Room:     models
Config:   configs/activations.py:seeds=3
Command:  python -m experiments.activations --seeds=3
Cost:     140 s for the 126 runs of three seeds on two cores of an AMD EPYC.
Result:   experiments/results/activations_*.{png,svg,json}

Xavier is Glorot & Bengio 2010, Kaiming He et al. 2015, LSUV Mishkin & Matas
2016. All points share optimizer and learning rate. Maxout has two linear maps a
unit, so twice the weights. The spread of an activation is the difference
between its best and its worst initializer.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from configs import activations as study
from experiments import _study
from experiments._table import Table

NOTES = """
Without BN the initializer decides whether a network trains at all: ELU diverges
from Kaiming's weights, maxout from Kaiming's and LSUV's, and sigmoids guess
from all three, so their spread is 0. With BN every point trains, and the mean
spread is less than 2 points. The order is not CaffeNet's: after 500 steps ELU
and PReLU are first, and ReLU and ReLU6 last.
"""

# CaffeNet's accuracies with BN after each activation.
PUBLISHED = {
  'relu': 0.499,
  'prelu': 0.503,
  'elu': 0.498,
  'maxout': 0.487,
  'sigmoid': 0.475,
  'tanh': 0.448,
}
INITIALIZERS = {'xavier': 'Xavier', 'kaiming': 'Kaiming', 'lsuv': 'LSUV'}
NORMS = {'none': 'without BN', 'batch': 'with BN'}
COLORS = {'xavier': '#c0504d', 'kaiming': '#2e75b6', 'lsuv': '#6a9a3c'}
# Who made an initializer for which activation.
MADE_FOR = {
  'relu': ('kaiming', 'xavier', 'He et al. 2015'),
  'tanh': ('xavier', 'kaiming', 'Glorot & Bengio 2010'),
}
TRAINED = 0.5  # the least accuracy of a network that has learned
NEAR = 0.01  # of the accuracy, what counts as no worse

Accuracies = dict[tuple[str, str, str], np.ndarray]  # of each seed


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser(
    'activations', __doc__, steps=500, launcher='vectorized'
  )
  parser.set_defaults(data='fashion_mnist')
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  if args.dry_run:
    arg += ',layers=2,activations=relu+tanh'
  return _study.conduct(
    args, study.get_config, arg, judge, draw, measure=accuracies
  )


def accuracies(runs: Sequence[bnr.Run]) -> Accuracies:
  """Returns last accuracies, by activation, initializer and norm."""
  keys = 'model.activation', 'model.initializer', 'norm.name'
  return {
    point: np.array([_study.final(run) for run in group])
    for point, group in _study.grouped(runs, *keys).items()
  }


def spreads(found: Accuracies, norm: str) -> dict[str, np.ndarray]:
  """Returns how much the initializer matters to each activation, by seed."""
  return {
    activation: np.ptp(
      [found[activation, init, norm] for init in study.INITIALIZERS], axis=0
    )
    for activation in _activations(found)
  }


def _activations(found):
  return list(dict.fromkeys(activation for activation, _, _ in found))


def judge(found: Accuracies) -> list[claims.Claim]:
  """Returns the claims that the activations decide, by seed."""
  there = _activations(found)
  beside_relu = (name for name in PUBLISHED if name != 'relu')
  return [
    _care(found),
    *(_made_for(found, name) for name in MADE_FOR if name in there),
    _lsuv(found),
    *(_saturating(found) for name in there if name == 'sigmoid'),
    *(_beside_relu(found, name) for name in beside_relu if name in there),
    *(_relu6(found) for name in there if name == 'relu6'),
  ]


def _care(found):
  plain, normed = (spreads(found, norm) for norm in NORMS)
  points = lambda x_S: f'{100 * x_S.mean():.1f}'
  each = ', '.join(
    f'{name} {points(plain[name])} and {points(normed[name])}' for name in plain
  )
  return claims.Claim(
    'all activations',
    'with BN the initializer matters less',
    'BN "allows us to use much higher learning rates and be less careful about '
    'initialization"',
    f'spreads in points, without and with BN: {each}',
    tuple(
      bool(b < a) for name in plain for a, b in zip(plain[name], normed[name])
    ),
  )


def _made_for(found, activation):
  own, other, source = MADE_FOR[activation]
  best_S, rest_S = (found[activation, name, 'none'] for name in (own, other))
  return claims.Claim(
    f'{activation}, without BN',
    f'{INITIALIZERS[own]} is better than {INITIALIZERS[other]}',
    f'made for it, {source}',
    f'{_study.plus_minus(best_S, ".2%")} instead of '
    f'{_study.plus_minus(rest_S, ".2%")}',
    tuple((best_S > rest_S).tolist()),
  )


def _lsuv(found):
  ahead = {}
  for name in _activations(found):
    xavier_S, kaiming_S, lsuv_S = (
      found[name, init, 'none'] for init in study.INITIALIZERS
    )
    ahead[name] = lsuv_S - np.maximum(xavier_S, kaiming_S)
  each = ', '.join(f'{n} {100 * x_S.mean():+.1f}' for n, x_S in ahead.items())
  return claims.Claim(
    'all activations, without BN',
    'LSUV is no worse than the better of Xavier and Kaiming',
    'no number; it fits any activation, Mishkin & Matas 2016',
    f'points above that: {each}',
    tuple(bool(x >= -NEAR) for x_S in ahead.values() for x in x_S),
  )


def _saturating(found):
  plain_S, normed_S = (
    np.max([found['sigmoid', i, norm] for i in study.INITIALIZERS], axis=0)
    for norm in NORMS
  )
  return claims.Claim(
    'sigmoid',
    'can be trained with BN, not without',
    '69.8% with BN, chance (0.1%) without, Figure 3',
    f'{_study.plus_minus(normed_S, ".1%")} with BN, '
    f'{_study.plus_minus(plain_S, ".1%")} without, from the best initializer',
    tuple(((normed_S >= TRAINED) & (plain_S < TRAINED)).tolist()),
  )


def _beside_relu(found, activation):
  sign = np.sign(PUBLISHED[activation] - PUBLISHED['relu'])
  more_S = _with_bn(found, activation) - _with_bn(found, 'relu')
  return claims.Claim(
    activation,
    f'with BN it is {"more" if sign > 0 else "less"} accurate than ReLU',
    f'{PUBLISHED[activation]:.1%}, ReLU {PUBLISHED["relu"]:.1%}, CaffeNet',
    _points(more_S),
    tuple((sign * more_S > 0).tolist()),
  )


def _relu6(found):
  more_S = _with_bn(found, 'relu6') - _with_bn(found, 'relu')
  return claims.Claim(
    'relu6',
    'with BN its limit costs no accuracy',
    'no number; the source documents take it for low precision',
    _points(more_S),
    tuple((more_S >= -NEAR).tolist()),
  )


def _with_bn(found, activation):
  """Returns the mean over initializers, by seed."""
  rows = [found[activation, init, 'batch'] for init in study.INITIALIZERS]
  return np.mean(rows, axis=0)


def _points(x_S):
  text = _study.plus_minus(100 * x_S, '+.2f')
  return f'{text} points, mean over the initializers'


def table(result: dict[str, Any]) -> Table:
  """Returns test accuracies: a row for each activation."""
  found: dict[str, dict[tuple[str, str], list[float]]] = {}
  for run in result['runs']:
    of = dict(part.split('=') for part in run['run'].split(','))
    columns = found.setdefault(of['activation'], {})
    point = of['norm'], of['initializer']
    columns.setdefault(point, []).append(run['test_accuracy'])
  points = [(norm, init) for norm in NORMS for init in study.INITIALIZERS]
  rows = [
    [
      activation,
      *(_study.plus_minus(columns[point], '.1%') for point in points),
      f'{PUBLISHED[activation]:.1%}' if activation in PUBLISHED else '',
    ]
    for activation, columns in found.items()
  ]
  titles = [f'{INITIALIZERS[init]} {NORMS[norm]}' for norm, init in points]
  return Table(
    ['test accuracy', *titles, 'CaffeNet with BN'],
    rows,
    'CaffeNet is on ImageNet, with BN after the activation.',
  )


def draw(found: Accuracies, args) -> None:
  """Writes the figure: accuracies by activation, a panel for each norm."""
  names = _activations(found)
  figure, panels = _study.canvas(1, len(NORMS), (11, 4))
  for panel, (norm, title) in zip(panels[0], NORMS.items()):
    for at, activation in enumerate(names):
      for k, init in enumerate(study.INITIALIZERS):
        value_S = found[activation, init, norm]
        x, color = at + 0.22 * (k - 1), COLORS[init]
        panel.plot([x] * len(value_S), value_S, 'o', color=color, alpha=0.5)
        panel.plot(
          x,
          value_S.mean(),
          '_',
          color=color,
          markersize=14,
          label=None if at else INITIALIZERS[init],
        )
    panel.set_xticks(range(len(names)), names)
    panel.set(title=title)
    panel.yaxis.set_major_formatter(lambda y, _: f'{y:.0%}')
  panels[0, 0].set_ylabel(f'test accuracy after {args.steps:,} steps')
  lines = panels[0, 0].get_legend_handles_labels()
  figure.legend(*lines, loc='outside lower center', ncols=3, frameon=False)
  figure.suptitle(
    f'Activations and initializers: MLP of {study.LAYERS} layers, '
    f'{args.data} ({_study.seeds(args.seeds)}, and their mean)'
  )
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
