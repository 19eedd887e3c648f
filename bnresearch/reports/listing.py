"""A folder's studies, and which of their claims have been reproduced."""

import argparse
import ast
import json
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

from bnresearch.reports import claims
from bnresearch.terminal import say


def run(
  folder: pathlib.Path, description: str, argv: Sequence[str] | None
) -> int:
  """Prints each study and its verdicts: the command line of a package.

  Args:
    folder: see `lines`.
    description: of the command, for its help.
    argv: its arguments: none, or --help.
  """
  argparse.ArgumentParser(
    prog=f'python -m {folder.name}', description=description
  ).parse_args(argv)
  for line in lines(folder):
    say(line)
  return 0


def lines(folder: pathlib.Path) -> Iterator[str]:
  """Yields lines for a terminal: each study, then the verdicts of its results.

  Args:
    folder: a package with a module for each study; modules that begin with an
      underscore are no studies. Its `results` has what `claims.write` wrote
      about a study, in files that begin with the study's name.
  """
  for file in sorted(folder.glob('[!_]*.py')):
    text = ast.get_docstring(ast.parse(file.read_text()))
    yield f'python -m {folder.name}.{file.stem}'
    yield f'  {text.splitlines()[0]}'
    for stored in sorted((folder / 'results').glob(f'{file.stem}*.json')):
      yield from _verdicts(json.loads(stored.read_text()))


def _verdicts(result: dict[str, Any]) -> Iterator[str]:
  count, steps = result.get('seeds'), result['steps']
  yield (
    f'  On {result["data"]}, '
    + (f'{count} seed{"s" * (count > 1)}, ' if count else '')
    + (f'{steps:,} steps, ' if steps else '')
    + f'{result["device"]}, jax {result["jax"]}, {result["date"][:10]}:'
  )
  for claim in result['claims']:
    verdict = claims.told(claim['holds'])
    yield f'    {verdict:<28}  {claim["setting"]}: {claim["claim"]}'
