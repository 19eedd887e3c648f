"""Whitening of inputs and of layers, beside BN: what it costs and brings.

Claim:    Training converges faster if a network's inputs are whitened. The
          whitening of each layer's is costly: BN normalizes each channel
          alone instead.
Source:   Ioffe & Szegedy 2015, sections 2 and 3 (arXiv 1502.03167; no numbers
          of whitening); Huang et al. 2019, IterNorm (arXiv 1904.03441; its
          numbers of WRN-28-10 are those of a secondary summary).
Scale:    three layers of 100 ReLUs on digits of 8 x 8 pixels. IterNorm was
          published with wide residual networks on CIFAR-10 and ImageNet.
Room:     data
Config:   configs/whitening.py:seeds=3
Command:  python -m experiments.whitening --seeds=3
Cost:     80 s on two CPU cores.
Result:   experiments/results/whitening_*.{png,svg,json}

A method has the learning rate, of 0.1, 0.3 and 1, with which its training
loss is lowest in the end. Its speed is the first step at which the mean loss of
10 steps is below 0.1. Steps are timed in one process, in three rounds. In each
the methods take ten turns of 100 steps, and the fastest counts. Times are
relative to those without any whitening in the same round. IterNorm whitens
blocks of 50 channels.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.inference import profiling
from bnresearch.reports import claims
from configs import whitening as study
from experiments import _study
from experiments._table import Table

NOTES = """
"""

REACHED = 0.1  # training loss
# A round has several turns, of which the fastest counts: other work on the
# machine can only add to a time.
ROUNDS, TURNS, STEPS = 3, 10, 100
LOG = 'train/loss'
COLORS = {
  'none': '#777777',
  'inputs by PCA': '#6a9a3c',
  'inputs by ZCA': '#a8c98a',
  'BN': '#2e75b6',
  'BN, inputs by ZCA': '#7fb0dd',
  'IterNorm': '#c0504d',
}


class Found(NamedTuple):
  """What was measured of a method, at its learning rate.

  Attributes:
    rate: that learning rate.
    steps_T: of the logged losses.
    loss_RT: of each seed.
    reached_R: the step that reaches the loss, inf if none does.
    accuracy_R: the last one on the test images.
    correlation_R: mean |correlation| of two inputs of a layer's ReLUs, averaged
      over the layers.
    seconds: a step in each round.
  """

  rate: float
  steps_T: np.ndarray
  loss_RT: np.ndarray
  reached_R: np.ndarray
  accuracy_R: np.ndarray
  correlation_R: np.ndarray
  seconds: np.ndarray


Methods = dict[str, Found]


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser('whitening', __doc__, steps=600, launcher='vectorized')
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  return _study.conduct(
    args, study.get_config, arg, _print_and_judge, draw, notes, measure
  )


def measure(runs: Sequence[bnr.Run]) -> Methods:
  """Returns what was measured of each method, timed in turns."""
  groups = _study.grouped(
    runs, 'data.whitening', 'norm.name', 'optim.learning_rate'
  )
  chosen = {}
  for name, method in study.METHODS.items():
    by_rate = {key[-1]: g for key, g in groups.items() if key[:2] == method}
    chosen[name] = min(by_rate.items(), key=lambda item: _last_loss(item[1]))
  dry = runs[0].config.dry_run
  seconds = profiling.in_turns(
    [group[0] for _, group in chosen.values()],
    ROUNDS * (1 if dry else TURNS),
    1 if dry else STEPS,
  )
  seconds = seconds.reshape(len(chosen), ROUNDS, -1).min(2)
  return {
    name: _found(rate, group, seconds[k])
    for k, (name, (rate, group)) in enumerate(chosen.items())
  }


def _last_loss(group):
  """Returns the mean loss of the last tenth, over the seeds."""
  if any(_study.diverged(run) for run in group):
    return np.inf
  losses = [run.metrics[LOG].values for run in group]
  return np.mean([loss[-max(1, len(loss) // 10) :].mean() for loss in losses])


def _found(rate, group, seconds):
  losses = [run.metrics[LOG] for run in group]
  loss_RT = np.stack([loss.values for loss in losses])
  return Found(
    rate,
    losses[0].steps,
    loss_RT,
    np.array([_reached(loss.steps, loss.values) for loss in losses]),
    np.array([_study.final(run) for run in group]),
    np.array([_correlation(run) for run in group]),
    seconds,
  )


def _reached(steps_T, loss_T):
  below = np.flatnonzero(loss_T < REACHED)
  return float(steps_T[below[0]]) if len(below) else np.inf


def _correlation(run):
  layers = [
    series.values[-1]
    for name, series in run.metrics.items()
    if name.startswith('probe/channel_correlation/hidden_')
    and name.endswith('/correlation')
  ]
  return float(np.mean(layers))


def _print_and_judge(found):
  table(notes(found)).show()
  return judge(found)


def judge(found: Methods) -> list[claims.Claim]:
  """Returns the claims, by seed, and those of time by round."""
  none, batch = found['none'], found['BN']
  full = found['IterNorm']
  inputs = ('inputs by PCA', 'inputs by ZCA')
  faster = 'Ioffe & Szegedy 2015, section 2; no number'
  ratio = {
    name: method.seconds / none.seconds for name, method in found.items()
  }
  share = lambda a_R, form='.2%': _study.plus_minus(a_R, form)
  return [
    *(
      claims.Claim(
        'speed of training',
        f'{name} reaches a loss of {REACHED:g} sooner than nothing',
        faster,
        f'step {_mean(found[name].reached_R)}, without {_mean(none.reached_R)}',
        tuple((found[name].reached_R < none.reached_R).tolist()),
      )
      for name in (*inputs, 'BN', 'IterNorm')
    ),
    claims.Claim(
      'accuracy',
      'IterNorm is more accurate than BN',
      'error 0.79 points lower, WRN-28-10 on CIFAR-10',
      f'{share(full.accuracy_R)} with IterNorm, {share(batch.accuracy_R)} '
      'with BN',
      tuple((full.accuracy_R > batch.accuracy_R).tolist()),
    ),
    claims.Claim(
      'correlation',
      'IterNorm makes the channels of layers less correlated than BN',
      'what it is for; no number',
      f'mean |correlation| {share(full.correlation_R, ".3f")} with IterNorm, '
      f'{share(batch.correlation_R, ".3f")} with BN',
      tuple((full.correlation_R < batch.correlation_R).tolist()),
    ),
    claims.Claim(
      'time of a step',
      'the whitening of layers takes longer than BN, in each round',
      'it is costly, section 3; no number',
      f'{_ratios(ratio["IterNorm"])} times that of no norm, BN '
      f'{_ratios(ratio["BN"])}',
      tuple((full.seconds > batch.seconds).tolist()),
    ),
    claims.Claim(
      'time of a step',
      'the whitening of inputs takes less long than that of layers',
      'inputs need it once; no number',
      f'{_ratios(ratio["inputs by ZCA"])} times that of no norm, IterNorm '
      f'{_ratios(ratio["IterNorm"])}',
      tuple((found['inputs by ZCA'].seconds < full.seconds).tolist()),
    ),
  ]


def _mean(reached_R):
  return f'{reached_R.mean():,.0f}' if np.isfinite(reached_R).all() else 'never'


def _ratios(ratio):
  return '/'.join(f'{value:.2f}' for value in ratio)


def notes(found: Methods) -> dict[str, Any]:
  """Returns the numbers of each method, and how busy the machine was."""
  none = found['none'].seconds
  return {
    'load': [round(load, 1) for load in os.getloadavg()],
    'methods': {
      name: {
        'learning_rate': method.rate,
        'step_of_loss': [
          step if np.isfinite(step) else None
          for step in method.reached_R.tolist()
        ],
        'test_accuracy': method.accuracy_R.tolist(),
        'correlation': method.correlation_R.tolist(),
        'seconds': method.seconds.tolist(),
        'times_none': (method.seconds / none).tolist(),
      }
      for name, method in found.items()
    },
  }


def table(result: dict[str, Any]) -> Table:
  """Returns a row for each method."""
  rows = []
  for name, method in result['methods'].items():
    steps = method['step_of_loss']
    never = None in steps
    rows.append(
      [
        name,
        f'{method["learning_rate"]:g}',
        'never' if never else _study.plus_minus(steps, '.0f'),
        _study.plus_minus(np.multiply(100, method['test_accuracy']), '.2f'),
        _study.plus_minus(method['correlation'], '.3f'),
        f'{1e3 * min(method["seconds"]):.2f}',
        _ratios(method['times_none']),
      ]
    )
  return Table(
    [
      'whitened',
      'learning rate',
      f'step of loss {REACHED:g}',
      'test accuracy, %',
      'correlation',
      'ms a step',
      'times none',
    ],
    rows,
    'Mean ± standard deviation of the seeds. Milliseconds are those of the '
    'fastest round, ratios those of each, on a machine with a load of '
    f'{result["load"][0]:g}.',
  )


def draw(found: Methods, args) -> None:
  """Writes the figure: losses by step, accuracies, and times of a step."""
  figure, (panels,) = _study.canvas(1, 3, (13, 4))
  loss, accuracy, time = panels
  names = [*found]
  for place, (name, method) in enumerate(found.items()):
    color = COLORS[name]
    steps_T, loss_RT = method.steps_T, np.maximum(method.loss_RT, 1e-4)
    label = f'{name}, rate {method.rate:g}'
    loss.plot(
      steps_T, np.exp(np.log(loss_RT).mean(0)), color=color, label=label
    )
    loss.fill_between(
      steps_T, loss_RT.min(0), loss_RT.max(0), color=color, alpha=0.15, lw=0
    )
    value_R = method.accuracy_R
    accuracy.plot(value_R, np.full(len(value_R), place), 'o', color=color)
    ratio = method.seconds / found['none'].seconds
    time.plot(ratio, np.full(len(ratio), place), 'o', color=color)
  loss.axhline(REACHED, color='0.6', lw=0.8, ls=':')
  loss.set(yscale='log', xlabel='step', title='training loss')
  loss.legend(frameon=False, fontsize=7)
  accuracy.set(title='test accuracy, a dot for each seed')
  accuracy.xaxis.set_major_formatter(lambda x, _: f'{x:.1%}')
  time.set(
    title='time of a step, a dot for each round',
    xlabel='times that of none',
    xscale='log',
  )
  for panel in (accuracy, time):
    panel.set_yticks(range(len(names)), names)
    panel.invert_yaxis()
  figure.suptitle(
    f'Whitening of inputs and of layers: 3 x 100 ReLUs, {args.data} '
    f'({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
