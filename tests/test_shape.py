"""The table of the house counts what it says."""

import pytest

from tests import shape

FILES = {
  'bnresearch/__init__.py': 'from bnresearch import top\n',
  'bnresearch/low.py': 'import numpy\n',
  'bnresearch/middle/__init__.py': '',
  'bnresearch/middle/one.py': (
    'from bnresearch import low\n'
    'from bnresearch.middle import two\n'
    'def first(config): ...\n'
    'def second(x, *, config: tree.Config | None): ...\n'
    'def third(config: dict, other: Config): ...\n'
  ),
  'bnresearch/middle/two.py': (
    'def late():\n  import bnresearch.top\n  from bnresearch.top import a, b\n'
  ),
  'bnresearch/middle/__main__.py': 'from bnresearch import low, top\n',
  'bnresearch/beside.py': 'from bnresearch.low import x\n',
  'bnresearch/top.py': (
    'from bnresearch import beside, homeless\n'
    'from bnresearch.middle import one\n'
    'def long():\n' + '  ...\n' * 50
  ),
  'bnresearch/homeless.py': '\n' * 251,
  'experiments/study.py': 'def main():\n  ...\n',
  'tests/test_architecture.py': (
    "FLOORS = (('low',), ('middle', 'beside'), ('top',))\n"
  ),
}


@pytest.fixture
def checkout(tmp_path):
  for name, text in FILES.items():
    file = tmp_path / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
  return tmp_path


def test_a_small_checkout_is_counted(checkout):
  assert dict(shape.shape(checkout)) == {
    'bnresearch/: files, lines': '9, 316',
    'configs/: files, lines': '0, 0',
    'experiments/: files, lines': '1, 2',
    'benchmarks/: files, lines': '0, 0',
    'tests/: files, lines': '1, 1',
    'rooms': 5,
    'layers of imports': 3,  # middle and top are one
    'rooms that import in a circle': 2,
    'imports against the order': 3,  # of top twice, and of homeless
    '  of these, by command lines': 1,
    'functions': 5,
    'functions that take the whole config': 2,
    'median function, lines': '1',
    'longest function, lines': 'long 51',
    'largest file, lines': 'homeless.py 251',
    'files above 250 lines': 1,
    'functions above 50 lines': 1,
    'files above 250 lines elsewhere': 0,
    'functions above 50 lines elsewhere': 0,
  }


def test_a_chain_of_rooms_is_as_long_as_its_layers():
  graph = {'a': set(), 'b': {'a'}, 'c': {'a', 'b'}, 'd': {'a'}}
  assert shape.chain(graph) == (3, 0)
  assert shape.chain({}) == (0, 0)


def test_a_folder_that_is_no_checkout_is_refused(tmp_path, capsys, monkeypatch):
  monkeypatch.setattr('sys.argv', ['shape', f'--root={tmp_path}'])
  with pytest.raises(SystemExit):
    shape.main()
  assert 'is no checkout, as it has no bnresearch/' in capsys.readouterr().err
