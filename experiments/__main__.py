"""Lists the experiments, and which of their claims have been reproduced."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from bnresearch import command, paths
from bnresearch.reports import listing
from bnresearch.terminal import say
from experiments import _page, _scoreboard, _site


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Prints each experiment with its verdicts, or writes pages of them."""
  parser = argparse.ArgumentParser(
    prog='python -m experiments', description=__doc__, allow_abbrev=False
  )
  parser.add_argument(
    '--output',
    metavar='FILE',
    type=paths.output,
    help='write the page of all studies there, as to experiments/README.md',
  )
  parser.add_argument(
    '--verdicts',
    metavar='FILE',
    type=paths.output,
    help='write the table of the main verdicts there, as into README.md: '
    f'between its lines {" and ".join(_scoreboard.MARKERS)}',
  )
  parser.add_argument(
    '--report',
    metavar='FOLDER',
    type=paths.local,
    help='write the site of all results there: a scoreboard to filter and sort '
    'and a page for each study, which open from disk; needs '
    "pip install 'bnresearch[report]'",
  )
  args = parser.parse_args(argv)
  if args.output:
    paths.made(args.output).write_text(_page.text(), encoding='utf-8')
    say(f'Wrote {args.output}.')
  if args.verdicts:
    _scoreboard.write_verdicts(args.verdicts)
    say(f'Wrote the verdicts into {args.verdicts}.')
  if args.report:
    _site.write(args.report)
    say(f'Wrote {args.report / "index.html"}.')
  if not (args.output or args.verdicts or args.report):
    for line in listing.lines(pathlib.Path(__file__).parent):
      say(line)
  return 0


if __name__ == '__main__':
  sys.exit(main())
