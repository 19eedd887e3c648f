"""Figure 1 of the BN paper: a network of sigmoids, with BN and without.

Claim:    With BN the network trains faster, it reaches a higher test accuracy,
          and the inputs to its sigmoids have a more stable distribution.
Source:   Ioffe & Szegedy 2015, Figure 1 (section 4.1, arXiv 1502.03167).
Scale:    as published on MNIST: batches of 60, 50,000 steps. The digits are a
          smaller set of the same kind.
Room:     norms
Config:   configs/figure1.py:init=both,data=mnist,seeds=3
Command:  python -m experiments.ioffe2015_figure1 --data=mnist --seeds=3
Cost:     5 minutes 50 seconds for the 12 runs on MNIST, on two cores of an AMD
          EPYC that also ran tests. The digits take about a minute.
Result:   experiments/results/ioffe2015_figure1_*.{png,svg,json}

Three layers of 100 sigmoids are trained by SGD with learning rate 0.1. The
paper names neither the learning rate nor the size of the initial weights, which
decides the outcome. It says "small random Gaussian": each row of the figure is
one reading of this. `make demo` draws it on the digits.

Panel (a) is the test accuracy. (b) and (c) are the 15th, 50th and 85th
percentile of the inputs to one typical sigmoid of the last hidden layer. (d),
which the paper lacks, is how far the percentiles of every layer have moved.
"""

import pathlib
import sys
from collections.abc import Sequence

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims, drift
from configs import figure1
from experiments import _study

COMMANDS = {
  'ioffe2015_figure1_digits': 'python -m experiments.ioffe2015_figure1'
}

NOTES = """
With tight weights the plain network stays at chance for about 10,000 steps.

With larger weights the distributions are not more stable in every respect. With
BN their spread is steadier, a 1.8-fold change against a 25-fold one. Their
median is not.
"""

INITS = {0.01: 'tight init, std 0.01', 0.1: 'easy init, std 0.1'}
NORMS = {'none': 'without BN', 'batch': 'with BN'}
COLORS = {'none': '#c0504d', 'batch': '#2e75b6'}
STYLES = {'-': '—', '--': '- -', ':': '···'}  # of the layers, bottom to top


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser(
    'ioffe2015_figure1',
    __doc__,
    steps=50_000,
    paper={'data': 'mnist', 'seeds': 3},
  )
  args = parser.parse_args(argv)
  arg = f'data={args.data},init=both,seeds={args.seeds},steps={args.steps}'
  return _study.conduct(
    args,
    figure1.get_config,
    arg,
    judge,
    lambda runs, args: draw(runs, args.data, args.output),
    _typical_units,
    _by_point,
  )


def _by_point(runs):
  return _study.grouped(runs, 'model.init_std', 'norm.name')


def _typical_units(runs):
  """Notes which unit's inputs the panels show."""
  return {
    'units': {
      f'{std},{norm}': drift.typical_unit(group[0])
      for (std, norm), group in runs.items()
    },
    'unit_is': drift.TYPICAL,
  }


def judge(runs: dict[tuple[float, str], list[bnr.Run]]) -> list[claims.Claim]:
  """Returns the paper's three claims about each initialization."""
  return [
    claim
    for std, setting in INITS.items()
    for claim in _judge_one(setting, runs[std, 'none'], runs[std, 'batch'])
  ]


def _judge_one(setting, plain, normed):
  final = {}
  for name, group in (('plain', plain), ('normed', normed)):
    final[name] = np.array([_study.final(run) for run in group])
  reached = [
    (_first_step(n, target), _first_step(p, target))
    for p, n, target in zip(plain, normed, final['plain'])
  ]
  moved = {
    name: np.array([drift.movement(run) for run in group])
    for name, group in (('plain', plain), ('normed', normed))
  }
  never = any(n is None for n, _ in reached)
  with_bn = (
    'never'
    if never
    else (f'after {np.mean([n for n, _ in reached]):,.0f} steps')
  )
  return [
    claims.Claim(
      setting,
      'trains faster',
      'yes, Fig. 1(a)',
      f"the plain network's final accuracy is reached {with_bn} with BN, "
      f'{np.mean([p for _, p in reached]):,.0f} without',
      tuple(n is not None and n < p for n, p in reached),
    ),
    claims.Claim(
      setting,
      'higher test accuracy',
      'yes, Fig. 1(a)',
      f'{_study.plus_minus(final["normed"], ".2%")} with BN, '
      f'{_study.plus_minus(final["plain"], ".2%")} without',
      tuple(bool(h) for h in final['normed'] > final['plain']),
    ),
    claims.Claim(
      setting,
      'more stable distributions',
      'yes, Fig. 1(b, c)',
      'inputs to the last sigmoids over the run: median moves by '
      f'{_study.plus_minus(moved["normed"][:, 0], ".2f")} with BN, '
      f'{_study.plus_minus(moved["plain"][:, 0], ".2f")} without; spread '
      f'changes {_study.plus_minus(moved["normed"][:, 1], ".3g")}-fold with '
      f'BN, {_study.plus_minus(moved["plain"][:, 1], ".3g")}-fold without',
      tuple(
        bool((n < p).all()) for n, p in zip(moved['normed'], moved['plain'])
      ),
    ),
  ]


