"""BN and layer normalization in an LSTM, for fixed and variable lengths.

Claim:    BN needs statistics of its own for each time step of a recurrent
          network, and a small initial gamma; sequences of variable length are
          hard for it. Layer normalization needs neither.
Source:   Cooijmans et al. 2016 (arXiv 1603.09025); Ba et al. 2016 (arXiv
          1607.06450); the source documents name RNNs as a weakness of BN.
Scale:    an LSTM of 32 units that reads Fashion-MNIST row by row, 28 steps,
          500 updates. The papers read MNIST pixel by pixel, and text.
Room:     models
Config:   configs/recurrent.py:seeds=3
Command:  python -m experiments.cooijmans2016_recurrent --seeds=3
Cost:     about 4 min on two CPU cores.
Result:   experiments/results/cooijmans2016_recurrent_*.{png,svg,json}

A sequence of variable length ends with an image's last row that is not blank.
Training normalizes each time step by the batch's statistics of that step.
*Shared* statistics are the mean over all steps of what *separate* ones are at
each. Running statistics normalize the test images, or those of 1,000 test
images at a time. All points share optimizer and learning rate.
"""

import sys
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from rich.progress import track

import bnresearch as bnr
from bnresearch import command
from bnresearch.reports import claims
from configs import recurrent as study
from experiments import _study
from experiments._table import Table

NOTES = """
BN trains the best networks, with 17% of errors against 19%, if test images are
normalized together. By its running statistics it has 32%: after 500 steps
they are far from the batch's, whether each time step has its own or not. Layer
normalization has no such gap. Variable lengths change little for either. A
gamma of 0.1 is no better than 1 here.
"""

NAMES = {
  'none': 'no norm',
  'separate': 'BN, separate',
  'shared': 'BN, shared',
  'gamma_1': 'BN, separate, gamma 1',
  'layer': 'layer norm',
}
COLORS = dict(
  zip(NAMES, ('#777777', '#2e75b6', '#c0504d', '#9ecae1', '#3c8d5a'))
)
SEQUENCES = {'whole': 'fixed length', 'until_blank': 'variable length'}
STATISTICS = {'ema': 'running', 'batch': 'of 1,000 test images'}
MARKS = {'ema': 'o', 'batch': 'x'}


class Found(NamedTuple):
  """What R seeds of one network came to, on the test images.

  Attributes:
    steps: of the curve.
    curve: accuracy at each step (R, T), by running statistics.
    error: {statistics: last error (R,)}, of each of `STATISTICS`.
  """

  steps: np.ndarray
  curve: np.ndarray
  error: dict[str, np.ndarray]


