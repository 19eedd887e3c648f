"""The plan of the house, kept: who imports whom, how long, how documented."""

import ast
import pathlib

ROOT = pathlib.Path(__file__).parents[1]

# Each floor imports itself and the ones before it; rooms of one floor do not
# import each other.
FLOORS = (
  ('__version__',),  # of the package itself, which imports nothing at first
  ('lazy', 'terminal'),
  ('lookup', 'images', 'paths', 'command'),
  ('statistics', 'conventions'),
  ('machine',),
  ('ops',),
  ('norms', 'models', 'data', 'augment', 'probes', 'mirrors'),
  ('training',),
  ('evaluation',),
  ('config_code', 'knobs'),
  ('config',),
  ('assembly', 'pretrained', 'zoo'),
  ('stated',),
  ('runs',),
  ('inference',),
  ('preflight',),
  ('sweeps',),
  ('reports', 'norm_contract'),
  ('flags', 'selftest'),
  ('from_python', 'main'),
)
FLOOR_OF = {room: i for i, rooms in enumerate(FLOORS) for room in rooms}

# Heavy (2 to 4 s to import, pyarrow 0.4), or optional, and needed by some users
# only.
IMPORTED_LATE = {
  'IPython',
  'grain',
  'ipywidgets',
  'matplotlib',
  'matplotlib_inline',
  'PIL',
  'jinja2',
  'markupsafe',
  'pyarrow',
  'sklearn',
  'submitit',
  'tensorboardX',
  'tensorflow',
  'tensorflow_datasets',
  'torch',
  'vl_convert',
  'wandb',
}

# What is run to measure something; of their files, those that begin with an
# underscore are the rest of one or of several, and are no entries.
STUDIES = 'experiments', 'benchmarks'
PROJECT = {'bnresearch', 'configs', *STUDIES, 'tests', 'colab'}


def _files(*folders):
  return sorted(f for name in folders for f in (ROOT / name).rglob('*.py'))


def _tree(file):
  return ast.parse(file.read_text(), str(file))


def _imports(tree, *, functions=True):
  """Yields the dotted name of each module, or name in one, that is imported.

  `functions=False` leaves out imports inside functions. Imports that only type
  checkers read never count.
  """
  inside = [
    node
    for node in ast.walk(tree)
    if isinstance(node, ast.If) and ast.unparse(node.test) == 'TYPE_CHECKING'
  ]
  inside += () if functions else _functions(tree)
  late = {node for outer in inside for node in ast.walk(outer)}
  for node in ast.walk(tree):
    if node in late:
      continue
    if isinstance(node, ast.Import):
      for alias in node.names:
        yield alias.name
    elif isinstance(node, ast.ImportFrom):
      assert node.level == 0, f'relative import in line {node.lineno}'
      for alias in node.names:
        yield f'{node.module}.{alias.name}'


def _room(file):
  """Returns the room of a library file: the folder, or the file itself.

  A room's command line is not part of it: it is on the top floor, as `main`.
  """
  if file.name == '__main__.py':
    return 'main'
  return file.relative_to(ROOT / 'bnresearch').with_suffix('').parts[0]


def _public(tree):
  """Yields the public classes, functions and methods of a module."""
  kinds = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
  for node in tree.body:
    if isinstance(node, kinds) and not node.name.startswith('_'):
      yield node
      if isinstance(node, ast.ClassDef):
        yield from _public(node)


def _functions(tree):
  kinds = (ast.FunctionDef, ast.AsyncFunctionDef)
  return [node for node in ast.walk(tree) if isinstance(node, kinds)]


def _assert_none(wrong):
  assert not wrong, '\n'.join(['', *wrong])


def _at(file, node):
  return f'{file.relative_to(ROOT)}:{node.lineno}'


def test_every_library_file_has_its_place_in_the_plan():
  homeless = {_room(f) for f in _files('bnresearch')} - set(FLOOR_OF)
  assert homeless == {'__init__'}


def test_imports_inside_the_library_point_one_way():
  wrong = []
  for file in _files('bnresearch'):
    here = _room(file)
    for name in _imports(_tree(file)):
      package, _, rest = name.partition('.')
      if package != 'bnresearch':
        continue
      there = rest.split('.')[0]
      # The package itself, with its public names, stands above all.
      earlier = FLOOR_OF.get(there, 99) < FLOOR_OF.get(here, 98)
      if there != here and not earlier:
        wrong.append(f'{file.relative_to(ROOT)} imports {name}')
  _assert_none(wrong)


def test_a_rooms_command_line_stands_on_the_top_floor():
  """It imports from the floors below, and nothing imports it."""
  wrong = []
  for file in _files('bnresearch'):
    for name in _imports(_tree(file)):
      package, _, rest = name.partition('.')
      top = FLOOR_OF.get(rest.split('.')[0], 0) == len(FLOORS) - 1
      above = file.name == '__main__.py' and package == 'bnresearch' and top
      if above or '.__main__' in name:
        wrong.append(f'{file.relative_to(ROOT)} imports {name}')
  _assert_none(wrong)


