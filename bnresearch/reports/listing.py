"""A folder's studies, and what of their claims has been reproduced."""

import ast
import json
import pathlib
from collections.abc import Iterator
from typing import Any

from bnresearch.reports import claims


def lines(folder: pathlib.Path) -> Iterator[str]:
  """Yields lines for a terminal: each study, then the verdicts of its results.

  Args:
    folder: a package with a module for each study; those that begin with an
      underscore are none. `results` in it has what `claims.write` wrote of a
      study, in files that begin with its name.
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
