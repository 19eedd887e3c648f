"""MobileNetV2: linear projections, and expansion.

Claim:    A unit's last 1x1 should have no activation, which would destroy
          information. Units should widen their input 5 to 10 times.
Source:   Sandler et al. 2018, MobileNetV2 (arXiv 1801.04381), sections 3.2,
          3.3 and Figure 6.
Scale:    five units at 0.35 of the width, on Fashion-MNIST, 400 steps. The
          paper's network has 17, on ImageNet.
Room:     models
Config:   configs/bottlenecks.py:seeds=3
Command:  python -m experiments.sandler2018_bottlenecks --seeds=3
Cost:     about 4 min on two CPU cores.
Result:   experiments/results/sandler2018_bottlenecks_*.{png,svg,json}

The first unit has no expansion, as published. All points share optimizer,
learning rate and steps.
"""

import sys
from collections.abc import Sequence

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from configs import bottlenecks as study
from experiments import _study

NOTES = """
After 400 steps nothing is certain: seeds differ more than points do. The mean
over the seeds is better with linear projections at each expansion, and worst at
an expansion of 10. Running statistics may have part in it, as 400 steps are few
for a momentum of 0.99.
"""

PUBLISHED = 6  # expansion
PROJECTIONS = {True: 'linear', False: 'ReLU6'}
COLORS = {True: '#2e75b6', False: '#c0504d'}

Errors = dict[tuple[int, bool], np.ndarray]  # (R,) by expansion, linear


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser(
    'sandler2018_bottlenecks', __doc__, steps=400, folder='bottlenecks'
  )
  parser.set_defaults(data='fashion_mnist')
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  return _study.conduct(
    args, study.get_config, arg, judge, draw, measure=measure
  )


def measure(runs: Sequence[bnr.Run]) -> Errors:
  """Returns the last errors on the test images, of networks with ReLU6."""
  keys = 'model.activation', 'model.expansion', 'model.linear_projection'
  return {
    (expansion, linear): np.array([1 - _study.final(run) for run in group])
    for (activation, expansion, linear), group in _study.grouped(
      runs, *keys
    ).items()
    if activation == 'own'
  }


def judge(error: Errors) -> list[claims.Claim]:
  """Returns the claims, each by seed."""
  widest, narrow = max(study.EXPANSIONS), min(study.EXPANSIONS)
  percent = lambda error_R: _study.plus_minus(error_R, '.1%')
  gain = {e: 100 * (error[e, False] - error[e, True]) for e in study.EXPANSIONS}
  linear = {e: error[e, True] for e in study.EXPANSIONS}
  return [
    claims.Claim(
      'linear projections',
      f'make fewer errors than ReLU6, expansion {PUBLISHED}',
      'Figure 6: an activation costs accuracy; no number',
      f'errors: {percent(error[PUBLISHED, True])} linear, '
      f'{percent(error[PUBLISHED, False])} with ReLU6',
      _all(gain[PUBLISHED] > 0),
    ),
    claims.Claim(
      'linear projections',
      'the same on average over all expansions',
      'no number',
      'points won: '
      + ', '.join(
        f'{_study.plus_minus(won_R, "+.1f")} with {e}'
        for e, won_R in gain.items()
      ),
      _all(np.mean([*gain.values()], 0) > 0),
    ),
    claims.Claim(
      'expansion',
      f'{PUBLISHED} makes fewer errors than {narrow}',
      'units widen their input 5 to 10 times, section 3.3',
      'errors: '
      + ', '.join(f'{percent(e_R)} with {e}' for e, e_R in linear.items()),
      _all(linear[PUBLISHED] < linear[narrow]),
    ),
    claims.Claim(
      'expansion',
      f'{widest} makes at most half a point fewer errors than {PUBLISHED}',
      'nearly the same from 5 to 10, section 3.3',
      f'errors: {percent(linear[PUBLISHED])} with {PUBLISHED}, '
      f'{percent(linear[widest])} with {widest}',
      _all(100 * (linear[PUBLISHED] - linear[widest]) <= 0.5),
    ),
  ]


def _all(holds_R):
  return tuple(bool(holds) for holds in holds_R)


def draw(error: Errors, args) -> None:
  """Writes the figure: errors by expansion."""
  figure, ((panel,),) = _study.canvas(1, 1, (6, 4))
  for linear, label in PROJECTIONS.items():
    errors = np.array([error[e, linear] for e in study.EXPANSIONS])
    color = COLORS[linear]
    panel.plot(study.EXPANSIONS, errors.mean(1), color=color, label=label)
    panel.plot(study.EXPANSIONS, errors, '.', color=color, alpha=0.6)
  panel.set(xlabel='expansion', ylabel='error on test images')
  panel.set_xticks(study.EXPANSIONS)
  panel.legend(frameon=False, title='end of a unit')
  figure.suptitle(
    f'Units of MobileNetV2: {args.data} ({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
