"""Command lines: what a user can mend is one message, and no traceback."""

import functools
import os
import sys
from collections.abc import Callable, Sequence

import jax

from bnresearch import lookup, paths
from bnresearch.config import ConfigError
from bnresearch.data import DamagedData, MissingData
from bnresearch.engine import hosts
from bnresearch.engine.checkpoint import RestoreError
from bnresearch.records import run_directory
from bnresearch.terminal import explain, say

Main = Callable[[Sequence[str] | None], int]

_EXPECTED = (
  ConfigError,
  DamagedData,
  MissingData,
  RestoreError,
  hosts.Lost,
  lookup.Unknown,
  paths.Unusable,
  run_directory.Refused,
  MemoryError,
  OSError,  # of the disk: full, read-only, somebody else's
)


def line(*expected: type[Exception]) -> Callable[[Main], Main]:
  """Returns a decorator of the `main(argv)` of a command line.

  What is expected to go wrong is said on the standard error, and the status is
  2; 1 if it was interrupted, or who reads its output has gone. All else is a
  fault of this code, and keeps its traceback.

  Args:
    *expected: exceptions of this command, besides those of all.
  """

  def decorate(main):
    @functools.wraps(main)
    def run(argv=None):
      _take_every_character()
      try:
        status = main(argv)
        sys.stdout.flush()
        return status
      except BrokenPipeError:  # as by `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
      except KeyboardInterrupt:
        say('Interrupted.', sys.stderr)
        return 1
      except (*_EXPECTED, *expected) as error:
        say(explain(error), sys.stderr)
        return 2
      except jax.errors.JaxRuntimeError as error:
        if 'RESOURCE_EXHAUSTED' not in str(error):
          raise
        say(explain(error), sys.stderr)
        return 2

    return run

  return decorate


def _take_every_character():
  """Lets a terminal of few characters get the others as escapes."""
  if hasattr(sys.stdout, 'reconfigure'):
    sys.stdout.reconfigure(errors='backslashreplace')
