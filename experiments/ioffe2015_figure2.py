"""Figure 2 of the BN paper: the accuracy of Inception and its BN variants.

Claim:    With BN, Inception reaches its highest accuracy in fewer steps, and in
          far fewer with higher learning rates. A network of sigmoids can be
          trained with BN; without BN it stays at chance. Inception itself
          cannot be trained at 5 times its learning rate.
Source:   Ioffe & Szegedy 2015, Figure 2 (section 4.2, arXiv 1502.03167).
Scale:    Fashion-MNIST at 28 pixels, an eighth of the width, 9,000 steps.
          The paper has ImageNet and 31 million steps.
Room:     models
Config:   configs/inception.py:study=figure2,seeds=3
Command:  python -m experiments.ioffe2015_figure2
Cost:     2 h 10 for the 21 runs of three seeds, on two cores of an AMD EPYC
          that also ran tests; 37 minutes for one seed when they do not.
Not run:  `--scale=paper`, the study as published. It sees five billion images a
          seed: 58 days of a device that trains on 1,000 a second.
Result:   experiments/results/ioffe2015_figure2_*.{png,svg,json}

Networks whose learning rate decays 6 times faster than Inception's are trained
for a third of its steps. A mark on a curve is the step at which it reaches the
highest accuracy of Inception. If all seeds reach it, the mark is at their mean.

Figure 3 reads the same runs. To make them on many machines, use
`python -m bnresearch.main --launcher=slurm`, and give its `--workdir` to this
study.
"""

import sys
from collections.abc import Sequence

import numpy as np

from bnresearch import command
from bnresearch.reports import claims
from experiments import _inception, _study
from experiments._inception import CURVES

NOTES = """
BN trains sooner and better, and it trains what cannot be trained without it.

BN-x5 ends below Inception because of its schedule. It is ahead of Inception in
all seeds from its 900th step on. But its rate decays six times faster, as in
the paper, and it is trained for a third of the steps.

With Inception's schedule and all other modifications, BN-x5 is the best network
of all: 89.61 ± 0.44%. It reaches the highest accuracy of the same seed's
Inception after 4,799 ± 630 of 9,000 steps, 1.8 times fewer, about as soon as
BN-Baseline does. It is not faster than BN-x5: after 3,000 steps it has 84.64 ±
0.40%, and BN-x5, whose rate is at its end by then, has 85.72 ± 0.49%. These
three runs took 11 to 16 minutes each on one core (2026-11-29). Three calls of
`--collect` wrote their [table](results/inception_without_decay_fashion_mnist.csv),
each with the accuracy of one seed's Inception as `--target`. The runs are
points 12, 28 and 44 of a study that adds each modification alone and leaves
each out:

    python -m bnresearch.main --config=configs/inception.py:study=modifications,seeds=3 --point=12

Inception after 9,000 steps is not Inception after 31 million. At `scale=paper`
two cores of an AMD EPYC train on 8 to 9 images a second, 3.5 to 4.1 s a step of
32 (2026-11-29). No GPU was at hand. `python -m benchmarks.inception` times the
steps on another device and adds up its days.
"""  # noqa: E501


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  args = _inception.parse('ioffe2015_figure2', __doc__, argv)
  return _inception.conduct(args, 'figure2', judge, draw, rows=_inception.rows)


def judge(runs: _inception.Runs) -> list[claims.Claim]:
  """Returns what the paper says about the curves."""
  chance = _study.chance(runs['inception'][0])
  highest = {
    label: np.array([_study.best(run) for run in group])
    for label, group in runs.items()
  }
  x5 = runs['inception_x5']
  diverged = [_study.diverged(run) for run in x5]
  percent = lambda label: _study.plus_minus(highest[label], '.2%')
  return [
    *(_matches(runs, label) for label in ('bn_baseline', 'bn_x5', 'bn_x30')),
    claims.Claim(
      'BN-x30',
      'reaches the highest accuracy of all',
      '74.8% against 73.0% (x5), 72.7% (BN-Baseline), 72.2% (Inception)',
      ', '.join(
        f'{percent(label)} ({CURVES[label].title})'
        for label in ('bn_x30', 'bn_x5', 'bn_baseline', 'inception')
      ),
      tuple(
        (
          highest['bn_x30']
          > np.max(
            [highest[o] for o in ('bn_x5', 'bn_baseline', 'inception')], 0
          )
        ).tolist()
      ),
    ),
    claims.Claim(
      'sigmoid',
      'can be trained with BN, not without',
      '69.8% with BN, chance (0.1%) without',
      f'{percent("bn_x5_sigmoid")} with BN, {percent("inception_sigmoid")} '
      f'without; chance is {chance:.0%}',
      tuple(
        _inception.learned(normed) and not _inception.learned(plain)
        for normed, plain in zip(
          runs['bn_x5_sigmoid'], runs['inception_sigmoid']
        )
      ),
    ),
    claims.Claim(
      'Inception',
      'cannot be trained at 5 times its learning rate',
      'its parameters reach machine infinity',
      f'{sum(diverged)} of {len(diverged)} diverged; highest accuracy '
      f'{percent("inception_x5")}, {percent("inception")} at its own',
      tuple(
        lost or not _inception.learned(run) for lost, run in zip(diverged, x5)
      ),
    ),
  ]


def _matches(runs, label):
  """Returns the claim that a network is as good as Inception sooner."""
  steps_R, plain_R = (
    _inception.to_match(runs, name) for name in (label, 'inception')
  )
  return claims.Claim(
    CURVES[label].title,
    "matches Inception's highest accuracy in fewer steps",
    f'{CURVES[label].steps:g}M steps instead of 31M',
    f'{_inception.match_text(runs, label)}; Inception '
    f'{_inception.match_text(runs, "inception")}',
    tuple((steps_R < plain_R)[~np.isnan(plain_R)].tolist()),
  )


def draw(runs: _inception.Runs, args) -> None:
  """Writes the curves, the mean of all seeds and their range."""
  figure, ((panel,),) = _study.canvas(1, 1, (7.5, 4.8))
  for label, group in runs.items():
    curve = CURVES[label]
    series = [run.metrics['test/accuracy'] for run in group]
    T = min(len(s.steps) for s in series)  # one that diverges ends early
    steps_T = series[0].steps[:T]
    values_RT = np.stack([s.values[:T] for s in series])
    options = {'color': curve.color, 'zorder': 3}
    panel.plot(
      steps_T, values_RT.mean(0), curve.line, label=curve.title, **options
    )
    panel.fill_between(
      steps_T, values_RT.min(0), values_RT.max(0), color=curve.color, alpha=0.15
    )
    needed = np.mean(_inception.to_match(runs, label))
    if needed <= steps_T[-1]:
      at = np.interp(needed, steps_T, values_RT.mean(0))
      panel.plot(needed, at, 'D', markersize=7, **options)
  panel.plot([], [], 'D', color='#222222', label='steps to match Inception')
  seeds = len(runs['inception'])
  panel.set(
    title=f'Ioffe & Szegedy 2015, Figure 2, on {args.data}, '
    f'scale {args.scale} ({_study.seeds(seeds)})',
    xlabel='training steps',
    ylabel='test accuracy, single crop',
  )
  panel.xaxis.set_major_formatter(lambda x, _: f'{x:,.0f}')
  panel.yaxis.set_major_formatter(lambda y, _: f'{y:.0%}')
  panel.legend(frameon=False, fontsize=8)
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
