"""L2 and BN: weights turn by an angle a step that theory knows beforehand.

Claim:    Of weights below BN only the direction counts. Under L2 their norm
          comes to rest where what gradients add equals what L2 takes away, and
          from then on they turn by sqrt(2 rate L2 / (1 + momentum)) a step,
          whatever the network and the data.
Source:   Wan et al. 2020, Spherical Motion Dynamics (arXiv 2006.08419); van
          Laarhoven 2017 (1706.05350): L2 only changes the effective rate.
Scale:    three layers of 100 ReLUs on Fashion-MNIST, 20 epochs. The paper has
          ResNets on ImageNet. The formula has no scale.
Room:     training
Config:   configs/equilibrium.py:seeds=3
Command:  python -m experiments.wan2020_equilibrium --seeds=3
Cost:     4 minutes for the 24 runs, vectorized, on two CPU cores.
Result:   experiments/results/wan2020_equilibrium_*.{png,svg,json}

The angle is that of a whole layer's kernel and the optimizer's next update, on
a fixed batch, as the probe update_ratio measures it; its root mean square over
the last half of the run, the mean of the hidden layers. Without momentum the
balance also gives the norm: ||w||^2 = rate ||gradient||^2 / (2 L2).
"""

import math
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from configs import equilibrium as study
from experiments import _study

NOTES = """
With momentum the angle is as predicted to 3%. Without it, it is 13 to 18% too
large in three settings, and the norm is what a quarter smaller gradients would
give: both are measured on one fixed batch, whose gradient is larger than the
average one. A velocity, which has many batches in it, does not see that. The
smallest product of rate and L2 has not come to rest within 20 epochs. On the
digits, which such a network fits exactly, gradients come in bursts, and without
momentum nothing of this holds.
"""

LAYERS = ('hidden_1', 'hidden_2', 'hidden_3')
NEAR = 0.1  # of the predicted value
COLORS = {0.0: '#2e75b6', 0.9: '#c0504d'}


class Setting(NamedTuple):
  """A point of the sweep, without its seed."""

  rate: float
  l2: float
  momentum: float

  @property
  def angle(self) -> float:
    """What Wan et al. predict, in radians a step."""
    return math.sqrt(2 * self.rate * self.l2 / (1 + self.momentum))


class Found(NamedTuple):
  """What the runs of one setting have measured.

  Attributes:
    angle_RT: of the hidden layers, the mean; of R runs at T steps.
    angle_R: the root mean square over the last half.
    logits_R: the same of the logits, which no BN follows.
    balance_R: ||w||^2 over what the balance gives, the layers' mean.
    accuracy_R: on the test images, at the end.
    steps_T: of `angle_RT`.
  """

  angle_RT: np.ndarray
  angle_R: np.ndarray
  logits_R: np.ndarray
  balance_R: np.ndarray
  accuracy_R: np.ndarray
  steps_T: np.ndarray


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser(
    'wan2020_equilibrium', __doc__, steps=20_000, launcher='vectorized'
  )
  parser.set_defaults(data='fashion_mnist')
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  return _study.conduct(
    args, study.get_config, arg, judge, draw, _rows, measure
  )


def measure(runs: Sequence[bnr.Run]) -> dict[Setting, Found]:
  """Returns what was measured, by setting."""
  keys = 'optim.learning_rate', 'optim.l2', 'optim.momentum'
  return {
    Setting(*key): _found(Setting(*key), group)
    for key, group in _study.grouped(runs, *keys).items()
  }


def _found(setting, runs):
  steps_T = runs[0].metrics[f'probe/update_ratio/{LAYERS[0]}/angle'].steps
  late_T = steps_T >= steps_T[-1] / 2
  angle_RLT = _series(runs, 'update_ratio/{}/angle')
  norm_RL, gradient_RL = (
    np.square(_series(runs, name)[..., late_T]).mean(-1)
    for name in ('update_ratio/{}/norm', 'gradient_norm/{}/kernel')
  )
  rest_RL = setting.rate * gradient_RL / (2 * setting.l2)
  logits = 'probe/update_ratio/logits/angle'
  return Found(
    angle_RLT.mean(1),
    _rms(angle_RLT[..., late_T]).mean(1),
    np.array([_rms(run.metrics[logits].values[late_T]) for run in runs]),
    (norm_RL / rest_RL).mean(1),
    np.array([_study.final(run) for run in runs]),
    steps_T,
  )


def _rms(x_T):
  return np.sqrt(np.square(x_T).mean(-1))


