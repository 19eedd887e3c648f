"""Command lines: what a user can fix is one message, without a traceback."""

import argparse
import functools
import os
import sys
from collections.abc import Callable

from bnresearch.terminal import UserError, explain, is_of_memory, say

Main = Callable[..., int]


def parser(
  module: str, text: str, examples: str = ''
) -> argparse.ArgumentParser:
  """Returns a parser of `python -m bnresearch.MODULE`.

  Args:
    module: its name.
    text: what the command does.
    examples: the last lines of its help, printed as they are.
  """
  return argparse.ArgumentParser(
    prog=f'python -m bnresearch.{module}',
    description=text,
    epilog=examples,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )


def line(*expected: type[Exception]) -> Callable[[Main], Main]:
  """Returns a decorator for the `main(argv)` of a command line.

  A `UserError` or an error of the system is printed to standard error, and the
  status is 2. The status is 1 if the command was interrupted, or if the reader
  of its output has gone. Any other exception is a bug and keeps its traceback.

  Args:
    *expected: other exceptions that a user of this command can fix.
  """

  def decorate(main):
    @functools.wraps(main)
    def run(argv=None):
      _take_every_character()
      try:
        try:
          return main(argv)
        finally:  # after --help too, which leaves by SystemExit
          if sys.stdout:
            sys.stdout.flush()
      except BrokenPipeError:  # as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
      except KeyboardInterrupt:
        say('Interrupted.', sys.stderr)
        return 1
      except Exception as error:
        # OSError: a full disk, say, or somebody else's file.
        if not isinstance(error, (UserError, OSError, *expected)) and (
          not is_of_memory(error)
        ):
          raise
        say(explain(error), sys.stderr)
        return 2

    return run

  return decorate


def _take_every_character():
  """Prints as escapes what the encoding of the terminal lacks."""
  if hasattr(sys.stdout, 'reconfigure'):
    sys.stdout.reconfigure(errors='backslashreplace')
