"""Command lines: what a user can mend is one message, and no traceback."""

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
    examples: lines that end its help, as they are.
  """
  return argparse.ArgumentParser(
    prog=f'python -m bnresearch.{module}',
    description=text,
    epilog=examples,
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )


def line(*expected: type[Exception]) -> Callable[[Main], Main]:
  """Returns a decorator of the `main(argv)` of a command line.

  A `UserError`, and what the system refuses, is said on the standard error, and
  the status is 2; 1 if it was interrupted, or who reads its output has gone.
  All else is a fault of this code, and keeps its traceback.

  Args:
    *expected: what else a user of this command can mend.
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
      except BrokenPipeError:  # as by `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
      except KeyboardInterrupt:
        say('Interrupted.', sys.stderr)
        return 1
      except Exception as error:
        # Those of the system: a full disk, a file that is somebody else's.
        if not isinstance(error, (UserError, OSError, *expected)) and (
          not is_of_memory(error)
        ):
          raise
        say(explain(error), sys.stderr)
        return 2

    return run

  return decorate


def _take_every_character():
  """Lets a terminal of few characters get the others as escapes."""
  if hasattr(sys.stdout, 'reconfigure'):
    sys.stdout.reconfigure(errors='backslashreplace')
