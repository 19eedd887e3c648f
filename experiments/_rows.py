"""What the site shows of claims and results: plain values for its templates."""

import re
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

from experiments import _made_by, _scoreboard
from experiments._scoreboard import Study

# In the order of the site's bar and of sorting: the words of a verdict, a sign
# for who sees no colors, and what the words mean.
VERDICTS = {
  'reproduced': ('✓', 'It holds in every seed.'),
  'partly': ('◐', 'It holds in some seeds.'),
  'not at this scale': (
    '✗',
    'It holds in no seed, and the study is smaller than the published one.',
  ),
  'not reproduced': ('✗', 'It holds in no seed, at the published scale.'),
  'not tested': ('?', 'The runs do not decide it.'),
  'not run': ('○', 'The study could do it and has not done it.'),
}
TITLE = 'bnresearch: Batch Normalization research in JAX'
# What a source says of a paper may stand before it: 'of whales: Ahab 2015'.
_PAPER = re.compile(r'(?:[^:]*: )?([^:]*?\b\d{4}\b)')
_FLAG = re.compile(r'`(--[\w=]+)`')  # that a 'Not run' begins with
_CLAUSE = re.compile(r'[,;] |\.(?: |$)')


class Row(NamedTuple):
  """A claim on one data set.

  Attributes:
    anchor: of the row, for links to it.
    study: whose claim it is.
    claim: in words.
    values: (setting, published, measured) of each setting.
    verdict: a key of VERDICTS.
    holds: for each seed of each setting, whether the claim holds.
    times: how often it holds, in words.
    stem: of the result, '' if there is none.
    result: None if it was not run.
  """

  anchor: str
  study: Study
  claim: str
  values: Sequence[tuple[str, str, str]]
  verdict: str
  holds: Sequence[bool]
  times: str
  stem: str
  result: dict[str, Any] | None

  @property
  def papers(self) -> list[str]:
    """Author and year of each paper."""
    return papers(self.study)

  @property
  def source(self) -> str:
    """The sources, in short."""
    return _scoreboard.source(self.study)

  @property
  def published(self) -> str:
    """What all settings have as published; '' if they differ."""
    found = {published for _, published, _ in self.values}
    return found.pop() if len(found) == 1 else ''

  @property
  def cost(self) -> str:
    """The first clause of what the study costs."""
    return _CLAUSE.split(self.study.fields['Cost'], maxsplit=1)[0]

  @property
  def seeds(self) -> str:
    """The number of seeds, in words."""
    return _scoreboard.count(self.result['seeds'], 'seed')

  @property
  def why(self) -> str:
    """Why there is no result; '' of what its claim says by itself."""
    return '' if self.study.results else self.study.why

  @property
  def command(self) -> str:
    """What makes the result; of what was not run, what would."""
    command = self.study.command(self.stem)
    flag = None if self.result else _FLAG.match(self.claim)
    return f'{command} {flag[1]}' if flag else command


def papers(study: Study) -> list[str]:
  """Returns author and year of each paper that a study's source names."""
  parts = _scoreboard.source(study).split(';')
  found = (_PAPER.match(part.strip()) for part in parts)
  return [match[1] for match in found if match] or [parts[0].strip()]


def room(study: Study) -> str:
  """Returns the room of the library that a study is about."""
  return study.fields.get('Room', 'no room named')


def bibtex(study: Study, version: str) -> str:
  """Returns what cites a study, in BibTeX; CITATION.cff has the same words."""
  made = [_made_by.date(result) for result in study.results.values()]
  year = f'  year = {{{max(made)[:4]}}},\n' if made else ''
  commits = [
    f'{stem} by commit {_made_by.commit(result)}'
    for stem, result in study.results.items()
  ]
  note = '; '.join([f'Version {version}', study.title, *commits])
  return (
    f'@software{{bnresearch_{study.name},\n'
    '  author = {{the bnresearch authors}},\n'
    f'  title = {{{TITLE}}},\n{year}  note = {{{note}}},\n}}'
  )


def rows(study: Study) -> Iterator[Row]:
  """Yields the rows of a study, with what it has not run at the end."""
  number = 0
  for stem, claims in _scoreboard.groups(study):
    number += 1
    result = study.results[stem]
    holds = [h for claim in claims for h in claim['holds']]
    keys = 'setting', 'published', 'measured'
    yield Row(
      f'{study.name}-{number}',
      study,
      claims[0]['claim'],
      [tuple(claim[key] for key in keys) for claim in claims],
      _scoreboard.word(holds, study),
      holds,
      _times(holds, study, result),
      stem,
      result,
    )
  for what in _scoreboard.not_run(study):
    number += 1
    anchor = f'{study.name}-{number}'
    yield Row(anchor, study, what, [], 'not run', [], '', '', None)


def _times(holds, study, result):
  """Writes how often a claim holds: '2 of 3 seeds'."""
  said = _scoreboard.verdict(holds, study, result)
  return said.partition('(')[2].rstrip(')')
