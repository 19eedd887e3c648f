"""Lists the experiments, and what of their claims has been reproduced."""

import ast
import json
import pathlib
import signal

from bnresearch.reports import claims

FOLDER = pathlib.Path(__file__).parent


def main() -> None:
  """Prints each experiment, and below it the verdicts of its results."""
  signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # `| head` ends it quietly
  for file in sorted(FOLDER.glob('[!_]*.py')):
    text = ast.get_docstring(ast.parse(file.read_text()))
    print(f'python -m experiments.{file.stem}\n  {text.splitlines()[0]}')
    results = (FOLDER / 'results').glob(f'{file.stem}*.json')
    for stored in sorted(results):
      result = json.loads(stored.read_text())
      steps = f'{result["steps"]:,} steps, ' if result['steps'] else ''
      print(
        f'  On {result["data"]}, {_seeds(result)}{steps}{result["device"]}, '
        f'jax {result["jax"]}, {result["date"][:10]}:'
      )
      for claim in result['claims']:
        verdict = claims.told(claim['holds'])
        print(f'    {verdict:<28}  {claim["setting"]}: {claim["claim"]}')


def _seeds(result):
  count = result.get('seeds')
  return f'{count} seed{"s" * (count > 1)}, ' if count else ''


if __name__ == '__main__':
  main()
