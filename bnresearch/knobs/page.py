"""The page of all knobs, in Markdown."""

from bnresearch.knobs import words
from bnresearch.knobs.table import GROUPS, KNOBS

_HEAD = """# Knobs

Every number and choice of a config, with its default. On the command line,
`--config.norm.momentum=0.9` sets one, and
`python -m bnresearch.main --explain=norm.momentum` prints what this page says
about it.

A knob that would have no effect is refused, unless it is left at its default.
*Effect* says what the knob needs to have one; where this column is empty, it
always has one.

`python -m bnresearch.knobs --output=docs/knobs.md` writes this page from
`bnresearch/knobs/table.py`.
"""
_COLUMNS = (
  '| knob | default | meaning | may be | effect |\n|---|---|---|---|---|'
)


def text() -> str:
  """Returns the page."""
  return '\n'.join([_HEAD, *map(_section, GROUPS)])


def _section(group):
  title = f'## {group}\n\n' if group else ''
  inside = [k for k in KNOBS.values() if k.key.rpartition('.')[0] == group]
  rows = '\n'.join(map(_row, inside))
  return f'{title}{GROUPS[group]}\n\n{_COLUMNS}\n{rows}\n'


def _row(knob):
  cells = (
    f'`{knob.key}`',
    f'`{knob.default!r}`',
    knob.comment,
    words.allowed(knob),
    '; '.join(words.needs(knob)),
  )
  return f'| {" | ".join(map(_cell, cells))} |'


def _cell(content):
  return content.replace('|', r'\|').replace('*', r'\*')
