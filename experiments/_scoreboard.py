"""The scoreboard: a row for each claim, from the studies' files and results.

A study's file says what it claims, what it runs and what its numbers leave out;
`results` has the numbers. This reads both, and puts them together.
"""

import importlib
import inspect
import json
import os
import pathlib
import re
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bnresearch.terminal import UserError
from experiments import _scale
from experiments._table import Table, escaped, markdown

FOLDER = pathlib.Path(__file__).parent
PAGE = FOLDER / 'README.md'
RESULTS = FOLDER / 'results'
MARKERS = '<!-- verdicts -->', '<!-- /verdicts -->'
_FIGURE_1 = 'ioffe2015_figure1_mnist'
_FIGURE_2 = 'ioffe2015_figure2_fashion_mnist'
_INITS = 'tight init, std 0.01', 'easy init, std 0.1'
_SOONER = "matches Inception's highest accuracy in fewer steps"
# The paper's main claims: a result, one of its claims, and the settings.
MAIN = (
  (_FIGURE_1, 'higher test accuracy', _INITS),
  (_FIGURE_1, 'more stable distributions', _INITS),
  (_FIGURE_2, _SOONER, ('BN-Baseline',)),
  (_FIGURE_2, _SOONER, ('BN-x5', 'BN-x30')),
  (_FIGURE_2, 'can be trained with BN, not without', ('sigmoid',)),
)
COLUMNS = ('source', 'claim', 'published', 'measured', 'verdict', 'data')
_LINES, _CHARACTERS = 6, 600  # the most that a cell may have
_BRIEF = 90  # most characters of a number on the main page, save first clauses

# Of one result, as `claims.write` writes them.
Claims = Sequence[dict[str, Any]]


class Study(NamedTuple):
  """A study, from its file and its results.

  Attributes:
    title: the first line of its text.
    fields: of its header, {'Claim': ...}.
    method: the rest of its text.
    notes: its NOTES, what the numbers do not say by themselves; '' for none.
    table: its `table`, which makes a Table of a result; None for none.
    results: {file name without its ending: its JSON}, most seeds first.
    name: of its module.
    commands: its COMMANDS, {result: command} of those that other flags made.
    curves: its `curves`, which makes _chart.Curves of a result; None for none.
    scale: of the results, one of `_scale.SCALES`.
    why: it has no result, in words, if it has none.
  """

  title: str
  fields: dict[str, str]
  method: str
  notes: str
  table: Callable[[dict[str, Any]], Table] | None
  results: dict[str, dict[str, Any]]
  name: str
  commands: dict[str, str]
  curves: Callable[[dict[str, Any]], Any] | None
  scale: str = _scale.SMALL
  why: str = ''

  @property
  def link(self) -> str:
    """The anchor of its section; GitHub makes it from the heading."""
    return '#' + re.sub(r'[^\w\- ]', '', self.title.lower()).replace(' ', '-')

  def command(self, stem: str) -> str:
    """Returns the command that makes a result."""
    if self.scale != _scale.SMALL:
      return f'python -m experiments.{self.name} --scale={self.scale}'
    return self.commands.get(stem, self.fields['Command'])


def studies(
  results: pathlib.Path = RESULTS,
  scale: str = _scale.SMALL,
  reasons: Mapping[str, str] | None = None,
) -> list[Study]:
  """Reads all studies, those of the 2015 paper's figures first.

  Args:
    results: the folder of their results.
    scale: of these.
    reasons: {name: why it has none}.
  """
  names = [file.stem for file in FOLDER.glob('[!_]*.py')]
  found = [
    read(importlib.import_module(f'experiments.{name}'), results)
    for name in sorted(names, key=lambda n: (not n.startswith('ioffe'), n))
  ]
  unknown = 'there is no result of it here'
  return [
    s._replace(scale=scale, why=(reasons or {}).get(s.name, unknown))
    for s in found
  ]


def read(module: types.ModuleType, results: pathlib.Path = RESULTS) -> Study:
  """Reads a study from its module and from the folder of all results."""
  title, header, *method = inspect.getdoc(module).split('\n\n')
  fields = re.findall(r'^([A-Z][a-z ]+): +(.*(?:\n .*)*)', header, re.M)
  name = module.__name__.rpartition('.')[2]
  found = {
    file.stem: json.loads(file.read_text())
    for file in results.glob(f'{name}*.json')
  }
  mine = [item for item in found.items() if item[1]['experiment'] == name]
  return Study(
    title.rstrip('.'),
    {key: ' '.join(value.split()) for key, value in fields},
    '\n\n'.join(method),
    getattr(module, 'NOTES', '').strip(),
    getattr(module, 'table', None),
    dict(sorted(mine, key=lambda item: (-item[1]['seeds'], item[0]))),
    name,
    getattr(module, 'COMMANDS', {}),
    getattr(module, 'curves', None),
  )