def _first_step(run, accuracy):
  steps, values = run.metrics['test/accuracy']
  there = np.flatnonzero(values >= accuracy)
  return int(steps[there[0]]) if len(there) else None


def draw(
  runs: dict[tuple[float, str], list[bnr.Run]], data: str, output: pathlib.Path
) -> None:
  """Writes `output`.png and .svg: a row of four panels per initialization."""
  figure, axes = _study.canvas(len(INITS), 4, (13, 6), sharex=True)
  for panel in axes.flat:
    panel.grid(False)
    panel.xaxis.set_major_formatter(
      lambda x, _: f'{x / 1000:g}K' if x >= 1000 else f'{x:g}'
    )
  for row, (std, setting) in zip(axes, INITS.items()):
    _draw_accuracy(row[0], {n: runs[std, n] for n in NORMS})
    row[0].set_ylabel(f'{setting}\n\ntest accuracy')
    for panel, letter, norm in zip(row[1:3], 'bc', NORMS):
      _draw_percentiles(panel, runs[std, norm][0])
      panel.set_title(f'({letter}) {NORMS[norm]}')
    row[1].set_ylabel('input to one sigmoid')
    row[2].sharey(row[1])
    _draw_drift(row[3], {n: runs[std, n] for n in NORMS})
  axes[0, 0].legend(loc='lower right', frameon=False)
  for panel in axes[-1]:
    panel.set_xlabel('training steps')
  seeds = len(runs[next(iter(INITS)), 'none'])
  figure.suptitle(
    f'Ioffe & Szegedy 2015, Figure 1, on {data} ({_study.seeds(seeds)})'
  )
  _study.save(figure, output)


def _draw_accuracy(panel, groups):
  for norm, group in groups.items():
    steps = group[0].metrics['test/accuracy'].steps
    values = np.stack([run.metrics['test/accuracy'].values for run in group])
    color = COLORS[norm]
    panel.plot(steps, values.mean(axis=0), color=color, label=NORMS[norm])
    panel.fill_between(
      steps, values.min(axis=0), values.max(axis=0), color=color, alpha=0.2
    )
  panel.set_title('(a) accuracy')
  panel.set_ylim(0, 1)
  panel.grid(alpha=0.3)


def _draw_percentiles(panel, run):
  unit, layer = drift.typical_unit(run), drift.layers(run)[-1]
  steps, values_TQC = run.metrics[f'{drift.PERCENTILES}/{layer}']
  color = COLORS[run.config.norm.name]
  low_T, median_T, high_T = values_TQC[:, :, unit].T
  panel.fill_between(steps, low_T, high_T, color=color, alpha=0.15)
  for values_T, width in ((low_T, 0.8), (median_T, 1.6), (high_T, 0.8)):
    panel.plot(steps, values_T, color=color, linewidth=width)
  panel.text(0.02, 0.02, f'{layer}, unit {unit}', transform=panel.transAxes)


def _draw_drift(panel, groups):
  for norm, group in groups.items():
    for layer, style in zip(drift.layers(group[0]), STYLES):
      per_run = [drift.of_layer(run, layer) for run in group]
      panel.plot(
        per_run[0][0],
        np.mean([drift_TC.mean(axis=1) for _, drift_TC in per_run], axis=0),
        style,
        color=COLORS[norm],
      )
  key = ', '.join(f'{k} {sign}' for k, sign in enumerate(STYLES.values(), 1))
  panel.set_title(f'(d) drift of layers {key}')


if __name__ == '__main__':
  sys.exit(main())
