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
Cost:     110 s on two busy CPU cores.
Result:   experiments/results/whitening_*.{png,svg,json}

A method has the learning rate, of 0.1, 0.3 and 1, with which its training
loss is lowest in the end. Its speed is the first step at which the mean loss of
10 steps is below 0.1. Steps are timed in one process, in three rounds. In each
the methods take ten turns of 100 steps, and the fastest counts. Times are
relative to those without any whitening in the same round. IterNorm whitens
blocks of 50 channels, or of 10, by batches of 60 examples.
"""

import os
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from bnresearch import command
from bnresearch.reports import claims
from configs import whitening as study
from experiments import _study, _whitening
from experiments._table import Table

NOTES = """
Whitened inputs halve the steps to a loss of 0.1, at no cost a step, and BN
takes less than a third of the steps. But the accuracy on test images falls by
one to two points: whitening makes as much of directions of hardly any variance
as of the others. IterNorm in blocks of 50 channels, whose covariance comes from
60 examples, trains no faster than nothing, for at least ten times the time of a
step; in blocks of 10 it does, and is as accurate as BN. The published gain is
of networks with more values a channel. Other programs ran on the machine; the
load is in the result.
"""

# What is said of which number: it is better in the first method than in the
# second, that is, higher if it is an accuracy, and lower otherwise.
CLAIMS = (
  *(
    (
      'speed of training',
      f'{words} brings the loss below {_whitening.REACHED:g} sooner',
      published,
      'reached_R',
      name,
      'none',
    )
    for name, words, published in (
      ('inputs by PCA', 'PCA of the inputs', 'yes, section 2; no number'),
      ('inputs by ZCA', 'ZCA of the inputs', 'yes, section 2; no number'),
      ('BN', 'BN', 'yes; no number of this network'),
      ('IterNorm', 'IterNorm', 'yes, section 2; no number'),
    )
  ),
  (
    'accuracy',
    'IterNorm is more accurate than BN',
    'error 0.79 points lower, WRN-28-10 on CIFAR-10',
    'accuracy_R',
    'IterNorm',
    'BN',
  ),
  (
    'correlation of channels',
    'IterNorm leaves less of it than BN',
    'what it is for; no number',
    'correlation_R',
    'IterNorm',
    'BN',
  ),
  (
    'time of a step',
    'BN takes less than the whitening of layers',
    'that is costly, section 3; no number',
    'times',
    'BN',
    'IterNorm',
  ),
  (
    'time of a step',
    'the whitening of inputs takes less than that of layers',
    'no number',
    'times',
    'inputs by ZCA',
    'IterNorm',
  ),
)
COLORS = {
  'none': '#777777',
  'inputs by PCA': '#6a9a3c',
  'inputs by ZCA': '#a8c98a',
  'BN': '#2e75b6',
  'BN, inputs by ZCA': '#7fb0dd',
  'IterNorm': '#c0504d',
  'IterNorm, blocks of 10': '#e39a97',
}


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser('whitening', __doc__, steps=600, launcher='vectorized')
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  return _study.conduct(
    args,
    study.get_config,
    arg,
    _print_and_judge,
    draw,
    notes,
    _whitening.measure,
  )


def _print_and_judge(found):
  table(notes(found)).show()
  return judge(found)


def judge(found: _whitening.Methods) -> list[claims.Claim]:
  """Returns the claims, by seed, and those of time by round."""
  judged = []
  for setting, words, published, what, first, second in CLAIMS:
    one, other = (getattr(found[name], what) for name in (first, second))
    holds = one > other if what == 'accuracy_R' else one < other
    say = SAID[what]
    measured = f'{first}: {say(one)}; {second}: {say(other)}'
    judged.append(
      claims.Claim(setting, words, published, measured, tuple(holds.tolist()))
    )
  return judged


def _mean(reached_R):
  return f'{reached_R.mean():,.0f}' if np.isfinite(reached_R).all() else 'never'


def _ratios(times):
  return '/'.join(f'{value:.2f}' for value in times)


SAID = {
  'reached_R': lambda reached_R: f'step {_mean(reached_R)}',
  'accuracy_R': lambda value_R: _study.plus_minus(value_R, '.2%'),
  'correlation_R': lambda value_R: _study.plus_minus(value_R, '.3f'),
  'times': lambda times: f'{_ratios(times)} times that of none',
}


def notes(found: _whitening.Methods) -> dict[str, Any]:
  """Returns the numbers of each method, and how busy the machine was."""
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
        'times_none': method.times.tolist(),
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
      f'step of loss {_whitening.REACHED:g}',
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


def draw(found: _whitening.Methods, args) -> None:
  """Writes the figure: losses by step, accuracies, and times of a step."""
  figure, (panels,) = _study.canvas(1, 3, (11, 3.6))
  loss, accuracy, time = panels
  for place, (name, method) in enumerate(found.items()):
    color = COLORS[name]
    steps_T, loss_RT = method.steps_T, np.maximum(method.loss_RT, 1e-4)
    loss.plot(steps_T, np.exp(np.log(loss_RT).mean(0)), color=color)
    loss.fill_between(
      steps_T, loss_RT.min(0), loss_RT.max(0), color=color, alpha=0.15, lw=0
    )
    value_R = method.accuracy_R
    accuracy.plot(value_R, np.full(len(value_R), place), 'o', color=color)
    time.plot(method.times, np.full(_whitening.ROUNDS, place), 'o', color=color)
  loss.axhline(_whitening.REACHED, color='0.6', lw=0.8, ls=':')
  loss.set(yscale='log', xlabel='step', title='training loss')
  labels = [f'{name}, rate {m.rate:g}' for name, m in found.items()]
  accuracy.set_yticks(range(len(found)), labels)
  for label, color in zip(accuracy.get_yticklabels(), COLORS.values()):
    label.set_color(color)
  accuracy.set(title='test accuracy, a dot for each seed')
  accuracy.xaxis.set_major_formatter(lambda x, _: f'{x:.1%}')
  time.set_yticks(range(len(found)), [''] * len(found))
  time.set(
    title='time of a step, a dot for each round',
    xlabel='times that of none',
    xscale='log',
    xticks=(1, 2, 5, 10, 20),
    xticklabels=('1', '2', '5', '10', '20'),
  )
  for panel in (accuracy, time):
    panel.invert_yaxis()
  figure.suptitle(
    f'Whitening of inputs and of layers: 3 x 100 ReLUs, {args.data} '
    f'({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
