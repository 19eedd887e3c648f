"""Does BN make the optimization landscape smoother?

Claim:    Along the gradient, with BN the loss varies less, the gradient itself
          is more predictive, and effective beta-smoothness is lower: BN makes
          the landscape smoother.
Source:   Santurkar et al. 2018, section 3.2 and Figure 4 (arXiv 1805.11604).
Scale:    LeNet and ten dense layers, with ReLUs, on digits of 8 x 8 pixels,
          1,000 steps. The paper has VGG on CIFAR-10, 15,000 steps, and 25
          linear layers that solve a regression.
Room:     probes
Config:   configs/landscape.py:seeds=3
Command:  python -m experiments.santurkar2018_landscape --seeds=3
Cost:     about 80 s on two CPU cores.
Result:   experiments/results/santurkar2018_landscape_*.{png,svg,json}

At a step the network is moved down the gradient of a batch by 1/2 to 4 times
the learning rate, as in the paper, and the loss and the gradient of that batch
are taken there; its own statistics normalize. The range is the largest loss
less the smallest. The change is the largest ||G' - G||: it is small if the
gradient predicts. Effective beta-smoothness is the largest change over the
distance. The batch is fixed, 128 training examples; the paper's is the step's.

A run has the median over its records. The paper compares at the same step,
where the network with BN has learned more. So the same is asked of the records
in which the training loss is 0.1 to 2 nats: while each network learns.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from configs import landscape as study
from experiments import _chart, _study
from experiments._table import Table

NOTES = """
The direction holds, the size does not. While each network learns, the range of
the loss is about 20 times smaller with BN, and the gradient changes five times
less: not close to two orders of magnitude. At the same step the ratios are
larger, because the network with BN is nearly done where the other one learns.

Effective beta-smoothness differs least, by a factor of 1.2 to 2.1 while the
networks learn. Over all steps of ten dense layers it is higher with BN in two
of three seeds: once the plain network has learned, its gradient is as small,
and its landscape as flat.

For its first 50 to 100 steps a plain network stands on a plateau, near the loss
of a guess. There its landscape is flatter by every measure than that of the
network with BN, which learns from the first step. We added the window of losses
in which a network learns after first trials had shown that plateau.
"""

NORMS = {'none': 'without BN', 'batch': 'with BN'}
COLORS = {'none': '#c0504d', 'batch': '#2e75b6'}
NAMES = {'lenet': 'LeNet', 'mlp': 'ten dense layers'}
PROBE = 'probe/gradient_landscape'
RANGE, CHANGE, SMOOTHNESS, RELATIVE = QUANTITIES = (
  *('loss_range', 'change', 'smoothness', 'relative'),
)
TITLES = {
  RANGE: 'range of the loss, in nats',
  CHANGE: "gradient's change, ||G' - G||",
  SMOOTHNESS: 'effective beta-smoothness',
  RELATIVE: "||G' - G|| / ||G||",
}
SHORT = {
  RANGE: 'range of the loss',
  CHANGE: "gradient's change",
  SMOOTHNESS: 'beta-smoothness',
  RELATIVE: 'relative change',
}
TICKS = {SMOOTHNESS: (2, 5, 10, 20), RELATIVE: (0.5, 1, 2, 5, 10)}
LEARNS = (0.1, 2.0)  # nats of the training loss, in which a network learns
ALL, LEARNING = WHEN = 'all steps', 'while it learns'
_RATIO = 1.4  # of the steps at the ends of a bin
MUCH = 30.0  # times; 'close to two orders of magnitude'

# Medians over the records of a run, {norm: {quantity: by seed}}.
Found = dict[str, dict[str, np.ndarray]]


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser('santurkar2018_landscape', __doc__, steps=1000)
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  return _study.conduct(args, study.get_config, arg, judge, draw, _notes)


def _grouped(runs):
  return _study.grouped(runs, 'model.name', 'norm.name')


def finite(run: bnr.Run, quantity: str) -> tuple[np.ndarray, np.ndarray]:
  """Returns a quantity's steps and values; one that is not finite is inf."""
  steps, values = run.metrics[f'{PROBE}/{quantity}']
  return steps, np.where(np.isfinite(values), values, np.inf)


def median(run: bnr.Run, quantity: str, when: str) -> float:
  """Returns a quantity's median over all records, or while the network learns.

  NaN if it never has a loss of `LEARNS`.
  """
  steps, values = finite(run, quantity)
  if when == LEARNING:
    loss = np.interp(steps, *run.metrics['train/loss'])
    values = values[(loss >= LEARNS[0]) & (loss <= LEARNS[1])]
  return float(np.median(values)) if len(values) else np.nan


def judge(runs: Sequence[bnr.Run]) -> list[claims.Claim]:
  """Returns the claims of Figure 4 about each network."""
  groups = _grouped(runs)
  result = []
  for network in dict.fromkeys(network for network, _ in groups):
    for when in WHEN:
      found = {
        norm: {
          q: np.array([median(r, q, when) for r in groups[network, norm]])
          for q in QUANTITIES
        }
        for norm in NORMS
      }
      result += judge_one(f'{NAMES[network]}, {when}', found)
  return result