def test_the_library_knows_no_config_file_and_no_study():
  wrong = [
    f'{file.relative_to(ROOT)} imports {name}'
    for file in _files('bnresearch')
    for name in _imports(_tree(file))
    if name.split('.')[0] in PROJECT - {'bnresearch'}
  ]
  _assert_none(wrong)


def test_studies_import_the_library_configs_and_their_own_rest_only():
  wrong = [
    f'{file.relative_to(ROOT)} imports {name}'
    for package in STUDIES
    for file in _files(package)
    for name in _imports(_tree(file))
    if name.split('.')[0] in PROJECT - {'bnresearch', 'configs'}
    and not name.startswith(f'{package}._')
  ]
  _assert_none(wrong)


def test_configs_import_ml_collections_knobs_and_the_defaults_only():
  wrong = [
    f'{file.relative_to(ROOT)} imports {name}'
    for file in _files('configs')
    for name in _imports(_tree(file))
    if not name.startswith(('ml_collections', 'bnresearch.knobs.'))
    and name != 'configs.default'
  ]
  _assert_none(wrong)


def test_imports_inside_functions_are_of_heavy_optional_packages_only():
  wrong = [
    f'{_at(file, function)} imports {name}'
    for file in _files('bnresearch', 'configs', *STUDIES)
    for function in _functions(_tree(file))
    for name in _imports(function)
    if name.split('.')[0] not in IMPORTED_LATE
  ]
  _assert_none(wrong)


def test_heavy_optional_packages_are_imported_inside_functions_only():
  wrong = [
    f'{file.relative_to(ROOT)} imports {name}'
    for file in _files('bnresearch', *STUDIES)
    for name in _imports(_tree(file), functions=False)
    if name.split('.')[0] in IMPORTED_LATE
  ]
  _assert_none(wrong)


def test_no_file_is_named_for_having_no_idea():
  names = {'utils', 'common', 'helpers', 'base', 'misc'}
  files = _files('bnresearch', 'configs', *STUDIES, 'tests')
  parts = {f: f.relative_to(ROOT).with_suffix('').parts for f in files}
  _assert_none(
    [str(f) for f in files if names & {p.strip('_') for p in parts[f]}]
  )


def test_files_and_functions_are_short():
  long = []
  for file in _files('bnresearch', 'configs', *STUDIES):
    lines = len(file.read_text().splitlines())
    # A table of knobs is as long as it is.
    if lines > 300 and file != ROOT / 'bnresearch' / 'knobs' / 'table.py':
      long.append(f'{file.relative_to(ROOT)}: {lines} lines')
    for function in _functions(_tree(file)):
      lines = function.end_lineno - function.lineno + 1
      if lines > 60:
        long.append(f'{_at(file, function)} {function.name}: {lines} lines')
  _assert_none(long)


def test_what_is_said_goes_through_the_terminal():
  """The check takes names for names, whatever they hold."""
  wrong = []
  for file in _files('bnresearch', *STUDIES):
    if file.name == 'terminal.py':
      continue
    tree = _tree(file)
    wrong += [
      f'{file.relative_to(ROOT)} imports {name}'
      for name in _imports(tree)
      if name.startswith(('rich.console.', 'rich.text.', 'rich.markup.'))
    ]
    if file.is_relative_to(ROOT / 'bnresearch'):
      wrong += [
        f'{_at(file, node)} prints'
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == 'print'
      ]
  _assert_none(wrong)


def test_every_command_line_says_what_a_user_can_mend():
  wrong = [
    _at(file, node)
    for file in _files('bnresearch', *STUDIES)
    for node in _functions(_tree(file))
    if node.name == 'main'
    and node.args.args
    and not any('command.line(' in ast.unparse(d) for d in node.decorator_list)
  ]
  _assert_none(wrong)


def test_everything_public_has_a_docstring():
  bare = []
  for file in _files('bnresearch', 'configs', *STUDIES):
    tree = _tree(file)
    if not ast.get_docstring(tree):
      bare.append(f'{file.relative_to(ROOT)}')
    bare += [
      f'{_at(file, node)} {node.name}'
      for node in _public(tree)
      # Magic methods do what their names say.
      if not node.name.startswith('__') and not ast.get_docstring(node)
    ]
  # In the files of a room that are no entries, one-line names may speak.
  _assert_none([b for b in bare if '/_' not in b])


def test_everything_public_has_types():
  """Types of its arguments, except self and cls, and of what it returns."""
  bare = []
  for file in _files('bnresearch'):
    for node in _public(_tree(file)):
      if isinstance(node, ast.ClassDef):
        continue
      a = node.args
      named = [*a.posonlyargs, *a.args, *a.kwonlyargs, a.vararg, a.kwarg]
      untyped = [
        each.arg
        for each in filter(None, named)
        if not each.annotation and each.arg not in ('self', 'cls')
      ]
      if untyped or not node.returns:
        bare.append(f'{_at(file, node)} {node.name} {", ".join(untyped)}')
  _assert_none([b for b in bare if '/_' not in b])


def test_nothing_is_left_to_do():
  word = 'TO' + 'DO'  # this file may hold it neither
  files = _files('bnresearch', 'configs', *STUDIES, 'tests')
  _assert_none([str(f) for f in files if word in f.read_text()])
