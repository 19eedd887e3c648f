"""The summary of a sweep: one row per point."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from rich import box
from rich.table import Table

from bnresearch.data import choosing_split
from bnresearch.reports import best, targets
from bnresearch.runs import logbook, run_directory
from bnresearch.sweeps import progress, statuses
from bnresearch.sweeps.points import Point


def tables(
  points: Sequence[Point],
  workdir: Path,
  known: Mapping[str, str] | None = None,
  target: targets.Target | None = None,
) -> list[Table]:
  """Returns the summary, and what the probes measured; see `table`."""
  books = _read(points, workdir)
  of_probes = _probes(points, books)
  more = [of_probes] if of_probes else []
  return [_table(points, workdir, books, known, target), *more]


def table(
  points: Sequence[Point],
  workdir: Path,
  known: Mapping[str, str] | None = None,
  target: targets.Target | None = None,
) -> Table:
  """Returns each point's status, last and best test accuracy, and time.

  The best is that of the checkpoint that `--step=best` restores; the caption
  says which split chose it, and what the probes cost. A question mark means
  that the logbook is not what the run wrote.

  Args:
    points: of a sweep.
    workdir: of the sweep.
    known: {name: status}, from a launcher; else from the run directories.
    target: its steps get a column.
  """
  return _table(points, workdir, _read(points, workdir), known, target)


class _Book(NamedTuple):
  """What a run has logged: nothing, if that is not what the run wrote."""

  is_whole: bool
  metrics: dict[str, logbook.Series]


def _read(points, workdir):
  """Returns the book of each point, in their order."""
  books = []
  for point in points:
    path = point.directory(workdir)
    file = path / 'metrics.jsonl'
    is_whole = logbook.is_whole(file, run_directory.read_status(path))
    books.append(_Book(is_whole, logbook.read(file) if is_whole else {}))
  return books


def _table(points, workdir, books, known, target):
  chose = ' or '.join(
    sorted({choosing_split(p.config.data.held_out) for p in points})
  )
  result = Table(
    title=str(workdir),
    title_justify='left',
    caption=f'test accuracy; the best step is chosen by {chose} accuracy'
    f'{_cost(points, workdir)}',
    caption_justify='left',
    box=box.SIMPLE_HEAD,
  )
  result.add_column('run', overflow='fold')
  for column in ('status', 'step', 'accuracy', 'best (step)', 'time', 'ETA'):
    result.add_column(column, justify='right')
  if target:
    result.add_column(f'steps to {target}', justify='right')
  for point, book in zip(points, books):
    path = point.directory(workdir)
    status = (known or {}).get(point.name) or statuses.of_run(path)
    result.add_row(point.name, status, *_row(point, path, book, status, target))
  return result


def _probes(points, books):
  """Returns the last scalars that the probes of each point have measured.

  None if there are none.
  """
  rows = {
    point.name: {
      name.removeprefix('probe/'): f'{series.values[-1]:.4g}'
      for name, series in book.metrics.items()
      if targets.is_scalar(name)
    }
    for point, book in zip(points, books)
  }
  columns = list(dict.fromkeys(name for row in rows.values() for name in row))
  if not columns:
    return None
  result = Table(
    title='probes, last record', title_justify='left', box=box.SIMPLE_HEAD
  )
  result.add_column('run', overflow='fold')
  for column in columns:
    heading = column.replace('/', '\n')
    result.add_column(heading, justify='right', overflow='fold')
  for name, row in rows.items():
    result.add_row(name, *(row.get(column, '-') for column in columns))
  return result


def _cost(points, workdir):
  """Returns what a record of the probes costs in one run that has timed it."""
  for point in points:
    told = run_directory.read_status(point.directory(workdir))
    seconds, rate = told.get('probe_seconds'), told.get('steps_per_second')
    if seconds and rate:
      return (
        f'\na record of the probes takes {seconds:.2g} s, as long as '
        f'{seconds * rate:.2g} steps'
      )
  return ''


def _row(point, path, book, status, target):
  told = run_directory.read_status(path)
  is_whole, metrics = book
  accuracy = metrics.get('test/accuracy')
  last = highest = '-' if is_whole else '?'
  if accuracy is not None:
    last = f'{accuracy.values[-1]:.2%}'
  if chosen := best.of(path, point.config, metrics):
    highest = f'{chosen.accuracy:.2%} ({chosen.step:,})'
  step = f'{told.get("step", 0):,}'
  if 'steps' in told and status not in run_directory.ENDED:
    step = f'{step} of {told["steps"]:,}'
  return (
    step,
    last,
    highest,
    f'{told.get("seconds", 0):.0f} s',
    progress.eta(told) if status == 'running' else '',
    *([_steps(targets.steps_to_target(metrics, target))] if target else []),
  )


def _steps(steps):
  return f'{steps:,.0f}' if steps < float('inf') else '-'