def judge_one(setting: str, found: Found) -> list[claims.Claim]:
  """Judges one network without and with BN."""
  plain, normed = found['none'], found['batch']

  def less(claim, quantity, published, times=1.0):
    ratio_R = plain[quantity] / normed[quantity]
    return claims.Claim(
      setting,
      claim,
      published,
      f'{_study.plus_minus(normed[quantity], ".2g")} with BN, '
      f'{_study.plus_minus(plain[quantity], ".2g")} without; ratio '
      f'{_study.plus_minus(ratio_R, ".2g")}',
      tuple(bool(r > times) for r in ratio_R),
    )

  return [
    less('the loss varies less along the gradient', RANGE, 'yes, Figure 4a'),
    less('the gradient changes less along itself', CHANGE, 'yes, Figure 4b'),
    less(
      f'it changes {MUCH:g} times less, or more',
      CHANGE,
      'close to two orders of magnitude',
      MUCH,
    ),
    less('effective beta-smoothness is lower', SMOOTHNESS, 'yes, Figure 4c'),
    less('it changes less in relation to its norm', RELATIVE, 'no number'),
  ]


def binned(
  runs: Sequence[bnr.Run], quantity: str
) -> tuple[np.ndarray, np.ndarray]:
  """Returns steps (B,), and each run's median around them, (R, B).

  The bins grow with the step, as the axis is logarithmic; step 0 is at 0.5.
  """
  series = [finite(run, quantity) for run in runs]
  shared = min((steps for steps, _ in series), key=len)
  at = np.maximum(shared, 0.5)
  bins = np.floor(np.log(at / at[0]) / np.log(_RATIO))
  chosen = [np.flatnonzero(bins == b) for b in np.unique(bins)]
  middle_B = np.array([np.exp(np.log(at[rows]).mean()) for rows in chosen])
  values_RB = [
    [np.median(values[rows]) for rows in chosen] for _, values in series
  ]
  return middle_B, np.array(values_RB)


def _notes(runs):
  """Returns what the figure shows: medians over the seeds."""
  values, steps_B = {}, np.array([])
  for (network, norm), group in _grouped(runs).items():
    for quantity in QUANTITIES:
      steps_B, values_RB = binned(group, quantity)
      values[f'{network}, {norm}, {quantity}'] = [
        _short(value) if np.isfinite(value) else None
        for value in np.median(values_RB, axis=0)
      ]
  steps = [_short(step) for step in steps_B]
  return {'medians_over_seeds': {'steps': steps, 'values': values}}


def _short(value):
  return float(f'{value:.4g}')


def curves(result: dict[str, Any]) -> _chart.Curves:
  """Returns the medians over seeds during training, for the site."""
  medians, rows = result['medians_over_seeds'], []
  with_bn_first = sorted(
    medians['values'].items(), key=lambda item: ', batch, ' not in item[0]
  )
  for name, values in with_bn_first:
    network, norm, quantity = name.split(', ')
    title = f'{NAMES[network]}: {SHORT[quantity]}'
    rows += [
      (title, NORMS[norm], step, value)
      for step, value in zip(medians['steps'], values)
      if value is not None
    ]
  return _chart.Curves(
    'training steps', 'along the gradient', rows, 'Medians over the seeds.'
  )


def table(result: dict[str, Any]) -> Table:
  """Returns the last test accuracies, by network and norm."""
  found: dict[tuple[str, str], list[float]] = {}
  for run in result['runs']:
    network, _, norm = run['run'].partition(',')[0].partition('_')
    found.setdefault((network, norm), []).append(run['test_accuracy'])
  rows = [
    [f'{NAMES[network]}, {NORMS[norm]}', _study.plus_minus(values, '.2%')]
    for (network, norm), values in found.items()
  ]
  return Table(['network', 'last test accuracy'], rows)


def draw(runs: Sequence[bnr.Run], args) -> None:
  """Writes the figure: a row of panels per network, the range of seeds."""
  groups = _grouped(runs)
  networks = [*dict.fromkeys(network for network, _ in groups)]
  size = (11, 2.6 * len(networks) + 0.6)
  figure, panels = _study.canvas(len(networks), 4, size, sharex=True)
  for row, network in zip(panels, networks):
    for panel, quantity in zip(row, QUANTITIES):
      for norm, name in NORMS.items():
        steps_B, values_RB = binned(groups[network, norm], quantity)
        values_RB = np.where(np.isfinite(values_RB), values_RB, np.nan)
        low_B, middle_B, high_B = np.quantile(values_RB, (0, 0.5, 1), axis=0)
        color = COLORS[norm]
        panel.plot(steps_B, middle_B, color=color, lw=1.5, label=name)
        panel.fill_between(steps_B, low_B, high_B, color=color, alpha=0.2, lw=0)
      panel.set(xscale='log', yscale='log', title=TITLES[quantity])
      panel.minorticks_off()
      if ticks := TICKS.get(quantity):
        panel.set_yticks(ticks, [f'{tick:g}' for tick in ticks])
    row[0].set_ylabel(NAMES[network])
  for panel in panels[-1]:
    panel.set_xlabel('steps (left end: none)')
  panels[0, 0].legend(frameon=False)
  figure.suptitle(
    'Santurkar et al. 2018, Figure 4: 1/2 to 4 steps down the gradient, '
    f'{args.data} (median and range of {_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
