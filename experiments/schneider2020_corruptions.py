"""Which statistics at test time, if the test images are corrupted?

Claim:    Under covariate shift the statistics of training are the wrong ones.
          Those of the test images at hand restore much of the accuracy, and if
          these are few, a mixture of both is best.
Source:   Nado et al. 2020, prediction-time batch normalization (arXiv
          2006.10963); Schneider et al. 2020 (arXiv 2006.16971: ImageNet-C);
          Wang et al. 2021, TENT (arXiv 2006.10726: CIFAR-10-C).
Scale:    LeNet with ReLU and BN on Fashion-MNIST, 2,000 steps; the first 2,000
          test images. The published networks are ResNets on ImageNet-C and
          CIFAR-10-C.
Room:     statistics
Config:   configs/corruptions.py:seeds=3
Command:  python -m experiments.schneider2020_corruptions --seeds=3
Cost:     about 3 min on two CPU cores.
Result:   experiments/results/schneider2020_corruptions_*.{png,svg,json}

The network is trained on clean images. Noise, blur, contrast and rotation of
five strengths are those of `bnresearch/augment/corruption.py`. *Running* are
the averages of training, *population* those of Algorithm 2; *batch* are those
of 200 test images alone. A mixture counts training as N examples beside the n
at hand.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from bnresearch import command
from bnresearch.reports import claims
from configs import corruptions as study
from experiments import _study
from experiments._corrupted import (
  FEW,
  KINDS,
  MIDDLE,
  NAMES,
  PRIOR,
  PRIORS,
  SIZES,
  STRENGTHS,
  Found,
  measure,
)
from experiments._table import Table

NOTES = """
The batch's statistics win most where all activations shrink alike: contrast.
Rotation leaves moments as they are, and there they win nothing beyond the
spread of the seeds. On clean images a batch of 200 costs nothing. Training's
population is no better than its running average: what is wrong is the source.
With one image a mixture is no better than training's statistics alone.
"""

COLORS = {'ema': '#c0504d', 'population': '#e08a1e', 'batch': '#2e75b6'}
SHADES = dict(zip(PRIORS, ('#2e75b6', '#9ecae1', '#41ab5d', '#8a63b8')))

CLEAN, CORRUPTED, LAST = slice(0, 1), slice(1, None), slice(-1, None)
AT_MIDDLE = slice(MIDDLE, MIDDLE + 1)


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, corrupts, draws, judges; returns the status."""
  parser = _study.parser('schneider2020_corruptions', __doc__, steps=2000)
  parser.set_defaults(data='fashion_mnist')
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  return _study.conduct(
    args, study.get_config, arg, judge, draw, _rows, measure
  )


def judge(found: Found) -> list[claims.Claim]:
  """Returns the claims, each by seed."""
  both = lambda of, *kinds: (
    f'{_percent(found.mean("batch", of, *kinds))} of the batch, '
    f'{_percent(found.mean("ema", of, *kinds))} running'
  )
  ema, exact, batch = (found.mean(name, CORRUPTED) for name in NAMES)
  gain = {
    kind: found.mean('ema', CORRUPTED, kind)
    - found.mean('batch', CORRUPTED, kind)
    for kind in KINDS
  }
  return [
    claims.Claim(
      'corrupted images',
      'statistics of the batch make fewer errors than running ones',
      'ImageNet-C, ResNet-50: mCE 62.2% instead of 76.7% (Schneider); 60.28% '
      '(Nado)',
      f'errors: {both(CORRUPTED)}',
      _all(batch < ema),
    ),
    claims.Claim(
      'corrupted images',
      'the same at the greatest strength',
      'CIFAR-10-C: 20.4% instead of 43.5% (TENT)',
      f'errors: {both(LAST)}',
      _all(found.mean('batch', LAST) < found.mean('ema', LAST)),
    ),
    claims.Claim(
      'corrupted images',
      'they help least where moments are not what has shifted: rotation',
      'worse under more natural types of shift (Nado); no number',
      'points won: '
      + ', '.join(
        f'{kind} {_study.plus_minus(100 * won_R, "+.1f")}'
        for kind, won_R in gain.items()
      ),
      _all(np.argmin([*gain.values()], 0) == KINDS.index('rotation')),
    ),
    claims.Claim(
      'corrupted images',
      "the training images' population does not help, by a point",
      'no number',
      f'errors: {_percent(exact)} by Algorithm 2, {_percent(ema)} running',
      _all(np.abs(exact - ema) < 0.01),
    ),
    claims.Claim(
      'clean images',
      'running statistics make no more errors than those of the batch',
      'no number',
      f'errors: {both(CLEAN)}',
      _all(found.mean('ema', CLEAN) <= found.mean('batch', CLEAN)),
    ),
    *_of_few(found),
  ]


