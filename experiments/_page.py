"""The page of all studies: the scoreboard, and a section for each."""

import collections
import re

from experiments import _made_by, _scoreboard
from experiments._scoreboard import verdict
from experiments._table import Table, escaped, markdown

_HEAD = """# What was measured

The scoreboard has a row for each claim. Below it, each study has a section.
`python -m experiments` prints the verdicts on a terminal. The numbers of every
run are in [results](results). Speed, beside Flax and PyTorch, is in
[benchmarks](../benchmarks/README.md).

`python -m experiments --output=experiments/README.md` writes this page from the
studies' files and results.

## Scoreboard

A claim is *reproduced* if it holds in every seed, and *partly* if it holds in
some. If it holds in none, it is *not at this scale* where the study is smaller
than the published one, and *not reproduced* elsewhere: the section of a study
says what its scale is. What a study could do and has not done is *not run*. ±
is the standard deviation over seeds. Settings of one claim that have the same
verdict share a row, and their seeds are counted together.
"""
_MADE = (
  *('result', 'data', 'runs', 'steps', 'seeds'),
  *('device', 'versions', 'date', 'commit'),
)


def text() -> str:
  """Returns the page."""
  found = _scoreboard.studies()
  rows = [row for study in found for row in _scoreboard.rows(study)]
  board = markdown(_scoreboard.COLUMNS, rows)
  return '\n'.join([_HEAD, _sum(found), '', board, '', *map(_section, found)])


def _sum(found):
  """Writes how many claims have each verdict."""
  words = collections.Counter(
    _scoreboard.word(claim['holds'], study)
    for study in found
    for result in study.results.values()
    for claim in result['claims']
  )
  each = ', '.join(f'{n} {word}' for word, n in words.most_common())
  return f'Claims, counted in each setting and on each data set: {each}.'


def _section(study) -> str:
  """Returns a study's section; each has the same fields in the same order."""
  none = 'Nothing yet.'
  config = re.sub(
    r'(configs/\w+\.py)\S*',
    lambda found: f'[`{found[0]}`](../{found[1]})',
    study.fields['Config'],
  )
  fields = {
    'Claim': study.fields['Claim'],
    'Source': study.fields['Source'],
    'Scale': study.fields['Scale'],
    'Method': study.method,
    'Config': config,
    'Runs': _runs(study) or none,
    'Cost': study.fields['Cost'],
    'Not run': study.fields.get('Not run', ''),
    'Measured': _measured(study) or none,
    'Figure': _figures(study) or none,
    'Notes': study.notes or 'None.',
    'Command': f'`{study.fields["Command"]}`',
  }
  parts = [
    f'**{key}.** {value[0].upper()}{value[1:]}'
    for key, value in fields.items()
    if value
  ]
  return '\n\n'.join([f'## {study.title}', *parts]) + '\n'


def _runs(study):
  """Returns a table of what made each result, '' for none."""
  rows = [
    (
      f'[{stem}](results/{stem}.json)',
      escaped(result['data']),
      f'{_made_by.runs(result):,}',
      f'{result["steps"]:,}',
      str(result['seeds']),
      _made_by.device(result),
      _made_by.versions(result),
      _made_by.date(result),
      _made_by.commit(result),
    )
    for stem, result in study.results.items()
  ]
  return (
    f'Each result, and what made it:\n\n{markdown(_MADE, rows)}' if rows else ''
  )


def _measured(study):
  parts, columns = [], ('setting', 'claim', 'published', 'measured')
  for stem, result in study.results.items():
    rows = [
      [*(c[key] for key in columns), verdict(c['holds'], study, result)]
      for c in result['claims']
    ]
    parts += [f'`{stem}`:', Table([*columns, 'verdict'], rows).markdown()]
    if study.table:
      parts.append(study.table(result).markdown())
  return '\n\n'.join(parts)


def _figures(study):
  return '\n\n'.join(
    f'![{escaped(study.title)}, {escaped(result["data"])}](results/{stem}.png)'
    for stem, result in study.results.items()
  )
