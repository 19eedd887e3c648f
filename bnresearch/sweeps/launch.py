"""Launchers by name, and which points they get."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from bnresearch import paths
from bnresearch.runs import run_directory
from bnresearch.sweeps import local, slurm, slurm_queue, statuses
from bnresearch.sweeps.points import Point
from bnresearch.sweeps.vectorized import launcher as vectorized
from bnresearch.terminal import Console


class Options(NamedTuple):
  """How points are launched.

  Attributes:
    launcher: one of `LAUNCHERS`.
    processes: local: points at a time.
    at_once: vectorized: points in a program; 0 for as many as fit.
    wait: slurm: whether to follow the jobs to their end.
    retry_failed: whether points whose runs have failed run again.
  """

  launcher: str = 'local'
  processes: int = 1
  at_once: int = 0
  wait: bool = False
  retry_failed: bool = False


# Each returns {name: status} of the points it gets.
LAUNCHERS = {
  'local': lambda points, workdir, console, options: local.run(
    points, workdir, options.processes, console
  ),
  'vectorized': lambda points, workdir, console, options: vectorized.run(
    points, workdir, console, options.at_once
  ),
  'slurm': lambda points, workdir, console, options: slurm.run(
    points, workdir, console, wait=options.wait
  ),
}


def run(
  points: Sequence[Point], workdir: Path, console: Console, options: Options
) -> dict[str, str]:
  """Runs the points that have not ended, by a launcher.

  A point whose run has failed is named and left as it is, unless its config has
  changed or `retry_failed` is set.

  Returns:
    {name: status} of all points.

  Raises:
    What the launchers raise.
  """
  result = statuses.of_points(points, workdir)
  failed = [
    point
    for point in points
    if not options.retry_failed
    and run_directory.has_failed(point.directory(workdir), point.config)
  ]
  tell_failed(failed, workdir, console)
  names = {point.name for point in failed}
  todo = [point for point in points if point.name not in names]
  if {result[point.name] for point in todo} - {*run_directory.ENDED} and (
    why := paths.unwritable_folder(workdir)
  ):
    raise run_directory.Refused(f'--workdir={workdir}: {why}')
  if todo:
    result |= LAUNCHERS[options.launcher](todo, workdir, console, options)
  return result


def statuses_of(
  points: Sequence[Point], workdir: Path, console: Console
) -> dict[str, str]:
  """Returns {name: status} of points, without starting anything.

  Raises:
    Refused: a directory was made by another config.
  """
  result = statuses.of_points(points, workdir)
  try:
    return slurm_queue.with_queue(result, workdir)
  except run_directory.Refused as error:  # the rest is worth seeing
    console.print(str(error))
    return result


def tell_failed(
  points: Sequence[Point], workdir: Path, console: Console
) -> None:
  """Prints why the run of each of these points has failed."""
  for point in points:
    status = run_directory.read_status(point.directory(workdir))
    why = status.get('message', '')
    console.print(f'{point.name} has failed: {why}', soft_wrap=True)