def _percent(error_R):
  return _study.plus_minus(error_R, '.1%')


def _all(holds_R):
  return tuple(bool(holds) for holds in holds_R)


def _of_few(found):
  """Returns the claims about few examples."""
  setting = f'few examples, strength {MIDDLE}'
  running = found.mean('ema', AT_MIDDLE)
  of = lambda N, n: found.by_size[N][:, SIZES.index(n)]
  single, mixed, alone = of(PRIOR, 1), of(PRIOR, FEW), of(0, FEW)
  return [
    claims.Claim(
      setting,
      f'with {FEW} examples a mixture is better than either alone',
      'ImageNet-C, ResNet-50: partial adaptation, mCE 65.0% instead of 76.7%',
      f'errors: {_percent(mixed)} with N = {PRIOR}, {_percent(alone)} of the '
      f'batch, {_percent(running)} running',
      _all((mixed < alone) & (mixed < running)),
    ),
    claims.Claim(
      setting,
      'a single example helps',
      'a single sample improves ResNet-50 (Schneider); no number',
      f'errors: {_percent(single)} with N = {PRIOR}, {_percent(running)} '
      'running',
      _all(single < running),
    ),
  ]


def table(result: dict[str, Any]) -> Table:
  """Returns errors by corruption and strength, under all statistics."""
  rows = [
    [
      f'{row["kind"]}, {NAMES[row["statistics"]]}',
      *(f'{np.mean(of):.1%}' for of in zip(*row['error'])),
    ]
    for row in result['by_strength']
  ]
  columns = ['errors', 'clean', *(f'strength {s}' for s in STRENGTHS[1:])]
  return Table(columns, rows, 'Means over the seeds.')


def draw(found: Found, args) -> None:
  """Writes the figure: errors by strength, and by size of the batch."""
  figure, panels = _study.canvas(1, len(KINDS) + 1, (14, 3.6), sharey=True)
  for panel, kind in zip(panels[0], KINDS):
    for name, label in NAMES.items():
      error = found.by_strength[name, kind]
      panel.plot(STRENGTHS, error.mean(0), color=COLORS[name], label=label)
      panel.plot(STRENGTHS, error.T, '.', color=COLORS[name], alpha=0.5)
    panel.set(title=kind, xlabel='strength', xticks=STRENGTHS)
  last = panels[0, -1]
  for prior, error in found.by_size.items():
    color, label = SHADES[prior], f'N = {prior}'
    last.plot(SIZES, error.mean(0), 'o-', color=color, label=label)
  running = found.mean('ema', AT_MIDDLE).mean()
  last.axhline(running, color=COLORS['ema'], ls='--', label='running')
  last.set(xscale='log', xlabel='n', title=f'mixtures, strength {MIDDLE}')
  panels[0, 0].set(ylabel='error', ylim=(0, 1))
  panels[0, 0].legend(frameon=False)
  last.legend(frameon=False, ncols=2)
  figure.suptitle(
    'Which statistics normalize corrupted test images: LeNet with BN, '
    f'{args.data} ({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


def _rows(found):
  return {
    'by_strength': [
      {'statistics': name, 'kind': kind, 'error': error.round(4).tolist()}
      for (name, kind), error in found.by_strength.items()
    ],
    'by_size': {
      'n': SIZES,
      **{f'N={N}': e.round(4).tolist() for N, e in found.by_size.items()},
    },
  }


if __name__ == '__main__':
  sys.exit(main())
