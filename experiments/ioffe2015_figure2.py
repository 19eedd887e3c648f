"""Figure 2 of the BN paper: accuracy of Inception and its BN variants by step.

Claim:    With BN, Inception reaches its highest accuracy in fewer steps; with
          higher learning rates in far fewer; BN makes a network of sigmoids
          trainable, which without it stays at chance, as Inception itself
          cannot be trained at 5 times its learning rate.
Source:   Ioffe & Szegedy 2015, section 4.2 and Figure 2, arXiv 1502.03167.
Command:  python -m experiments.ioffe2015_figure2
Cost:     2 h 10 for the 21 runs of three seeds, on two cores of an AMD EPYC
          that also ran tests; 37 minutes for one seed when they did not.
Result:   experiments/results/ioffe2015_figure2_*.{png,svg,json}

The networks are those of configs/inception.py; Figure 3 reads the same runs.
Where many machines are to make them, `python -m bnresearch.main` does, with
--launcher=slurm and the --workdir that is then given here. The mark on a curve
is where it reaches the highest accuracy of Inception, the mean over seeds if
all reach it.
"""

import sys
from collections.abc import Sequence

import numpy as np

from bnresearch import command
from bnresearch.reports import claims
from experiments import _inception, _study
from experiments._inception import CURVES


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
