"""The table of knobs: each line is whole, and all else comes from it."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from bnresearch import knobs
from bnresearch.knobs import knob as lines
from bnresearch.knobs.table import TABLE
from bnresearch.runs import config_file
from configs import default

ROOT = pathlib.Path(__file__).parents[1]
KNOBS = knobs.KNOBS.values()


@pytest.mark.parametrize('knob', KNOBS, ids=lambda knob: knob.key)
def test_a_line_says_all_of_its_knob(knob):
  group, _, leaf = knob.key.rpartition('.')
  assert group in knobs.GROUPS
  assert re.fullmatch(r'[a-z_]\w*', leaf)
  assert type(knob.default) in (bool, int, float, str, tuple)
  assert knob.rule.needs
  assert knob.rule.holds(knob.default)
  assert knob.comment.strip() == knob.comment != ''
  assert len(knob.comment) < 60  # an end-of-line comment
  assert not knob.comment.endswith('.')
  if knob.rule.choices:
    assert knob.default in knob.rule.choices
  assert all(condition.words(knob.key) for condition in knob.needs)
  assert knob.shown_by in {'', *lines.SHOWN_BY}
  if knob.before is not None:
    assert type(knob.before) is type(knob.default)
    assert knob.rule.holds(knob.before)


def test_a_knob_stands_once_and_in_its_group():
  assert len(knobs.GROUPS) + len(knobs.KNOBS) == len(TABLE)
  group = None
  for line in TABLE:
    if isinstance(line, lines.Group):
      group = line.name
      assert line.text.endswith('.')
    else:
      assert line.key.rpartition('.')[0] == group


def test_every_word_of_what_else_shows_an_effect_is_used():
  assert {knob.shown_by for knob in KNOBS} == {'', *lines.SHOWN_BY}


def test_a_knob_is_of_the_first_format_or_says_what_was_done_before_it():
  """The old run has those of the first format, and two of a later time."""
  text = (ROOT / 'tests' / 'old_run' / 'run' / 'config.json').read_text()
  old = knobs.leaves(knobs.Config(json.loads(text))).keys()
  first = {knob.key for knob in KNOBS if knob.before is None}
  assert first <= old
  assert old - first == {'parallel.backend', 'parallel.devices'}
  assert config_file.BEFORE.keys() == knobs.KNOBS.keys() - first


def test_the_defaults_of_configs_are_those_of_the_table():
  config = default.get_config()
  assert config.is_locked
  values = knobs.leaves(config)
  assert values == {knob.key: knob.default for knob in KNOBS}
  assert knobs.from_leaves(values) == config == knobs.default_config()
  assert knobs.problems(config) == []


def test_a_config_imports_no_jax():
  code = (
    'import sys\n'
    'from configs import default\n'
    'default.get_config()\n'
    'print(*sorted(sys.modules))'
  )
  command = [sys.executable, '-c', code]
  printed = subprocess.run(
    command, cwd=ROOT, capture_output=True, text=True, check=True
  ).stdout.split()
  assert 'bnresearch.knobs.table' in printed
  heavy = {'jax', 'flax', 'optax', 'orbax', 'grain', 'cv2', 'sklearn'}
  assert heavy & {*printed} == set()
  rooms = re.compile(r'bnresearch\.(norms|models|data|probes|training)\b')
  assert [name for name in printed if rooms.match(name)] == []
