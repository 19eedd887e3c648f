"""The summary of a sweep: one row a run."""

from collections.abc import Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from bnresearch.records import logbook, run_directory
from bnresearch.sweeps.points import Point


def table(points: Sequence[Point], workdir: Path) -> Table:
  """Returns each point's status, last and best test accuracy, and time."""
  result = Table(title=str(workdir), title_justify='left', box=box.SIMPLE_HEAD)
  result.add_column('run', overflow='fold')
  for column in ('status', 'step', 'accuracy', 'best (step)', 'time'):
    result.add_column(column, justify='right')
  for point in points:
    result.add_row(point.name, *_row(point.directory(workdir)))
  return result


def _row(path):
  status = run_directory.read_status(path)
  accuracy = logbook.read(path / 'metrics.jsonl').get('test/accuracy')
  last = best = '-'
  if accuracy is not None:
    steps, values = accuracy
    last = f'{values[-1]:.2%}'
    best = f'{values.max():.2%} ({steps[values.argmax()]:,})'
  return (
    status.get('status', 'waiting'),
    f'{status.get("step", 0):,}',
    last,
    best,
    f'{status.get("seconds", 0):.0f} s',
  )
