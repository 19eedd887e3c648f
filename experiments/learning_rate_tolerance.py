"""The largest learning rate that trains, by initialization and normalizer.

Claim:    BN allows much higher learning rates, and less care about the initial
          weights.
Source:   Ioffe & Szegedy 2015, sections 3.3 and 4.2.2 (and the abstract, arXiv
          1502.03167: 5 times Inception's learning rate trains faster, and 30
          times it does best).
Scale:    the network of Figure 1 on MNIST, 2,000 steps of plain SGD. The
          paper's factors are of Inception on ImageNet, with a schedule.
Room:     training
Config:   configs/learning_rate_tolerance.py:data=mnist,seeds=3
Command:  python -m experiments.learning_rate_tolerance --data=mnist --seeds=3
Cost:     14 minutes on two cores of an AMD EPYC that also ran tests.
Result:   experiments/results/learning_rate_tolerance_*.{png,svg,json}

The network is trained from every learning rate and every deviation of the
initial weights. A run trains if its test accuracy reaches 90% of the best
run's; a run that has diverged does not. The line in the figure is the largest
rate at which most seeds train. [Vectorized
sweeps](../benchmarks/README.md#sweeps) are made for this.
"""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from configs import learning_rate_tolerance as study
from experiments import _study
from experiments._table import Table

NOTES = """
Without a normalizer the largest learning rate that trains is 3, and only from
deviations of 0.01 to 0.3. With BN it is 30, from 0.001 to 0.3. With layer
normalization it is 10. Each rate is for the best deviation, and it is the same
in all three seeds.
"""

LABELS = {'none': 'no normalizer', 'batch': 'BN', 'layer': 'layer norm'}
TRAINS = 0.9  # of the best accuracy
PUBLISHED_FACTOR = 5  # BN-x5 trains faster than BN with Inception's rate

# {norm: accuracy of each (learning rate, deviation, seed)}, NaN if diverged.
Accuracies = dict[str, np.ndarray]


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  args = _study.parser(
    'learning_rate_tolerance', __doc__, steps=2000, launcher='vectorized'
  ).parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  if args.dry_run or args.scale == 'ci':
    arg += ',rates=2,stds=2'
  return _study.conduct(
    args,
    study.get_config,
    arg,
    _print_and_judge,
    draw,
    notes=_notes,
  )


def accuracies_of(runs: Sequence[bnr.Run]) -> Accuracies:
  """Returns the final test accuracies; see `Accuracies`."""
  found = _study.grouped(
    runs, 'norm.name', 'optim.learning_rate', 'model.init_std'
  )
  norms, rates, stds = ([*dict.fromkeys(k)] for k in zip(*found))
  return {
    norm: np.asarray(
      [
        [[_final(run) for run in found[norm, rate, std]] for std in stds]
        for rate in rates
      ]
    )
    for norm in norms
  }


def _final(run):
  return _study.final(run) if run.status['status'] == 'done' else np.nan


def trains(accuracies: Accuracies) -> Accuracies:
  """Returns which runs have trained, bool, in the same form."""
  best = max(np.nanmax(value) for value in accuracies.values())
  return {
    # NaN is not larger than anything.
    norm: np.nan_to_num(value) > TRAINS * best
    for norm, value in accuracies.items()
  }


def largest_rates(trained_LIR: np.ndarray) -> np.ndarray:
  """Returns the largest learning rate that trains, (deviations, seeds).

  0 where none does.
  """
  rates_L11 = np.asarray(study.RATES)[: len(trained_LIR), None, None]
  return (rates_L11 * trained_LIR).max(0)


def _print_and_judge(runs):
  accuracies = accuracies_of(runs)
  table({'accuracies': accuracies}).show()
  return judge(trains(accuracies))


