"""Training gamma and beta only: what can shifts and scales of chance do?

Claim:    A ResNet whose kernels and logits keep their random values learns by
          gamma and beta alone: 82% on CIFAR-10 if it is deep enough, far more
          than by as many parameters elsewhere. It disables about a third of its
          random features.
Source:   Frankle et al. 2021, Training BatchNorm and Only BatchNorm (arXiv
          2003.00152), abstract.
Scale:    ResNets of 8, 20 and 44 layers of half the width, on digits of 8 x 8
          pixels. The paper has up to 866 layers, on CIFAR-10 and ImageNet.
Room:     norms
Config:   configs/bn_only.py:seeds=3
Command:  python -m experiments.frankle2021_bn_only --seeds=3
Cost:     3 minutes for the 27 runs on two CPU cores.
Result:   experiments/results/frankle2021_bn_only_*.{png,svg,json}

The logits stand in place of a random choice of parameters elsewhere. A feature
counts as disabled if |gamma| < 0.01, our threshold; gamma begins at 1.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.traverse_util
import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from bnresearch.training import optimizer
from configs import bn_only as study
from experiments import _study

NOTES = """
Gamma and beta alone reach 94% on the digits in 44 layers, 4 points below the
trained network, from kernels of chance. With the logits alone, accuracy falls
with depth. Here nearly no feature is disabled within 1,000 steps: gammas begin
at 1, and few come near 0. The logits' kernels start from Kaiming's deviation:
from 0.01, as in other runs, gamma and beta could not make them large enough.
"""

ALL, ONLY, LOGITS = study.TRAINED
COLORS = {ALL: '0.5', ONLY: '#2e75b6', LOGITS: '#c0504d'}
DISABLED = 0.01
FAR = 0.5  # accuracy; a guess has 0.1
PUBLISHED = 'about a third of the features'


class Found(NamedTuple):
  """What the runs of one point have learnt.

  Attributes:
    accuracy_R: on the test images, at the end.
    gammas_R: all scales at the end, one array a run.
    trained: how many parameters are.
  """

  accuracy_R: np.ndarray
  gammas_R: list[np.ndarray]
  trained: int

  @property
  def disabled_R(self) -> np.ndarray:
    """The share of features whose gamma is nearly 0."""
    return np.array([(abs(g) < DISABLED).mean() for g in self.gammas_R])


Grid = dict[tuple[int, str], Found]  # by units a stage, and what is trained


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser('frankle2021_bn_only', __doc__, steps=1000)
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  return _study.conduct(
    args, study.get_config, arg, judge, draw, _rows, measure
  )


def measure(runs: Sequence[bnr.Run]) -> Grid:
  """Returns accuracies and gammas, by depth and what is trained."""
  names = {patterns: name for name, patterns in study.TRAINED.items()}
  found = {}
  for (blocks, patterns), group in _study.grouped(
    runs, 'model.blocks', 'optim.trained'
  ).items():
    params = [run.restore().params for run in group]
    chosen = flax.traverse_util.flatten_dict(
      optimizer.are_trained(params[0], patterns)
    )
    flat = flax.traverse_util.flatten_dict(params[0])
    found[blocks[0], names[patterns]] = Found(
      np.array([_study.final(run) for run in group]),
      [_gammas(own) for own in params],
      sum(flat[path].size for path, is_one in chosen.items() if is_one),
    )
  return found


def _gammas(params):
  flat = flax.traverse_util.flatten_dict(params)
  return np.concatenate(
    [np.ravel(x) for path, x in flat.items() if path[-1] == 'scale']
  )


def judge(grid: Grid) -> list[claims.Claim]:
  """Returns the claims, each by seed."""
  depths = sorted({units for units, _ in grid})
  shallow, deep = depths[0], depths[-1]
  only = {units: grid[units, ONLY] for units in depths}
  accuracy = lambda name: ', '.join(
    f'{_study.plus_minus(grid[units, name].accuracy_R, ".1%")} '
    f'with {_layers(units)} layers'
    for units in depths
  )
  off = only[deep].disabled_R
  return [
    claims.Claim(
      'only gamma and beta are trained',
      'the network learns',
      '82% on CIFAR-10, sufficiently deep',
      f'{accuracy(ONLY)}; all trained: {accuracy(ALL)}',
      _study.by_seed(only[deep].accuracy_R >= FAR),
    ),
    claims.Claim(
      'only gamma and beta are trained',
      'the deeper the network, the more it learns',
      'sufficiently deep ones reach 82%',
      accuracy(ONLY),
      _study.by_seed(only[deep].accuracy_R > only[shallow].accuracy_R),
    ),
    claims.Claim(
      'only gamma and beta are trained',
      'more than with only the logits trained',
      'far more than with as many parameters elsewhere',
      f'logits: {accuracy(LOGITS)}; '
      f'{only[deep].trained:,} and {grid[deep, LOGITS].trained:,} parameters '
      'in the deepest',
      _study.by_seed(only[deep].accuracy_R > grid[deep, LOGITS].accuracy_R),
    ),
    claims.Claim(
      'only gamma and beta are trained',
      'the network disables many of its random features',
      PUBLISHED,
      f'|gamma| < {DISABLED}: {_study.plus_minus(off, ".1%")} of them, '
      f'{_study.plus_minus(grid[deep, ALL].disabled_R, ".1%")} if all '
      'parameters are trained',
      _study.by_seed(abs(off - 1 / 3) < 1 / 6),
    ),
  ]


def _layers(units):
  return 6 * units + 2


def draw(grid: Grid, args) -> None:
  """Writes the figure: accuracy against depth, and the deepest one's gammas."""
  figure, (panels,) = _study.canvas(1, 2, (9, 3.6))
  left, right = panels
  depths = sorted({units for units, _ in grid})
  for name, color in COLORS.items():
    of = np.array([grid[units, name].accuracy_R for units in depths])
    deviation = of.std(1, ddof=1) if of.shape[1] > 1 else None
    left.errorbar(
      [_layers(units) for units in depths],
      of.mean(1),
      deviation,
      marker='o',
      color=color,
      label=f'trained: {name}',
    )
  left.set(xlabel='layers', ylabel='test accuracy', ylim=(0, 1.02))
  left.legend(frameon=False)
  edges = np.linspace(-1, 3, 81)
  for name in (ALL, ONLY):
    gammas = np.concatenate(grid[depths[-1], name].gammas_R)
    density, _ = np.histogram(gammas, edges, density=True)
    right.stairs(density, edges, color=COLORS[name], label=f'trained: {name}')
  right.set(xlabel=f'gamma, {_layers(depths[-1])} layers', ylabel='density')
  right.legend(frameon=False)
  figure.suptitle(
    'Frankle et al. 2021: ResNets with random kernels, '
    f'{args.data} ({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


def _rows(grid) -> dict[str, Any]:
  return {
    'rows': [
      {
        'layers': _layers(units),
        'trained': name,
        'parameters': own.trained,
        'test_accuracy': own.accuracy_R.tolist(),
        'disabled': own.disabled_R.tolist(),
      }
      for (units, name), own in grid.items()
    ]
  }


if __name__ == '__main__':
  sys.exit(main())
