"""Lists the experiments, and what of their claims has been reproduced."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from bnresearch import command
from bnresearch.reports import listing


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Prints each experiment, and below it the verdicts of its results."""
  argparse.ArgumentParser(
    prog='python -m experiments', description=__doc__
  ).parse_args(argv)
  for line in listing.lines(pathlib.Path(__file__).parent):
    print(line)
  return 0


if __name__ == '__main__':
  sys.exit(main())
