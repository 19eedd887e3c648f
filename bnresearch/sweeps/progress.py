"""Progress of runs: watched in their directories, whatever runs them."""

import contextlib
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, Progress, TextColumn

from bnresearch.runs import run_directory
from bnresearch.sweeps.points import Point
from bnresearch.terminal import Console, printable

_POLL_SECONDS = 0.5
_PLAIN_SECONDS = 20  # between two lines of a run, without a terminal


@contextlib.contextmanager
def shown(
  points: Sequence[Point], workdir: Path, console: Console
) -> Iterator[None]:
  """Shows how far runs are while the body of the `with` goes on.

  On a terminal, each run that has begun has a bar: steps, steps/s, loss and
  ETA. Elsewhere it has a line now and then.
  """
  finished = threading.Event()
  show = _draw_bars if console.is_terminal else _print_lines
  thread = threading.Thread(
    target=show, args=(points, workdir, console, finished), daemon=True
  )
  thread.start()
  try:
    yield
  finally:
    finished.set()
    thread.join()


def describe(status: dict[str, Any]) -> str:
  """Says in a line how far a run is: steps/s, loss once known, ETA."""
  speed = status.get('steps_per_second', 0)
  left = eta(status)
  loss = f', loss {status["loss"]:.4f}' if 'loss' in status else ''
  return f'{speed:,.0f} steps/s{loss}{left and f", ETA {left}"}'


def eta(status: dict[str, Any]) -> str:
  """Says how long a run needs for its remaining steps; '' if unknown."""
  speed = status.get('steps_per_second', 0)
  left = status.get('steps', 0) - status.get('step', 0)
  return _clock(left / speed) if speed and left else ''


def _draw_bars(points, workdir, console, finished):
  bars = Progress(
    TextColumn('{task.description}', markup=False),
    BarColumn(bar_width=24),
    TextColumn('{task.completed:,}/{task.total:,}'),
    TextColumn('{task.fields[speed]}'),
    console=console,
  )
  tasks = {}
  with bars:
    while True:
      last = finished.is_set()
      for point, status in _begun(points, workdir):
        if point.name not in tasks:
          tasks[point.name] = bars.add_task(
            printable(point.name), total=status['steps'], speed=''
          )
        text = describe(status)
        if status['status'] != 'running':
          text = f'{text}, {status["status"]}'
        bars.update(tasks[point.name], completed=status['step'], speed=text)
      if last:
        return
      finished.wait(_POLL_SECONDS)


def _print_lines(points, workdir, console, finished):
  while not finished.wait(_PLAIN_SECONDS):
    for point, status in _begun(points, workdir):
      if status['status'] == 'running':
        done = f'{status["step"]:,}/{status["steps"]:,}'
        text = f'{point.name}: {done}, {describe(status)}'
        console.print(text, soft_wrap=True)


def _begun(points, workdir):
  """Yields the points that are past their first steps, with their status."""
  for point in points:
    try:
      status = run_directory.read_status(point.directory(workdir))
    except run_directory.Refused:  # reported once, where the run is used
      continue
    if {'step', 'steps'} <= status.keys():
      yield point, status


def _clock(seconds):
  days, rest = divmod(int(seconds), 86_400)
  clock = time.strftime('%H:%M:%S', time.gmtime(rest))
  return f'{days}d {clock}' if days else clock.removeprefix('00:')
