"""Vanishing gradients: do BN and shortcuts let networks be deep?

Claim:    Gradients vanish on their way down a deep network. BN alone does not
          cure that; shortcuts do.
Source:   the source documents, on ResNet (He et al. 2015, arXiv 1512.03385);
          on BN, Yang et al. 2019 (arXiv 1902.08129).
Scale:    networks of 64 units a layer on digits of 8 x 8 pixels, each shortcut
          around one layer. ResNet is convolutional, and its shortcuts are
          around two or three layers.
Room:     models
Config:   configs/depth.py:seeds=3
Command:  python -m experiments.depth --seeds=3
Cost:     9 minutes for the 108 runs of three seeds on two busy cores of an AMD
          EPYC, most of it to compile.
Result:   experiments/results/depth_*.{png,svg,json}

The gradient is that of the loss by a layer's pre-activations, for the same 60
training images, before the first update. Its growth is its norm at the lowest
layer over that at the highest; below 0.01 it has vanished, and it is 0 where
float32 cannot hold its square. Sigmoid and tanh start from Xavier's weights,
ReLU from Kaiming's. A deep network trains if it is at most 5 points less
accurate than the best of the shallow ones.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from configs import depth as study
from experiments import _study
from experiments._table import Table

NOTES = """
From its own initializer, only the network of sigmoids has a gradient that
vanishes. BN alone cures that: 50 layers of sigmoids train as well as any. With
ReLU and tanh, BN makes the gradient explode, and 50 layers learn less on
average with BN than without. Shortcuts alone keep the gradient up; without BN
that of ReLU explodes, and 50 layers diverge. With both, 50 layers train with
every activation.
"""

VANISHED = 0.01  # growth of the gradient
DOCUMENTS = 'the source documents'
LOST = 0.05  # of the accuracy, in a network that is too deep
NAMES = {
  'neither': 'neither',
  'BN': 'BN',
  'shortcuts': 'shortcuts',
  'both': 'BN and shortcuts',
}
COLORS = {
  'neither': '#c0504d',
  'BN': '#2e75b6',
  'shortcuts': '#e08a1e',
  'both': '#6a9a3c',
}
_CURES = {value: cure for cure, value in study.CURES.items()}
_GRADIENT = 'probe/backpropagated'


class Found(NamedTuple):
  """What was measured of one kind of network, for S seeds.

  Attributes:
    accuracy_S: on the test images, in the end.
    gradient_SL: norms at the start, by layer, bottom to top.
  """

  accuracy_S: np.ndarray
  gradient_SL: np.ndarray

  @property
  def growth_S(self) -> np.ndarray:
    """The gradient's norm at the lowest layer over that at the highest."""
    return self.gradient_SL[:, 0] / self.gradient_SL[:, -1]

  @property
  def depth(self) -> int:
    """The number of hidden layers."""
    return self.gradient_SL.shape[1]


Kinds = dict[tuple[str, str, int], Found]  # by activation, cure and depth


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  args = _study.parser(
    'depth', __doc__, steps=500, launcher='vectorized'
  ).parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  if args.dry_run:
    arg += ',activations=tanh,depths=2+3'
  return _study.conduct(
    args, study.get_config, arg, judge, draw, _notes, measure
  )


def measure(runs: Sequence[bnr.Run]) -> Kinds:
  """Returns accuracies and gradients by kind of network."""
  keys = 'model.activation', 'norm.name', 'model.residual', 'model.features'
  found = {}
  for (activation, *cure, widths), group in _study.grouped(runs, *keys).items():
    gradients = [
      [
        run.metrics[f'{_GRADIENT}/hidden_{layer}'].values[0]
        for layer in range(1, len(widths) + 1)
      ]
      for run in group
    ]
    found[activation, _CURES[tuple(cure)], len(widths)] = Found(
      np.array([_study.final(run) for run in group]), np.array(gradients)
    )
  return found


def judge(kinds: Kinds) -> list[claims.Claim]:
  """Returns the claims on each activation, by seed."""
  depths = [depth for _, _, depth in kinds]
  result = []
  for activation in dict.fromkeys(activation for activation, _, _ in kinds):
    shallow, deep = (
      {cure: kinds[activation, cure, depth] for cure in study.CURES}
      for depth in (min(depths), max(depths))
    )
    result += [
      claims.Claim(
        f'{activation}, {max(depths)} layers', *words, tuple(holds_S.tolist())
      )
      for *words, holds_S in (
        *_of_gradients(deep),
        *_of_accuracy(shallow, deep),
      )
    ]
  return result


