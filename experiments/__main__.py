"""Lists the experiments, and the scoreboard of what has been reproduced."""

import ast
import json
import pathlib

from rich import box
from rich.console import Console
from rich.table import Table

FOLDER = pathlib.Path(__file__).parent


def main() -> None:
  """Prints one row an experiment, then one a claim that was put to the test."""
  experiments = Table(
    title='Experiments', title_justify='left', box=box.SIMPLE_HEAD
  )
  experiments.add_column('python -m', overflow='fold')
  experiments.add_column('what')
  for file in sorted(FOLDER.glob('[!_]*.py')):
    text = ast.get_docstring(ast.parse(file.read_text()))
    experiments.add_row(f'experiments.{file.stem}', text.splitlines()[0])

  board = Table(title='Scoreboard', title_justify='left', box=box.SIMPLE_HEAD)
  for column in ('result', 'setting', 'claim', 'measured', 'verdict'):
    board.add_column(column, overflow='fold')
  for file in sorted((FOLDER / 'results').glob('*.json')):
    for c in json.loads(file.read_text()).get('claims', ()):
      board.add_row(
        file.stem, c['setting'], c['claim'], c['measured'], c['verdict']
      )
  console = Console()
  console.print(experiments)
  console.print(board)


if __name__ == '__main__':
  main()
