"""Photometric distortions of four strengths, for Inception and for BN-x5.

Claim:    A network with BN trains faster, so it sees each image fewer times. It
          does better with images that are distorted less.
Source:   Ioffe & Szegedy 2015, section 4.2.1 (arXiv 1502.03167, which has no
          number for this modification alone).
Scale:    Fashion-MNIST at 28 pixels, an eighth of the width, 3,000 steps.
          The paper has ImageNet.
Room:     augment
Config:   configs/inception.py:study=photometric,steps=3000,seeds=3
Command:  python -m experiments.photometric --seeds=3
Cost:     half an hour for the 24 runs of three seeds, on two cores of an AMD
          EPYC.
Result:   experiments/results/photometric_*.{png,svg,json}

Inception is trained for `--steps`, BN-x5 for a third of them, as in Figure 2.
Strength 1 is that of slim's distortions. On grey images these change brightness
and contrast. Accuracy is measured after the last step.
"""

import sys
from collections.abc import Sequence

import numpy as np

from bnresearch import command
from bnresearch.reports import claims
from experiments import _inception, _study
from experiments._inception import CURVES

NOTES = """
BN-x5 does better with half the strength, as in the paper. So early in training,
no distortion at all is no worse for either network.
"""

_FULL, _LESS = '1', '0.5'  # Inception's strength, and BN-x5's, in Figure 2


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  args = _inception.parse('photometric', __doc__, argv, steps=3000)
  return _inception.conduct_both(args, 'photometric', judge, draw)


table = _inception.variants


def judge(found: _inception.Accuracies) -> list[claims.Claim]:
  """Returns whether less distortion helps BN-x5, and Inception less."""
  gained = {
    network: by_strength[_LESS] - by_strength[_FULL]
    for network, by_strength in found.items()
  }
  points = {k: _study.plus_minus(100 * v, '+.2f') for k, v in gained.items()}
  published = 'distortions are reduced, no number'
  return [
    claims.Claim(
      'BN-x5',
      'a higher accuracy with distortions of half the strength',
      published,
      f'by {points["bn_x5"]} points',
      tuple((gained['bn_x5'] > 0).tolist()),
    ),
    claims.Claim(
      'BN-x5',
      'gains more by that than Inception',
      published,
      f'{points["bn_x5"]} points, Inception {points["inception"]}',
      tuple((gained['bn_x5'] > gained['inception']).tolist()),
    ),
  ]


def draw(found: _inception.Accuracies, args) -> None:
  """Writes the accuracies over the strength, mean and range of the seeds."""
  figure, ((panel,),) = _study.canvas(1, 1, (5.5, 3.8))
  for network, by_strength in found.items():
    strengths, curve = [*map(float, by_strength)], CURVES[network]
    values_AR = np.stack(list(by_strength.values()))
    panel.plot(
      strengths,
      values_AR.mean(1),
      curve.line,
      marker='o',
      color=curve.color,
      label=curve.title,
    )
    panel.fill_between(
      strengths,
      values_AR.min(1),
      values_AR.max(1),
      color=curve.color,
      alpha=0.15,
    )
  panel.set(
    title=f'Photometric distortions, {args.data}, scale {args.scale} '
    f'({_study.seeds(args.seeds)})',
    xlabel="strength of the distortions, 1 for slim's",
    ylabel='test accuracy',
  )
  panel.yaxis.set_major_formatter(lambda y, _: f'{y:.0%}')
  panel.legend(frameon=False)
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
