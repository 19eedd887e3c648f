"""What a terminal shows: names appear as they are, and do no harm.

Names of files, classes and points may hold what Rich takes for markup or an
emoji, bytes that are not UTF-8, or characters that control a terminal.
"""

import concurrent.futures.process
import os
import sys
from collections.abc import Iterable
from typing import Any, TextIO, TypeVar

import rich.console
import rich.progress
from rich.text import Text

_T = TypeVar('_T')

_WIDTH = 140  # of output to a file: a table must not lose its columns
_LESS_MEMORY = (
  'A smaller train.batch_size, eval.batch_size or probes.examples, a larger '
  "train.microbatches, train.remat = 'blocks', or fewer runs at a time need "
  'less.'
)


class UserError(Exception):
  """An error that a user can fix: the message says how, without a traceback."""


class ConfigError(UserError, ValueError):
  """A config cannot be used; the message lists every problem found."""

  def __init__(self, problems: str | Iterable[str]):
    problems = [problems] if isinstance(problems, str) else problems
    self.problems = tuple(dict.fromkeys(problems))
    n = len(self.problems)
    title = 'A problem' if n == 1 else f'{n} problems'
    super().__init__('\n  '.join([f'{title}:', *self.problems]))


class Refused(UserError, RuntimeError):
  """A directory cannot be used for this run; nothing in it was touched."""


class Console(rich.console.Console):
  """Rich's console, for which a text is only text, never markup."""

  def __init__(self, **options: Any):
    super().__init__(
      **{'markup': False, 'highlight': False, 'emoji': False} | options
    )

  def render_str(self, text: str, **options: Any) -> Text:
    """Makes a `Text` of a string that is printed, a cell or a title."""
    return super().render_str(printable(text), **options)


def wide() -> Console:
  """Returns a console that does not cut the tables it writes to a file."""
  return Console(width=None if sys.stdout.isatty() else _WIDTH)


def track(
  items: Iterable[_T], description: str, total: int | None = None
) -> Iterable[_T]:
  """Returns the items; on a terminal, standard error shows the progress."""
  console = Console(stderr=True)
  return rich.progress.track(
    items,
    description,
    total,
    console=console,
    transient=True,
    disable=not console.is_terminal,
  )


def printable(text: str) -> str:
  r"""Returns a text with unprintable characters as Python's escapes: \x1b."""
  if text.replace('\n', '').isprintable():
    return text
  return ''.join(
    c if c.isprintable() or c == '\n' else ascii(c)[1:-1] for c in text
  )


def say(text: object, file: TextIO | None = None) -> None:
  """Prints lines, on the standard output by default."""
  print(printable(str(text)), file=file, flush=file is not None)


def is_of_memory(error: BaseException) -> bool:
  """Says whether the host or a device has run out of memory."""
  return isinstance(error, MemoryError) or 'RESOURCE_EXHAUSTED' in str(error)


def explain(error: BaseException) -> str:
  """Returns an exception as a message for the user who can fix its cause."""
  text = str(error)
  if is_of_memory(error):
    first = (text.splitlines() or ['no reason given'])[0]
    return f'Out of memory ({first}). {_LESS_MEMORY}'
  if isinstance(error, concurrent.futures.process.BrokenProcessPool):
    return f'A process was killed, perhaps for want of memory. {_LESS_MEMORY}'
  if isinstance(error, OSError) and error.strerror:
    where = error.filename
    at = f'{os.fsdecode(where)}: ' if isinstance(where, (str, bytes)) else ''
    return f'{at}{error.strerror}.'
  return text or type(error).__name__
