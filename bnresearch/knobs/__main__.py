"""The command line: `python -m bnresearch.knobs [--output=FILE]`."""

import sys
from collections.abc import Sequence

from bnresearch import command, paths
from bnresearch.knobs import page
from bnresearch.terminal import say


@command.line()
def main(argv: Sequence[str] | None = None) -> int:
  """Prints or writes the page of all knobs; returns the exit status."""
  text = 'Prints the page of all knobs, in Markdown.'
  parser = command.parser('knobs', text)
  parser.add_argument(
    '--output',
    metavar='FILE',
    type=paths.output,
    help='write it there, as to docs/knobs.md',
  )
  args = parser.parse_args(argv)
  if args.output:
    paths.made(args.output).write_text(page.text(), encoding='utf-8')
    say(f'Wrote {args.output}.')
  else:
    say(page.text())
  return 0


if __name__ == '__main__':
  sys.exit(main())