def judge(trained: Accuracies) -> list[claims.Claim]:
  """Returns the claims of the paper, judged for each seed.

  Args:
    trained: from `trains`.
  """
  rates = {norm: largest_rates(value) for norm, value in trained.items()}
  # From each one's best initialization, so that care about it plays no part.
  with_bn_R, without_R = rates['batch'].max(0), rates['none'].max(0)
  wide = {norm: (value > 0).sum(0) for norm, value in rates.items()}
  ratio_R = with_bn_R / np.maximum(without_R, min(study.RATES))
  factor = f'{_study.plus_minus(ratio_R, ".3g")} times'
  common_R = _common(rates['batch']) / np.maximum(
    _common(rates['none']), min(study.RATES)
  )
  count = trained['batch'].shape[1]
  return [
    claims.Claim(
      'each from its best initialization',
      'BN trains by a larger learning rate',
      f'{PUBLISHED_FACTOR} times, BN-x5; even 30 times',
      f'up to {_study.plus_minus(with_bn_R, ".3g")}, without it '
      f'{_study.plus_minus(without_R, ".3g")}: {factor}',
      tuple(bool(r > 1) for r in ratio_R),
    ),
    claims.Claim(
      'over all initializations',
      'BN trains by a larger learning rate',
      'BN "allows us to use much higher learning rates and be less careful '
      'about initialization"',
      'median over the initializations of the largest rate: '
      f'{_study.plus_minus(common_R, ".3g")} times',
      tuple(bool(r > 1) for r in common_R),
    ),
    claims.Claim(
      'by its best learning rate',
      'BN trains from more initializations',
      'the same',
      f'{_study.plus_minus(wide["batch"], ".1f")} of {count} deviations, '
      f'without it {_study.plus_minus(wide["none"], ".1f")}',
      tuple(bool(a > b) for a, b in zip(wide['batch'], wide['none'])),
    ),
  ]


def _common(rates_IR):
  return np.median(rates_IR, axis=0)


def table(result: dict[str, Any]) -> Table:
  """Returns the largest learning rate that trains from each deviation."""
  accuracies = {k: np.asarray(v) for k, v in result['accuracies'].items()}
  rates = {k: largest_rates(v) for k, v in trains(accuracies).items()}
  rows = []
  for i, std in enumerate(study.STDS[: rates['batch'].shape[0]]):
    largest = [np.median(of_norm[i]) for of_norm in rates.values()]
    rows.append([f'{std:g}', *(f'{x:g}' if x else 'none' for x in largest)])
  columns = ['initial std', *(LABELS[norm] for norm in rates)]
  return Table(
    columns, rows, 'Largest learning rate that trains, median of the seeds.'
  )


def _notes(runs):
  accuracies = accuracies_of(runs)
  rates, stds, _ = accuracies['batch'].shape
  return {
    'learning_rates': study.RATES[:rates],
    'init_stds': study.STDS[:stds],
    'accuracies': {
      norm: np.where(np.isnan(value), -1, value).round(4).tolist()
      for norm, value in accuracies.items()
    },
    'accuracy_of_diverged': -1,
  }


def draw(runs: Sequence[bnr.Run], args) -> None:
  """Draws a phase diagram of each normalizer.

  Color is the mean accuracy. A cross marks a point where a seed diverged. The
  line is above the points that train in most seeds.
  """
  accuracies = accuracies_of(runs)
  trained = trains(accuracies)
  figure, panels = _study.canvas(
    1, len(accuracies), (3.3 * len(accuracies) + 0.6, 3.4), sharey=True
  )
  rates, stds, _ = accuracies['batch'].shape
  for panel, (norm, value_LIR) in zip(panels[0], accuracies.items()):
    mean_LI = np.nan_to_num(value_LIR).mean(-1)
    image = panel.imshow(
      mean_LI, origin='lower', cmap='viridis', vmin=0.1, vmax=1, aspect='auto'
    )
    diverged = np.argwhere(np.isnan(value_LIR).any(-1))
    panel.plot(*diverged.T[::-1], 'x', color='white', markersize=5)
    for i in range(stds):
      most = np.flatnonzero(trained[norm][:, i].mean(-1) > 0.5)
      if len(most):
        top = most.max() + 0.5
        panel.plot([i - 0.5, i + 0.5], [top, top], color='#ff5533', linewidth=2)
    panel.set_title(LABELS[norm])
    panel.set_xticks(range(stds), [f'{s:g}' for s in study.STDS[:stds]])
    panel.set_yticks(range(rates), [f'{r:g}' for r in study.RATES[:rates]])
    panel.set_xlabel('deviation of the initial weights')
    panel.grid(visible=False)
  panels[0, 0].set_ylabel('learning rate')
  figure.colorbar(image, ax=panels[0], label='test accuracy')
  _study.save(figure, args.output)


if __name__ == '__main__':
  sys.exit(main())
