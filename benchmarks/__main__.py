"""Lists the benchmarks, and which goals they reached."""

import pathlib
import sys
from collections.abc import Sequence

from bnresearch import command
from bnresearch.reports import listing


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Prints each benchmark with the verdicts of its results."""
  return listing.run(pathlib.Path(__file__).parent, __doc__, argv)


if __name__ == '__main__':
  sys.exit(main())
