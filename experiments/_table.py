"""A table of a study: the same on the terminal and on the page."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from rich import table as terminal_table

from bnresearch.terminal import Console

# What Markdown takes for markup; an underscore inside a word is none.
_MARKUP = re.compile(r'[\\`*<|~\[\]]|(?<!\w)_|_(?!\w)')


class Table(NamedTuple):
  """Cells of plain text.

  Attributes:
    columns: their titles; those after the first are aligned to the right.
    rows: as many cells each.
    caption: what a reader must know of the numbers.
  """

  columns: Sequence[str]
  rows: Iterable[Sequence[str]]
  caption: str = ''

  def show(self) -> None:
    """Prints the table."""
    shown = terminal_table.Table(caption=self.caption)
    for k, column in enumerate(self.columns):
      shown.add_column(column, justify='right' if k else 'left')
    for row in self.rows:
      shown.add_row(*row)
    Console().print(shown)

  def markdown(self) -> str:
    """Returns the table in Markdown, with the caption below it."""
    rows = [[escaped(cell) for cell in row] for row in self.rows]
    lines = markdown([escaped(c) for c in self.columns], rows)
    return f'{lines}\n\n{escaped(self.caption)}'.rstrip()


def escaped(text: str) -> str:
  """Returns plain text as Markdown that shows it, in a cell or elsewhere."""
  return _MARKUP.sub(r'\\\g<0>', ' '.join(text.split()))


def markdown(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
  """Returns a table of cells that are Markdown already."""
  lines = [columns, ['---'] * len(columns), *rows]
  return '\n'.join(f'| {" | ".join(cells)} |' for cells in lines)
