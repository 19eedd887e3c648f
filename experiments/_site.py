"""The site of all results: a scoreboard, and a page for each study.

It is a folder of files that open from disk: `index.html`, a page for each study
beside it, `results` with numbers and figures, and `assets`. What is in it comes
from the studies' files and committed results, so it takes seconds.
"""

import collections
import functools
import pathlib
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

import bnresearch
from bnresearch.reports.site import frame
from experiments import _chart, _copies, _made_by, _prose, _rows, _scoreboard
from experiments._scoreboard import Study

_TEMPLATES = pathlib.Path(__file__).parent / 'templates'
_FLAG = '--report'
_MARK = '<meta name="generator" content="bnresearch scoreboard">'


def write(
  folder: pathlib.Path,
  studies: Sequence[Study] | None = None,
  results: pathlib.Path = _scoreboard.RESULTS,
) -> None:
  """Writes the site; it replaces one that stands there.

  Raises:
    UserError: the folder has something else, or a package is not installed.
  """
  frame.refuse_others(folder, _MARK, _FLAG, 'scoreboard')
  studies = _scoreboard.studies() if studies is None else studies
  folder.parent.mkdir(parents=True, exist_ok=True)
  with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
    made = pathlib.Path(scratch) / 'site'
    (made / 'assets').mkdir(parents=True)
    figures = _copy(studies, results, made)
    for name, text in pages(studies, figures).items():
      (made / name).write_text(text, encoding='utf-8')
    frame.assets(made / 'assets', _FLAG, _TEMPLATES / 'board.js')
    if folder.exists():
      shutil.rmtree(folder)
    made.rename(folder)


def pages(
  studies: Sequence[Study], figures: Mapping[str, Sequence[str]]
) -> dict[str, str]:
  """Returns {file name: page}.

  Args:
    studies: in the order of the site.
    figures: {result: endings of its files that there are}.
  """
  render = frame.environment(
    _FLAG,
    _TEMPLATES,
    made_by=_made_by,
    room_of=_rows.room,
    linked=_prose.linked,
  )
  prose = functools.partial(
    _prose.html, {s.link: f'{s.name}.html' for s in studies}
  )
  common = {
    'mark': frame.trusted(_MARK),
    'verdicts': _rows.VERDICTS,
    'version': bnresearch.__version__,
    'figures': figures,
    'prose': prose,
  }
  rows = {study.name: list(_rows.rows(study)) for study in studies}
  every = [row for study in studies for row in rows[study.name]]
  made = {
    'index.html': render(
      'index.html',
      **common,
      studies=studies,
      rows=every,
      counts=collections.Counter(row.verdict for row in every),
      papers=sorted({p for row in every for p in row.papers}),
      rooms=sorted({_rows.room(study) for study in studies}),
    )
  }
  for study in studies:
    made[f'{study.name}.html'] = render(
      'study.html',
      **common,
      **_study(study),
      rows=rows[study.name],
    )
  return made


def _study(study) -> dict[str, Any]:
  """Returns what the template of a study needs beside its rows."""
  return {
    'study': study,
    'room': _rows.room(study),
    'bibtex': _rows.bibtex(study, bnresearch.__version__),
    'charts': {
      stem: chart
      for stem, result in study.results.items()
      if (chart := _charted(study, result))
    },
    'tables': {
      stem: study.table(result)._asdict() if study.table else None
      for stem, result in study.results.items()
    },
  }


def _charted(study, result):
  if study.curves:
    return _chart.of_curves(study.curves(result))
  return _chart.of_runs(result)


def _copy(studies, results, made):
  """Copies numbers and figures; returns {result: endings of its files}."""
  to = made / 'results'
  to.mkdir()
  for file in results.glob('*.csv'):
    shutil.copy(file, to)
  stems = [stem for study in studies for stem in study.results]
  return {stem: _copies.copy(stem, results, to) for stem in stems}
