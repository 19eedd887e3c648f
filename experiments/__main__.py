"""Lists the experiments, runs them, writes pages of what they found."""

import argparse
import pathlib
import sys
from collections.abc import Sequence

from bnresearch import command, paths
from bnresearch.reports import listing
from bnresearch.terminal import say
from experiments import _all, _page, _scale, _scoreboard, _site

_EXAMPLES = """
  python -m experiments                                    lists them
  python -m experiments --report=site                      the committed results
  python -m experiments --all --scale=ci --report=trial    tries all of them
  python -m experiments affine --scale=ci --report=trial   tries one
"""


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Lists, runs or reuses studies, writes pages; returns the exit status."""
  parser = _parser()
  args = parser.parse_args(argv)
  runs = bool(args.all or args.names)
  for flag in ('results', 'again'):
    if getattr(args, flag) and not (runs or (args.report and flag != 'again')):
      parser.error(f'--{flag} has no effect without --all or names of studies.')
  if args.all and args.names:
    parser.error('--all: takes all studies. Leave out their names, or --all.')
  status = 0
  if args.output:
    paths.made(args.output).write_text(_page.text(), encoding='utf-8')
    say(f'Wrote {args.output}.')
  if args.verdicts:
    _scoreboard.write_verdicts(args.verdicts)
    say(f'Wrote the verdicts into {args.verdicts}.')
  committed = args.scale == _scale.SMALL and not runs
  results = args.results or (
    _scoreboard.RESULTS if committed else _scale.results(args.scale)
  )
  if runs:
    todo = _all.jobs(_all.chosen(args.names), args.scale)
    ended = _all.run(todo, args.scale, results, args.again)
    status = _all.summary(ended, results)
  if args.report:
    _report(args, results, committed)
  if not (args.output or args.verdicts or args.report or runs):
    for line in listing.lines(pathlib.Path(__file__).parent):
      say(line)
  return status


def _parser():
  parser = argparse.ArgumentParser(
    prog='python -m experiments',
    description=__doc__,
    epilog=f'examples:{_EXAMPLES}',
    formatter_class=argparse.RawDescriptionHelpFormatter,
    allow_abbrev=False,
  )
  parser.add_argument('names', nargs='*', metavar='NAME', help='runs a study')
  parser.add_argument('--all', action='store_true', help='runs all studies')
  parser.add_argument(
    '--scale',
    choices=_scale.SCALES,
    default=_scale.SMALL,
    help='of what runs, or of the site: small, the default, is that of the '
    'committed results and takes a day; ci is a trial of minutes, which is no '
    'evidence; paper is as published, where a study has that',
  )
  parser.add_argument(
    '--results',
    metavar='FOLDER',
    type=paths.local,
    help='of pictures and numbers, which are written there; default '
    'runs/SCALE/results or, of a site without runs, the committed ones',
  )
  parser.add_argument(
    '--again', action='store_true', help='runs also what could be reused'
  )
  parser.add_argument(
    '--report',
    metavar='FOLDER',
    type=paths.local,
    help='write the site of the results there: a scoreboard to filter and sort '
    'and a page for each study, which open from disk; needs '
    "pip install 'bnresearch[report]'",
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
  return parser


def _report(args, results, committed):
  """Writes the site, and says where the pages of named studies are."""
  why = {} if committed else _all.reasons(args.scale, _scoreboard.studies())
  studies = _scoreboard.studies(results, args.scale, why)
  _site.write(args.report, studies, results)
  say(f'Wrote {args.report / "index.html"}.')
  for name in args.names:
    say(f'Wrote {args.report / name}.html.')


if __name__ == '__main__':
  sys.exit(main())
