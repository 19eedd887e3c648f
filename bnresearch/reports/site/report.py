"""`--mode=report`: pages of runs and sweeps, rewritten as runs go on."""

import collections
import hashlib
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from bnresearch import __version__, paths
from bnresearch.reports import targets
from bnresearch.reports.site import (
  frame,
  records,
  run_page,
  summaries,
  sweep_page,
)
from bnresearch.reports.site.summaries import Summary
from bnresearch.terminal import say

_MARK = '<meta name="generator" content="bnresearch report">'
_ASKER = '--mode=report'
_ASSETS = 'report.css', 'sweep.js', 'watch.js'
_WRITTEN = 'written.js'
EVERY, QUIET = 5.0, 60.0  # seconds


class _Kept(NamedTuple):
  """A run that was read, and the files as they were then."""

  stamp: tuple
  summary: Summary
  inner: str


class Report:
  """A report of some folders, which remembers what it has read."""

  def __init__(
    self,
    folder: pathlib.Path,
    workdirs: Sequence[pathlib.Path],
    target: targets.Target | None = None,
    *,
    watched: bool = False,
  ):
    """Reads nothing yet.

    Args:
      folder: of the report.
      workdirs: runs, or folders of runs.
      target: see `targets.Target`.
      watched: whether pages load themselves again when they have changed.

    Raises:
      UserError: the folder has something else, or a package is not installed.
    """
    frame.refuse_others(folder, _MARK, '--output', 'report')
    self._folder, self._workdirs, self._target = folder, workdirs, target
    self._render = frame.environment(_ASKER)
    self._kept: dict[records.Place, _Kept] = {}
    self._pages: dict[str, str] = {}
    self._common = {'mark': frame.trusted(_MARK), 'watched': watched}

  def write(self) -> list[Summary]:
    """Writes what has changed; returns all runs in short.

    Raises:
      UserError: a folder has no runs.
    """
    runs = [*self._read()]
    pages = dict(self._made(runs))
    if not self._pages:
      own = (frame.TEMPLATES / name for name in _ASSETS)
      frame.assets(self._folder / 'assets', _ASKER, *own)
    # The page that names the others comes last.
    for name in reversed(pages):
      if self._pages.get(name) != pages[name]:
        with paths.replacing(self._folder / name) as partial:
          partial.write_text(pages[name], encoding='utf-8')
    for kind in ('run', 'sweep'):
      for file in self._folder.glob(f'{kind}-*.html'):
        if file.name not in pages:
          file.unlink()
    if pages != self._pages:
      self._note(pages)
    self._pages = pages
    return runs

  def _read(self) -> Iterator[Summary]:
    """Yields all runs; reads those whose files have changed."""
    places = records.places(self._workdirs)
    kept = {}
    for place in places:
      stamp = records.stamp(place)
      before = self._kept.get(place)
      if before is None or before.stamp != stamp:
        record = records.read(place)
        short = summaries.of(record, self._target)
        before = _Kept(stamp, short, run_page.inner(self._render, record))
      kept[place] = before
      yield before.summary
    self._kept = kept

  def _made(self, runs: Sequence[Summary]) -> Iterator[tuple[str, str]]:
    """Yields the name and the text of each page."""
    groups = collections.defaultdict(list)
    for run in runs:
      groups[run.place.sweep].append(run)
    alone = len(runs) == 1
    several = records.sweeps([*groups]) if len(groups) > 1 else {}
    common = self._common | {
      'version': __version__,
      'sweeps': several,
      'alone': alone,
    }
    if not alone:
      title = ' and '.join(pathlib.Path(name).name or name for name in groups)
      yield 'index.html', self._sweep(title, runs, common)
    for name, page in several.items():
      yield page, self._sweep(name, groups[name], common)
    siblings = collections.defaultdict(list)
    for run in runs:
      siblings[run.setting].append(run)
    for run in runs:
      inner = frame.trusted(self._kept[run.place].inner)
      text = run_page.whole(
        *(self._render, run, siblings[run.setting], inner), **common
      )
      yield 'index.html' if alone else run.place.page, text

  def _sweep(self, title, runs, common):
    return sweep_page.page(*(self._render, title, runs, self._target), **common)

  def _note(self, pages: dict[str, str]) -> None:
    """Writes which pages there are, for those that are open in a browser."""
    digests = {
      name: hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
      for name, text in pages.items()
    }
    with paths.replacing(self._folder / 'assets' / _WRITTEN) as partial:
      partial.write_text(f'written({json.dumps(digests)});\n')


def show(report: Report, index: pathlib.Path) -> None:
  """Writes a report once, and says so."""
  runs = report.write()
  warned = sum(bool(run.warnings) for run in runs)
  some = f', {warned} with warnings' if warned else ''
  say(f'Wrote {index}: {told(runs)}{some}.')


def watch(
  report: Report,
  *,
  every: float = EVERY,
  quiet: float = QUIET,
  sleep: Callable[[float], Any] = time.sleep,
) -> None:
  """Writes a report again and again, until no run has gone on for a while.

  Args:
    report: made with `watched=True`, and written once.
    every: seconds between two looks.
    quiet: seconds without a running run, after which it ends: the next point
      of a sweep may be about to begin.
    sleep: takes seconds.
  """
  before, still = '', 0.0
  while still <= quiet:
    sleep(every)
    runs = report.write()
    now = told(runs)
    if now != before:
      say(f'{time.strftime("%H:%M:%S")}  {now}')
    goes_on = any(run.state == 'running' for run in runs)
    before, still = now, 0.0 if goes_on else still + every
  say(f'No run has gone on for {quiet:.0f} s: the report is complete.')


def told(runs: Sequence[Summary]) -> str:
  """Says how many runs there are, and how far they are."""
  count = collections.Counter(run.state for run in runs)
  states = ', '.join(f'{n} {state}' for state, n in count.items())
  return f'{len(runs)} {"run" if len(runs) == 1 else "runs"}: {states}'