def _series(runs, name):
  """Returns a probe's numbers, (R, hidden layers, T)."""
  return np.array(
    [
      [run.metrics[f'probe/{name.format(layer)}'].values for layer in LAYERS]
      for run in runs
    ]
  )


def judge(found: dict[Setting, Found]) -> list[claims.Claim]:
  """Returns the claims, each by seed."""
  judged = []
  for momentum in study.MOMENTA:
    of = {s: f for s, f in found.items() if s.momentum == momentum}
    ratios = {s: f.angle_R / s.angle for s, f in of.items()}
    one, other = (
      of[s].angle_R
      for s in of
      if math.isclose(s.rate * s.l2, study.RATES[0] * study.L2[1])
    )
    setting = f'momentum {momentum:g}'
    judged += [
      claims.Claim(
        setting,
        'below BN, weights turn by sqrt(2 rate L2 / (1 + momentum)) a step',
        ', '.join(f'{1e3 * s.angle:.1f}' for s in of) + ' thousandths',
        ', '.join(
          _study.plus_minus(1e3 * f.angle_R, '.1f') for f in of.values()
        ),
        _study.by_seed(abs(np.array([*ratios.values()]) - 1).max(0) <= NEAR),
      ),
      claims.Claim(
        setting,
        'only the product of rate and L2 counts',
        'the same angle',
        f'{_study.plus_minus(one / other, ".3f")} of each other, for '
        f'{study.RATES[0]:g} x {study.L2[1]:g} and '
        f'{study.RATES[1]:g} x {study.L2[0]:g}',
        _study.by_seed(abs(one / other - 1) <= NEAR),
      ),
      claims.Claim(
        setting,
        'the logits, which no BN follows, turn otherwise',
        'the theory is for scale-invariant weights',
        ', '.join(
          f'{_study.plus_minus(f.logits_R / s.angle, ".2f")}'
          for s, f in of.items()
        )
        + ' of the predicted angle',
        _study.by_seed(
          [
            any(abs(f.logits_R[k] / s.angle - 1) > NEAR for s, f in of.items())
            for k in range(len(one))
          ]
        ),
      ),
    ]
  plain = [f.balance_R for s, f in found.items() if not s.momentum]
  judged.append(
    claims.Claim(
      'momentum 0',
      'the norm comes to rest where gradients and L2 balance',
      '||w||^2 = rate ||gradient||^2 / (2 L2)',
      ', '.join(_study.plus_minus(b, '.2f') for b in plain) + ' of it',
      _study.by_seed(abs(np.array(plain) - 1).max(0) <= NEAR),
    )
  )
  return judged


def draw(found: dict[Setting, Found], args) -> None:
  """Writes the figure: the angle over the steps, and beside the prediction."""
  figure, panels = _study.canvas(1, 2, (9, 3.6))
  over_time, beside = panels[0]
  for setting, own in found.items():
    color = COLORS[setting.momentum]
    over_time.plot(own.steps_T, own.angle_RT.mean(0), color=color, lw=0.7)
    over_time.axhline(setting.angle, color='0.3', lw=0.8, ls='--')
    beside.plot(
      [setting.angle] * len(own.angle_R), own.angle_R, 'o', color=color, ms=5
    )
  ends = [min(s.angle for s in found), max(s.angle for s in found)]
  beside.plot(ends, ends, color='0.3', lw=0.8, ls='--', zorder=0)
  over_time.set(xlabel='step', ylabel='angle of a step, radians', yscale='log')
  beside.set(
    xlabel='predicted: sqrt(2 rate L2 / (1 + momentum))',
    ylabel='measured, the last half',
    xscale='log',
    yscale='log',
  )
  for momentum, color in COLORS.items():
    beside.plot([], [], 'o', color=color, label=f'momentum {momentum:g}')
  beside.plot([], [], color='0.3', lw=0.8, ls='--', label='Wan et al. 2020')
  beside.legend(frameon=False)
  figure.suptitle(
    f'How far weights below BN turn in a step under L2: MLP, {args.data} '
    f'({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


def _rows(found) -> dict[str, Any]:
  return {
    'rows': [
      {
        **setting._asdict(),
        'predicted': setting.angle,
        'angle': own.angle_R.tolist(),
        'logits': own.logits_R.tolist(),
        'balance': own.balance_R.tolist(),
        'test_accuracy': own.accuracy_R.tolist(),
      }
      for setting, own in found.items()
    ]
  }


if __name__ == '__main__':
  sys.exit(main())