def verdicts(file: pathlib.Path) -> str:
  """Returns a brief row for each of MAIN, with links relative to `file`.

  The source shares a cell with the claim, the data with the verdict.
  """
  page = os.path.relpath(PAGE, file.resolve().parent).replace(os.sep, '/')
  of_result = {stem: study for study in studies() for stem in study.results}
  rows = []
  for stem, claim, settings in MAIN:
    study = of_result[stem]
    chosen = [
      c
      for c in study.results[stem]['claims']
      if c['claim'] == claim and c['setting'] in settings
    ]
    chosen = [c | {'measured': _brief(c['measured'])} for c in chosen]
    source, claim, *numbers, said, data = _row(study, stem, chosen, page)
    source = source.replace('Ioffe & Szegedy 2015, ', '')
    rows.append((f'{source}: {claim}', *numbers, f'{said}; {data}'))
  return markdown(('claim', 'published', 'measured', 'verdict'), rows)


def _brief(text):
  """Returns as many clauses as are brief, and at least one."""
  brief, *rest = text.split('; ')
  for clause in rest:
    if len(brief) + len(clause) <= _BRIEF:
      brief += f'; {clause}'
  return brief


def write_verdicts(file: pathlib.Path) -> None:
  """Writes the table of the main verdicts between the MARKERS of a file.

  Raises:
    UserError: the file does not have both markers, once each and in order.
  """
  before, after = MARKERS
  found = file.read_text(encoding='utf-8')
  head, *middle = found.split(before)
  tail = middle[0].split(after) if len(middle) == 1 else []
  if len(tail) != 2 or after in head:
    raise UserError(
      f'{file}: has no place for the verdicts. Put a line {before} and, below '
      f'it, a line {after} where the table is to stand.'
    )
  table = f'{before}\n\n{verdicts(file)}\n\n{after}'
  file.write_text(f'{head}{table}{tail[1]}', encoding='utf-8')


def rows(study: Study) -> Iterator[Sequence[str]]:
  """Yields a study's rows of the scoreboard."""
  for stem, group in groups(study):
    yield _row(study, stem, group)
  for what in not_run(study):
    yield _source(study), what.replace('|', r'\|'), '', '', 'not run', ''


def groups(study: Study) -> Iterator[tuple[str, Claims]]:
  """Yields a result and its claims that share a row: same words and verdict."""
  for stem, result in study.results.items():
    found: dict[tuple[str, str], list] = {}
    for claim in result['claims']:
      key = claim['claim'], word(claim['holds'], study)
      found.setdefault(key, []).append(claim)
    yield from ((stem, group) for group in found.values())


def not_run(study: Study) -> list[str]:
  """Returns what a study could do and has not done."""
  missing = None if study.results else study.fields['Claim']
  return [*filter(None, (missing, study.fields.get('Not run')))]


def _row(study, stem, claims: Claims, page=''):
  """Returns the cells of claims that differ only in their setting."""
  result = study.results[stem]
  claim = claims[0]['claim']
  measured = _by_setting(claims, 'measured')
  if '<br>' not in measured:
    claim += f' ({", ".join(c["setting"] for c in claims)})'
  holds = [h for c in claims for h in c['holds']]
  return (
    _source(study, page),
    escaped(claim),
    _by_setting(claims, 'published'),
    measured,
    verdict(holds, study, result),
    f'{escaped(result["data"])}, {count(result["seeds"], "seed")}',
  )


def _by_setting(claims: Claims, key):
  values = {c['setting']: c[key] for c in claims}
  if len({*values.values()}) == 1:
    return escaped(claims[0][key])
  cell = '<br>'.join(f'{escaped(s)}: {escaped(v)}' for s, v in values.items())
  long = len(values) > _LINES or len(cell) > _CHARACTERS
  return 'see the section' if long else cell


def _source(study, page=''):
  """Returns the sources without what is in parentheses, as a link."""
  return f'[{source(study)}]({page}{study.link})'


def source(study: Study) -> str:
  """Returns the sources without what is in parentheses."""
  return re.sub(r' \([^)]*\)', '', study.fields['Source']).rstrip('.')


def word(holds: Sequence[bool], study: Study) -> str:
  """Returns a verdict; the page says what it means."""
  if not holds:
    return 'not tested'
  if any(holds):
    return 'reproduced' if all(holds) else 'partly'
  full = study.fields['Scale'].startswith('as published')
  return 'not reproduced' if full else 'not at this scale'


def verdict(holds: Sequence[bool], study: Study, result: dict[str, Any]) -> str:
  """Returns a verdict and how often a claim holds, as in a result's seeds."""
  said, n = word(holds, study), len(holds)
  unit = 'seed' if n == result['seeds'] else 'time'
  return f'{said} ({sum(holds)} of {count(n, unit)})' if n else said


def count(n: int, unit: str) -> str:
  """Writes a number of things."""
  return f'{n} {unit}{"s" * (n != 1)}'