Grid = dict[tuple[str, str], Found]  # by sequence and network


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Runs or reuses the runs, draws, judges; returns the exit status."""
  parser = _study.parser(
    'cooijmans2016_recurrent', __doc__, steps=500, launcher='vectorized'
  )
  parser.set_defaults(data='fashion_mnist')
  args = parser.parse_args(argv)
  arg = f'data={args.data},seeds={args.seeds},steps={args.steps}'
  return _study.conduct(
    args, study.get_config, arg, judge, draw, _rows, measure
  )


def measure(runs: Sequence[bnr.Run]) -> Grid:
  """Returns what each network came to."""
  keys = (
    'model.sequence',
    'norm.name',
    'model.step_statistics',
    'model.recurrent_scale',
  )
  names = {
    (
      of['norm.name'],
      of.get('model.step_statistics', 'separate'),
      of.get('model.recurrent_scale', 0.1),
    ): name
    for name, of in study.NETWORKS.items()
  }
  errors = {
    run.path: _errors(run)
    for run in track(runs, 'by other statistics', transient=True)
  }
  grid = {}
  for (sequence, *point), group in _study.grouped(runs, *keys).items():
    accuracy = [run.metrics['test/accuracy'] for run in group]
    grid[sequence, names[tuple(point)]] = Found(
      accuracy[0].steps,
      np.array([of_run.values for of_run in accuracy]),
      {
        name: np.array([errors[run.path][name] for run in group])
        for name in STATISTICS
      },
    )
  return grid


def _errors(run):
  """Returns the last error on the test images by each of `STATISTICS`."""
  if _study.diverged(run) or not (state := run.restore()).collections:
    return dict.fromkeys(STATISTICS, 1 - _study.final(run))
  return {of: 1 - run.evaluate(state, of)['accuracy'] for of in STATISTICS}


def judge(grid: Grid) -> list[claims.Claim]:
  """Returns the claims, each by seed."""
  judged = [claim for of in SEQUENCES for claim in _of_sequence(grid, of)]
  return [*judged, _cost_of_lengths(grid)]


def _of_sequence(grid, sequence):
  """Returns the claims about sequences of one kind."""
  error = {
    name: found.error
    for (here, name), found in grid.items()
    if here == sequence
  }

  def claim(text, published, better, worse, statistics):
    first, second = (error[name][statistics] for name in (better, worse))
    return claims.Claim(
      f'{SEQUENCES[sequence]}, statistics {STATISTICS[statistics]}',
      text,
      published,
      f'errors: {_percent(first)} ({NAMES[better]}), '
      f'{_percent(second)} ({NAMES[worse]})',
      tuple((first < second).tolist()),
    )

  faster = 'BN learns better than no norm'
  result = [
    claim(faster, 'Cooijmans; no number', 'separate', 'none', 'batch'),
    claim(faster, 'Cooijmans; no number', 'separate', 'none', 'ema'),
    claim(
      'separate statistics make fewer errors than shared ones',
      'each step has its own (Cooijmans); no number',
      'separate',
      'shared',
      'ema',
    ),
    claim(
      'layer normalization makes fewer errors than BN',
      'the source documents: BN does not suit RNNs, layer norm does',
      'layer',
      'separate',
      'ema',
    ),
  ]
  if 'gamma_1' in error:
    result.append(
      claim(
        'a gamma of 0.1 is a better start than 1',
        '0.1 keeps tanh from saturating (Cooijmans); no number',
        'separate',
        'gamma_1',
        'batch',
      )
    )
  return result


def _cost_of_lengths(grid):
  """Returns the claim about what variable lengths cost each norm."""
  cost = {
    name: 100
    * (
      grid['until_blank', name].error['ema'] - grid['whole', name].error['ema']
    )
    for name in ('separate', 'layer')
  }
  return claims.Claim(
    'variable length instead of fixed',
    'costs BN more than layer normalization',
    'the source documents: BN does not suit dynamic lengths',
    'points more errors: '
    + ', '.join(
      f'{_study.plus_minus(points_R, "+.1f")} ({NAMES[name]})'
      for name, points_R in cost.items()
    ),
    tuple((cost['separate'] > cost['layer']).tolist()),
  )


def _percent(error_R):
  return _study.plus_minus(error_R, '.1%')


def table(result: dict[str, Any]) -> Table:
  """Returns errors by all statistics."""
  rows = [
    [
      f'{NAMES[row["network"]]}, {SEQUENCES[row["sequence"]]}',
      *(_percent(row['error'][name]) for name in STATISTICS),
    ]
    for row in result['rows']
  ]
  return Table(
    ['errors on test images', *STATISTICS.values()],
    rows,
    'Networks without running statistics have the same errors in all columns.',
  )


def draw(grid: Grid, args) -> None:
  """Writes the figure: test accuracy by steps, and the last errors."""
  figure, panels = _study.canvas(1, 3, (11.5, 3.7))
  for panel, (sequence, title) in zip(panels[0], SEQUENCES.items()):
    for name, label in NAMES.items():
      if (sequence, name) not in grid:
        continue
      found = grid[sequence, name]
      mean = found.curve.mean(0)
      panel.plot(found.steps, mean, '.-', color=COLORS[name], label=label)
    panel.set(title=title, xlabel='training steps', ylabel='test accuracy')
  panels[0, 0].sharey(panels[0, 1])
  panels[0, 0].legend(frameon=False)
  last = panels[0, 2]
  places = [*grid]
  for k, (sequence, name) in enumerate(places):
    y = -k - (sequence != 'whole')
    for statistics, error in grid[sequence, name].error.items():
      last.plot(
        error, [y] * len(error), MARKS[statistics], color=COLORS[name], ms=7
      )
  last.set_yticks(
    [-k - (s != 'whole') for k, (s, _) in enumerate(places)],
    [f'{NAMES[name]}, {SEQUENCES[s].split()[0]}' for s, name in places],
  )
  last.set(
    xlabel='error on test images',
    title='● running  x of the batch',
  )
  figure.suptitle(
    f'Normalizers of an LSTM that reads rows: {args.data} '
    f'({_study.seeds(args.seeds)})'
  )
  _study.save(figure, args.output)


def _rows(grid):
  return {
    'rows': [
      {
        'sequence': sequence,
        'network': name,
        'error': {
          of: error.round(4).tolist() for of, error in found.error.items()
        },
      }
      for (sequence, name), found in grid.items()
    ]
  }


if __name__ == '__main__':
  sys.exit(main())
