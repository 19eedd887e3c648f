"""The summary of a sweep: one row per point."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich import box
from rich.table import Table

from bnresearch.data import choosing_split
from bnresearch.reports import best, targets
from bnresearch.runs import logbook, run_directory
from bnresearch.sweeps import progress, statuses
from bnresearch.sweeps.points import Point


def table(
  points: Sequence[Point],
  workdir: Path,
  known: Mapping[str, str] | None = None,
  target: targets.Target | None = None,
) -> Table:
  """Returns each point's status, last and best test accuracy, and time.

  The best is that of the checkpoint that `--step=best` restores; the caption
  says which split chose it. A question mark means that the logbook is not what
  the run wrote.

  Args:
    points: of a sweep.
    workdir: of the sweep.
    known: {name: status}, from a launcher; else from the run directories.
    target: its steps get a column.
  """
  chose = ' or '.join(
    sorted({choosing_split(p.config.data.held_out) for p in points})
  )
  result = Table(
    title=str(workdir),
    title_justify='left',
    caption=f'test accuracy; the best step is chosen by {chose} accuracy',
    caption_justify='left',
    box=box.SIMPLE_HEAD,
  )
  result.add_column('run', overflow='fold')
  for column in ('status', 'step', 'accuracy', 'best (step)', 'time', 'ETA'):
    result.add_column(column, justify='right')
  if target:
    result.add_column(f'steps to {target}', justify='right')
  for point in points:
    path = point.directory(workdir)
    status = (known or {}).get(point.name) or statuses.of_run(path)
    result.add_row(point.name, status, *_row(point, path, status, target))
  return result


def _row(point, path, status, target):
  told = run_directory.read_status(path)
  file = path / 'metrics.jsonl'
  is_whole = logbook.is_whole(file, told)
  metrics = logbook.read(file) if is_whole else {}
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
