"""The measurement of an accelerator: it goes on, and stops in time."""

import importlib.util
import json

import pytest

from benchmarks import accelerator
from benchmarks.accelerator import Item

SHORT = Item('short', ('benchmarks.norm', '--rounds=1'), 1)
WRONG = Item('wrong', ('benchmarks.norm', '--rounds=0'), 1)
LONG = Item('long', ('benchmarks.norm',), 10_000)
SLOW = Item('slow', ('http.server', '0'), 1, (), writes=False)  # never ends


def measure(tmp_path, monkeypatch, *items, minutes=1.0):
  monkeypatch.setattr(accelerator, 'ITEMS', items)
  file = tmp_path / 'accelerator.json'
  arguments = [f'--minutes={minutes}', f'--output={file}', '--dry_run']
  status = accelerator.main(arguments)
  return status, json.loads(file.read_text())['items']


@pytest.mark.study
def test_what_is_done_is_kept_and_the_rest_is_done_again(tmp_path, monkeypatch):
  status, found = measure(tmp_path, monkeypatch, SHORT, WRONG)
  assert status == 1
  assert found['short']['status'] == 'done'
  assert found['short']['result']['benchmark'] == 'norm'
  assert found['short']['result']['rows']
  assert found['wrong']['status'] == 'failed'
  assert '--rounds=0: needs 1 or more' in found['wrong']['output']

  mended = WRONG._replace(words=SHORT.words)
  status, again = measure(tmp_path, monkeypatch, SHORT, mended)
  assert status == 0
  assert again['short'] == found['short']
  assert again['wrong']['status'] == 'done'


@pytest.mark.study
def test_it_stops_in_time(tmp_path, monkeypatch, capsys):
  status, found = measure(tmp_path, monkeypatch, SLOW, minutes=0.2)
  assert status == 1
  assert found['slow']['status'] == 'out of time'
  assert found['slow']['seconds'] < 12

  monkeypatch.setattr(accelerator, 'ITEMS', (LONG,))
  file = tmp_path / 'accelerator.json'
  accelerator.main([f'--output={file}'])
  shown = capsys.readouterr().out
  assert 'long: needs 10000 s; 475 s are left.' in shown
  assert 'The same command goes on with long.' in shown


def test_the_items_are_commands_that_exist_and_a_wrong_name_is_refused(capsys):
  for item in accelerator.ITEMS:
    assert importlib.util.find_spec(item.words[0]), item.name
  names = [item.name for item in accelerator.ITEMS]
  assert len(names) == len({*names})
  with pytest.raises(SystemExit):
    accelerator.main(['--items=bn,swep'])
  assert "Did you mean 'sweep'?" in capsys.readouterr().err
