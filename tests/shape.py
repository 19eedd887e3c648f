"""The shape of the house in numbers: files, layers, imports, functions.

  python -m tests.shape                           # of this checkout
  python -m tests.shape --beside=../another       # another one beside it

A room is a folder or a file of bnresearch/. Imports inside its functions count
too. An import is against the order if the room that it names is no earlier in
FLOORS of that checkout's tests/test_architecture.py, or on no floor; each file
counts once for each such room. A command line, `__main__.py`, belongs to the
room that it lies in, but builds no layer, as nothing imports it. A chain counts
rooms that import each other in a circle as one layer.
"""

import argparse
import ast
import pathlib
import re
import statistics
import subprocess
import sys
from collections.abc import Iterable, Iterator

LIBRARY = 'bnresearch'
FOLDERS = (LIBRARY, 'configs', 'experiments', 'benchmarks', 'tests')


def main() -> int:
  """Prints the table."""
  parser = argparse.ArgumentParser(
    prog='python -m tests.shape',
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  here = pathlib.Path(__file__).parents[1]
  parser.add_argument('--root', type=pathlib.Path, default=here)
  parser.add_argument('--beside', type=pathlib.Path)
  args = parser.parse_args()
  roots = [args.root] + [args.beside] * bool(args.beside)
  for root in roots:
    if not (root / LIBRARY).is_dir():
      parser.error(f'{root}: is no checkout, as it has no {LIBRARY}/.')
  columns = [dict(shape(root)) for root in roots]
  titles = ['', *map(_title, roots)]
  rows = [
    [key, *(str(column[key]) for column in columns)] for key in columns[0]
  ]
  widths = [max(map(len, cells)) for cells in zip(titles, *rows)]
  for first, *rest in (titles, *rows):
    cells = [f'{cell:>{width}}' for cell, width in zip(rest, widths[1:])]
    print('  '.join([first.ljust(widths[0]), *cells]))
  return 0


def shape(root: pathlib.Path) -> Iterator[tuple[str, str | int]]:
  """Yields the name and the value of each row for a checkout."""
  trees = {
    folder: {f: ast.parse(f.read_text()) for f in (root / folder).rglob('*.py')}
    for folder in FOLDERS
  }
  for folder, of_folder in trees.items():
    lines = sum(map(_lines_of_file, of_folder))
    yield f'{folder}/: files, lines', f'{len(of_folder)}, {lines:,}'
  library = trees.pop(LIBRARY)
  yield from _imports(root, library)
  functions = [f for tree in library.values() for f in _functions(tree)]
  yield 'functions', len(functions)
  taking = sum(map(takes_config, functions))
  yield 'functions that take the whole config', taking
  sizes = map(_lines_of, functions)
  yield 'median function, lines', f'{statistics.median(sizes):g}'
  longest = max(functions, key=_lines_of)
  yield 'longest function, lines', f'{longest.name} {_lines_of(longest)}'
  file = max(library, key=_lines_of_file)
  where = file.relative_to(root / LIBRARY).as_posix()
  yield 'largest file, lines', f'{where} {_lines_of_file(file)}'
  elsewhere = {f: tree for of in trees.values() for f, tree in of.items()}
  for title, chosen in (('', library), (' elsewhere', elsewhere)):
    long = sum(_lines_of_file(file) > 250 for file in chosen)
    yield f'files above 250 lines{title}', long
    functions = [f for tree in chosen.values() for f in _functions(tree)]
    long = sum(_lines_of(function) > 50 for function in functions)
    yield f'functions above 50 lines{title}', long


def _imports(root, library) -> Iterator[tuple[str, int]]:
  """Yields the rows of rooms and imports."""
  imports = {file: rooms(tree) for file, tree in library.items()}
  room_of = {
    file: file.relative_to(root / LIBRARY).with_suffix('').parts[0]
    for file in library
  }
  graph = {room: set() for room in room_of.values() if room != '__init__'}
  for file, room in room_of.items():
    if room in graph and file.name != '__main__.py':
      graph[room] |= imports[file] & set(graph) - {room}
  layers, circular = chain(graph)
  yield 'rooms', len(graph)
  yield 'layers of imports', layers
  yield 'rooms that import in a circle', circular
  floor = _floors(root)
  wrong = [
    file
    for file, named in imports.items()
    for there in named - {room_of[file]}
    if floor.get(there, len(floor)) >= floor.get(room_of[file], -1)
    # The package itself, with its public names, stands above all.
    and room_of[file] != '__init__'
  ]
  yield 'imports against the order', len(wrong)
  of_commands = sum(file.name == '__main__.py' for file in wrong)
  yield '  of these, by command lines', of_commands


def rooms(tree: ast.Module) -> set[str]:
  """Returns the rooms that a file imports, at its top or in a function."""
  names = set()
  for node in ast.walk(tree):
    if isinstance(node, ast.Import):
      names |= {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
      names |= {f'{node.module}.{alias.name}' for alias in node.names}
  parts = (name.split('.') for name in names)
  return {p[1] for p in parts if p[0] == LIBRARY and len(p) > 1}


def chain(graph: dict[str, set[str]]) -> tuple[int, int]:
  """Returns the length of the longest chain, and how many lie on a circle."""
  reached = {start: _reached(graph, start) for start in graph}
  # Those that reach each other are one link, named for the first of them.
  link = {
    a: min({a} | {b for b in reached[a] if a in reached[b]}) for a in graph
  }
  above = {name: set() for name in link.values()}
  for a, others in graph.items():
    above[link[a]] |= {link[b] for b in others} - {link[a]}
  lengths = {}

  def length(name):
    if name not in lengths:
      lengths[name] = 1 + max(map(length, above[name]), default=0)
    return lengths[name]

  longest = max(map(length, above), default=0)
  return longest, sum(a in reached[a] for a in graph)


def takes_config(function: ast.FunctionDef | ast.AsyncFunctionDef) -> bool:
  """Says whether a parameter is the config: a Config, or of no type at all."""
  args = function.args
  return any(
    arg.arg == 'config'
    and (
      arg.annotation is None
      or re.search(r'\bConfig(Dict)?\b', ast.unparse(arg.annotation))
    )
    for arg in (*args.posonlyargs, *args.args, *args.kwonlyargs)
  )


def _reached(graph, start):
  found, left = set(), [start]
  while left:
    new = graph[left.pop()] - found
    found |= new
    left += new
  return found


def _floors(root) -> dict[str, int]:
  """Returns the floor of each room."""
  file = root / 'tests' / 'test_architecture.py'
  for node in ast.parse(file.read_text()).body:
    if (
      isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == 'FLOORS'
    ):
      floors = ast.literal_eval(node.value)
      return {room: k for k, names in enumerate(floors) for room in names}
  raise SystemExit(f'{file}: has no FLOORS.')


def _functions(tree) -> Iterable[ast.FunctionDef | ast.AsyncFunctionDef]:
  kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
  return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def _lines_of(node):
  return node.end_lineno - node.lineno + 1


def _lines_of_file(file):
  return len(file.read_text().splitlines())


def _title(root):
  command = ['git', '-C', str(root), 'log', '-1', '--format=%h']
  commit = subprocess.run(command, capture_output=True, text=True).stdout
  return f'{root.resolve().name} {commit}'.strip()


if __name__ == '__main__':
  sys.exit(main())
