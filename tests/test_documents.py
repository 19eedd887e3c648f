"""docs/documents.md: each row has a command, its number, and a test of it."""

import ast
import functools
import importlib
import json
import pathlib
import re
import shlex
from typing import NamedTuple

import pytest

from bnresearch import zoo
from bnresearch.models import __main__ as models_command

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / 'docs/documents.md'
# Such as 1,500, 4.9, 2e-16 and 3x3x16x32; not the 5 of BN-x5.
NUMBER = re.compile(
  r'(?<![\w.])\d+(?:,\d{3})*(?:\.\d+)?(?:e[-+]?\d+)?(?:x\d+)*(?!\w)'
)

ZOO = 'python -m bnresearch.models'


class Row(NamedTuple):
  """A row of the page's tables.

  Attributes:
    item: what the documents have.
    documents: which of them have it, such as '0 4'.
    shown_by: a command or a file, in code.
    number: what it shows.
    test: 'FILE::NAME' in code, each without its `test_`.
  """

  item: str
  documents: str
  shown_by: str
  number: str
  test: str


def rows():
  """Returns the rows of all tables of five columns, without their heads."""
  found = []
  for table in re.findall(r'(?:^\|.*\n)+', PAGE.read_text(), re.M):
    head, _, *lines = (
      [cell.strip() for cell in line.strip('|\n').split('|')]
      for line in table.splitlines()
    )
    if len(head) == len(Row._fields):
      found += [Row(*line) for line in lines]
  return found


def code(cell):
  """Returns the code that a cell consists of, '' if it is something else."""
  (text,) = re.findall(r'^`([^`]+)`$', cell) or ['']
  return text


ROWS = rows()
COMMANDS = {
  command: [row for row in ROWS if code(row.shown_by) == command]
  for row in ROWS
  if (command := code(row.shown_by)).startswith('python -m ')
}


def module_of(command):
  return shlex.split(command)[2]


def executed():
  """Returns the commands that are run here; networks take long to trace."""
  return [
    pytest.param(command, marks=pytest.mark.grid)
    if command.startswith(f'{ZOO} --')
    else command
    for command in COMMANDS
    if command.startswith('python -m bnresearch.')
  ]


def kept_by(row):
  """Returns the file of a row's test, and the name of its function."""
  file, _, name = code(row.test).partition('::')
  return ROOT / 'tests' / f'test_{file}.py', f'test_{name}'


@functools.cache
def functions(file):
  tree = ast.parse(file.read_text())
  return {n.name for n in tree.body if isinstance(n, ast.FunctionDef)}


def results(command):
  """Returns what is written of a study's claims, or of a benchmark."""
  room, _, name = module_of(command).partition('.')
  if room == 'benchmarks':
    return (ROOT / room / 'README.md').read_text()
  claims = [
    claim
    for file in (ROOT / room / 'results').glob(f'{name}*.json')
    for claim in json.loads(file.read_text())['claims']
  ]
  return '\n'.join(f'{c["published"]}; {c["measured"]}' for c in claims)


def missing(numbers, text):
  """Returns the numbers of a cell that do not stand in a text."""
  there = {*NUMBER.findall(text)}
  return [n for n in NUMBER.findall(numbers) if n not in there]


def test_every_document_has_rows_and_every_row_five_cells():
  assert len(ROWS) > 100
  wrong = [
    row
    for row in ROWS
    if not all(row) or not {*row.documents.split()} <= {*'01234'}
  ]
  assert not wrong
  assert {d for row in ROWS for d in row.documents.split()} == {*'01234'}
  # What one takes in at a glance.
  assert [r for r in ROWS if max(len(r.item), len(r.number)) > 56] == []


def test_every_test_of_a_row_exists():
  wrong = [
    row.test
    for row in ROWS
    if not kept_by(row)[0].is_file()
    or kept_by(row)[1] not in functions(kept_by(row)[0])
  ]
  assert not wrong


def test_every_command_and_file_of_a_row_exists():
  wrong = []
  for row in ROWS:
    shown = code(row.shown_by)
    if shown not in COMMANDS:
      there = shown and (ROOT / shown).is_file()
    else:
      file = ROOT / (module_of(shown).replace('.', '/') + '.py')
      flags = [word.partition('=')[0] for word in shlex.split(shown)[3:]]
      there = shown.startswith('python -m bnresearch.') or (
        file.is_file() and all(f"'{f}'" in file.read_text() for f in flags)
      )
    if not there:
      wrong.append(row.shown_by)
  assert not wrong


@pytest.mark.parametrize('command', executed())
def test_a_command_shows_the_numbers_of_its_rows(command, capsys, monkeypatch):
  monkeypatch.chdir(ROOT)  # where configs/ is
  if command == ZOO:  # its counts are those of test_zoo.py
    nothing = models_command.measure(zoo.network('lenet_5'), 28, 1), 28
    monkeypatch.setattr(models_command, '_cost', lambda name, args: nothing)
  name = module_of(command)
  package = (ROOT / name.replace('.', '/')).is_dir()
  module = importlib.import_module(f'{name}.__main__' if package else name)
  assert module.main(shlex.split(command)[3:]) == 0
  printed = capsys.readouterr().out
  for row in COMMANDS[command]:
    assert missing(row.number, printed) == [], row


def test_numbers_of_studies_are_those_of_their_results():
  studies = [c for c in COMMANDS if not c.startswith('python -m bnresearch.')]
  wrong = [
    (row.item, module_of(command), missing(row.number, results(command)))
    for command in studies
    for row in COMMANDS[command]
    if missing(row.number, results(command)) or not NUMBER.search(row.number)
  ]
  assert not wrong, '\n'.join(map(str, wrong))


def test_a_number_of_a_file_stands_there_or_in_the_rows_test():
  wrong = []
  for row in ROWS:
    if (shown := code(row.shown_by)) not in COMMANDS:
      texts = [(ROOT / shown).read_text(), kept_by(row)[0].read_text()]
      # In code, 11,178,336 is 11_178_336.
      text = '\n'.join(texts).replace('_', ',')
      if numbers := missing(row.number, text):
        wrong.append((row.item, shown, numbers))
  assert not wrong, '\n'.join(map(str, wrong))
