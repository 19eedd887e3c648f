"""Runs side by side and as an ensemble: loss, accuracy, calibration."""

import contextlib
import functools
import pathlib
from collections.abc import Sequence

import numpy as np
from rich.table import Column, Table

from bnresearch.inference.ensemble import evaluate_together
from bnresearch.inference.predict import Network
from bnresearch.reports import prediction_file, reliability
from bnresearch.terminal import say, track, wide

_CLASSES = 100  # most that are shown one by one; of more, only the worst
_WORST = 10


def show(
  networks: Sequence[Network],
  *,
  crop_count: int,
  predictions: pathlib.Path | None = None,
  figure: pathlib.Path | None = None,
) -> None:
  """Evaluates on the whole test split and prints the tables.

  Args:
    networks: pairs of a run and its state, from `run.restore`.
    crop_count: of each image, see `Images.crop`.
    predictions: where the probabilities of each example are written, see
      `prediction_file`.
    figure: where the reliability diagram is drawn. Both show the ensemble, or
      the one network.
  """
  run, _ = networks[0]
  names = run.source('test').class_names
  progress = functools.partial(
    track, description='evaluating', total=len(run.source('test'))
  )
  write = contextlib.nullcontext()
  if predictions:
    write = prediction_file.opened(predictions, names)
  with write as add:
    found = evaluate_together(networks, crop_count, progress=progress, keep=add)
  out = wide()
  several = len(networks) > 1
  what = f'ensemble of {len(networks)}' if several else run.path.name
  out.print(_table(networks, found, crop_count))
  out.print(_classes(names, found.ensemble, what))
  if figure:
    reliability.draw(found.ensemble, what, figure)
  for file in filter(None, (predictions, figure)):
    say(f'Wrote {file}')


def _table(networks, found, crop_count):
  chose = ' or '.join(sorted({run.parts.data.chooses for run, _ in networks}))
  table = Table(
    Column('run', overflow='fold'),
    *('step', 'crops', *_numbers(found.ensemble)),
    caption='test split, running statistics; ECE: expected calibration error; '
    f'the best step is chosen by {chose} accuracy',
  )
  for (run, state), alone in zip(networks, found.members):
    name, step = str(run.path), f'{int(state.step):,}'
    table.add_row(name, step, str(crop_count), *_numbers(alone).values())
  if len(networks) > 1:
    name, numbers = f'ensemble of {len(networks)}', _numbers(found.ensemble)
    table.add_row(name, '', str(crop_count), *numbers.values())
  return table


def _numbers(summary):
  """Returns {column: cell}."""
  top5 = {'top-5': summary.top5} if summary.top5 is not None else {}
  error = summary.reliability.error
  fractions = {'top-1': summary.top1, **top5, 'ECE': error}
  return {
    'examples': f'{summary.examples:,}',
    'loss': f'{summary.loss:.6f}',
    **{name: f'{value:.4%}' for name, value in fractions.items()},
  }


def _classes(names, summary, what):
  """Returns the table of all classes, or of the worst if there are many."""
  title, shown = 'each class', range(len(names))
  if len(names) > _CLASSES:
    order = np.argsort(summary.accuracy_K, kind='stable')  # NaN comes last
    title, shown = f'the {_WORST} worst classes', order[:_WORST]
  table = Table('class', 'examples', 'accuracy', title=f'{title}, {what}')
  for k in shown:
    N, accuracy = int(summary.examples_K[k]), summary.accuracy_K[k]
    right = f'{accuracy:.4%}' if N else ''
    table.add_row(names[k], f'{N:,}', right)
  return table