def _of_gradients(deep):
  """Yields claim, published, measured and what holds, for each seed."""
  growth = {cure: of.growth_S for cure, of in deep.items()}
  text = {
    cure: f'growth {_study.plus_minus(growth_S, ".2g")}'
    for cure, growth_S in growth.items()
  }
  yield (
    'without BN and shortcuts the gradient vanishes',
    DOCUMENTS,
    text['neither'],
    growth['neither'] < VANISHED,
  )
  yield (
    'with BN alone it vanishes all the same',
    f'{DOCUMENTS}; it explodes, Yang et al. 2019',
    text['BN'],
    growth['BN'] < VANISHED,
  )
  yield (
    'with shortcuts alone it does not vanish',
    DOCUMENTS,
    f'{text["shortcuts"]}; with both {text["both"]}',
    growth['shortcuts'] >= VANISHED,
  )


def _of_accuracy(shallow, deep):
  """Yields the same of the accuracy after training."""
  said = {
    cure: _study.plus_minus(of.accuracy_S, '.1%') for cure, of in deep.items()
  }
  best_S = np.max([of.accuracy_S for of in shallow.values()], axis=0)
  trains = {c: of.accuracy_S >= best_S - LOST for c, of in deep.items()}
  layers = shallow['both'].depth
  best = f'the best of {layers} layers {_study.plus_minus(best_S, ".1%")}'
  yield (
    'with BN alone a deep network does not train',
    DOCUMENTS,
    f'{said["BN"]}; {said["neither"]} with neither; {best}',
    ~trains['BN'],
  )
  yield (
    'with shortcuts alone it does',
    DOCUMENTS,
    f'{said["shortcuts"]}; {best}',
    trains['shortcuts'],
  )
  rest = [cure for cure in deep if cure != 'both']
  other_S = np.max([deep[cure].accuracy_S for cure in rest], axis=0)
  yield (
    'with both it is more accurate than with one of them',
    'ResNet has both',
    f'{said["both"]}; ' + ', '.join(f'{cure} {said[cure]}' for cure in rest),
    deep['both'].accuracy_S > other_S,
  )


def _notes(kinds):
  return {
    'growth': {
      f'{activation}, {cure}, {depth}': [float(f'{x:.3g}') for x in of.growth_S]
      for (activation, cure, depth), of in kinds.items()
    }
  }


def table(result: dict[str, Any]) -> Table:
  """Returns accuracies and growths: a row for each activation and cure."""
  accuracies: dict[str, list[float]] = {}
  for run in result['runs']:
    label, _, _ = run['run'].partition(',seed=')
    activation, depth, cure = label.split('_')
    key = f'{activation}, {cure}, {depth}'
    accuracies.setdefault(key, []).append(run['test_accuracy'])
  rows: dict[str, list[str]] = {}
  depths = []
  for key, growth in result['growth'].items():
    of, _, depth = key.rpartition(', ')
    accuracy = _study.plus_minus(accuracies[key], '.1%')
    rows.setdefault(of, []).append(f'{accuracy}, growth {np.mean(growth):.2g}')
    depths.append(depth)
  return Table(
    ['test accuracy, growth', *(f'{d} layers' for d in dict.fromkeys(depths))],
    [[of, *cells] for of, cells in rows.items()],
  )


def draw(kinds: Kinds, args) -> None:
  """Writes the figure: gradients by layer, and accuracy by depth."""
  activations = [*dict.fromkeys(activation for activation, _, _ in kinds)]
  depths = sorted({depth for _, _, depth in kinds})
  figure, panels = _study.canvas(
    2, len(activations), (4 * len(activations), 6.4), sharey='row'
  )
  for (above, below), activation in zip(panels.T, activations):
    for cure, color in COLORS.items():
      gradient_SL = kinds[activation, cure, depths[-1]].gradient_SL
      of_top_SL = gradient_SL / gradient_SL[:, -1:]
      layer_L = np.arange(1, depths[-1] + 1)
      above.plot(layer_L, np.median(of_top_SL, 0), color=color, lw=1.5)
      accuracy_DS = [kinds[activation, cure, d].accuracy_S for d in depths]
      below.plot(
        depths, np.mean(accuracy_DS, 1), color=color, label=NAMES[cure]
      )
      below.plot(depths, accuracy_DS, 'o', color=color, ms=3)
    above.axhline(1, color='0.7', lw=0.8, zorder=0)
    above.set(title=activation, yscale='log', xlabel='layer, from the bottom')
    below.set(xlabel='hidden layers', xscale='log')
    below.set_xticks(depths, [str(d) for d in depths])
    below.minorticks_off()
    below.yaxis.set_major_formatter(lambda y, _: f'{y:.0%}')
  panels[0, 0].set_ylabel(
    f'gradient at the start / that at the top,\n{depths[-1]} layers'
  )
  panels[1, 0].set_ylabel(f'test accuracy after {args.steps:,} steps')
  lines = panels[1, 0].get_legend_handles_labels()
  figure.legend(*lines, loc='outside lower center', ncols=4, frameon=False)
  figure.suptitle(
    f'Gradients and accuracy by depth: MLP, {args.data} '
    f'({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
