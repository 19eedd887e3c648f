"""The measurement of an accelerator: it goes on, stops in time, and is told."""

import importlib.util
import json
import re

import pytest

from benchmarks import _accelerator_answers as answers
from benchmarks import _accelerator_page, accelerator
from benchmarks._accelerator_items import ITEMS, Item
from tests import studies

SHORT = Item('bn', 'Is it short?', ('benchmarks.norm', '--rounds=1'), 1)
WRONG = Item('bn_bfloat16', 'Wrong?', ('benchmarks.norm', '--rounds=0'), 1)
LONG = Item('long', 'Is it long?', ('benchmarks.norm',), 10_000)
# Serves until it is stopped, in a process of its own.
SLOW = Item('slow', 'Does it end?', ('http.server', '0'), 1, writes=False)


def measure(tmp_path, monkeypatch, *items, flags=('--dry_run',), minutes=1.0):
  monkeypatch.setattr(accelerator, 'ITEMS', items)
  monkeypatch.setattr(_accelerator_page, 'ITEMS', items)
  file = tmp_path / 'accelerator.json'
  arguments = [f'--minutes={minutes}', f'--output={file}', *flags]
  status = accelerator.main(arguments)
  page = file.with_suffix('.html').read_text()
  return status, json.loads(file.read_text())['items'], page


@pytest.mark.study
def test_what_is_done_is_kept_and_the_rest_is_done_again(tmp_path, monkeypatch):
  status, found, page = measure(tmp_path, monkeypatch, SHORT, WRONG)
  assert status == 1
  assert found['bn']['status'] == 'done'
  assert found['bn']['result']['benchmark'] == 'norm'
  assert found['bn']['result']['rows']
  assert found['bn_bfloat16']['status'] == 'failed'
  assert '--rounds=0: needs 1 or more' in found['bn_bfloat16']['output']
  assert 'A dry run: no number here means anything.' in page
  assert '--rounds=0: needs 1 or more.</td><td>Mend it.' in page

  mended = WRONG._replace(words=SHORT.words)
  status, again, _ = measure(tmp_path, monkeypatch, SHORT, mended)
  assert status == 0
  assert again['bn'] == found['bn']
  assert again['bn_bfloat16']['status'] == 'done'


def test_an_item_that_does_not_end_is_stopped_in_time(tmp_path, monkeypatch):
  monkeypatch.setattr(accelerator, '_LEFT_FOR_JSON', 0)
  status, found, page = measure(
    tmp_path, monkeypatch, SLOW, flags=(), minutes=0.04
  )
  assert status == 1
  assert found['slow']['status'] == 'out of time'
  assert found['slow']['seconds'] < 5
  assert 'Stopped after 2 s, without a result.' in page


def test_what_an_item_has_started_ends_with_it(tmp_path):
  """Otherwise it would keep the device from the next item."""
  file = tmp_path / 'alive'
  forever = f'while :; do date > {file}; sleep 0.1; done'
  command = ['sh', '-c', f"sh -c '{forever}' > /dev/null 2>&1 & wait"]
  assert accelerator._run(command, 1.0) == (None, '')
  file.unlink()
  with pytest.raises(FileNotFoundError):
    accelerator._run([str(tmp_path / 'absent')], 1.0)
  assert accelerator._run(['sleep', '0.5'], 2.0) == (0, '')
  assert not file.exists()


def test_what_is_put_off_is_told_in_the_page(tmp_path, monkeypatch, capsys):
  status, found, page = measure(
    tmp_path, monkeypatch, LONG, flags=(), minutes=8
  )
  assert status == 0
  assert found == {'long': {'status': 'put off', 'left': 475}}
  assert 'Put off: it needs 10000 s, and 475 s were left.' in page
  assert '0 of 1 items are done. The same command goes on with long;' in page
  shown = capsys.readouterr().out
  assert 'long: needs 10000 s; 475 s are left.' in shown
  assert 'The same command goes on with long.' in shown
  assert 'The longest of them needs --minutes=167.' in shown

  # Of what is not chosen in another call, the page still says it.
  other = LONG._replace(name='other')
  both = LONG, other
  flags = ('--items=other',)
  _, found, page = measure(tmp_path, monkeypatch, *both, flags=flags, minutes=4)
  assert [item['left'] for item in found.values()] == [475, 235]


def test_a_dry_run_is_no_measurement(tmp_path):
  file = tmp_path / 'accelerator.json'
  items = {'bn': {'status': 'done'}}
  for dry_run in (False, True):
    file.write_text(json.dumps({'items': items, 'dry_run': dry_run}))
    assert accelerator._read(file, dry_run) == items
    assert accelerator._read(file, not dry_run) == {}


def test_the_items_are_commands_that_exist_and_a_wrong_name_is_refused(capsys):
  for item in ITEMS:
    assert importlib.util.find_spec(item.words[0]), item.name
    assert item.name in answers._ANSWERS
  names = [item.name for item in ITEMS]
  assert len(names) == len({*names})
  with pytest.raises(SystemExit):
    accelerator.main(['--items=bn,swep'])
  assert "Did you mean 'sweep'?" in capsys.readouterr().err


def test_the_protocol_has_every_item_in_order_with_its_time():
  text = (studies.ROOT / 'docs' / 'accelerators.md').read_text()
  section = text.partition('## What follows from what')[2]
  rows = re.findall(r'^\| (`.*?) \| (\d+)', section, re.MULTILINE)
  told = [
    (name, int(seconds))
    for names, seconds in rows
    for name in re.findall('`(.*?)`', names)
  ]
  assert told == [(item.name, item.least) for item in ITEMS]


def done(rows=(), **result):
  return {
    'status': 'done',
    'command': 'a <command>',
    'seconds': 3.0,
    'output': '<b>printed</b>',
    'result': {'rows': list(rows), 'device': 'H<2>00', **result},
  }


def sweep(ratio, points=32):
  whole = {'vectorized': 10.0, 'sequential': 10.0 * ratio}
  return done(
    [
      {'contestant': name, 'whole_s': s, 'over_vectorized': s / 10}
      for name, s in whole.items()
    ],
    points=points,
  )


@pytest.mark.parametrize(
  ('ratio', 'verdict'), [(1.4, 'goes'), (1.6, 'short of'), (12, 'is reached')]
)
def test_the_sweep_decides_on_the_vectorized_launcher(ratio, verdict):
  answer = answers.of('sweep', {'sweep': sweep(ratio)})
  assert answer.found.startswith(f'{ratio:.1f} times as fast as one run')
  assert verdict in answer.follows


def test_many_points_are_compared_with_runs_of_the_small_sweep():
  many = sweep(1, points=320)
  alone = answers.of('sweep_486', {'sweep_486': many})
  assert 'Item sweep, when it is done' in alone.follows
  # A run of the small sweep takes 0.4688 s, one of many 0.03125 s.
  both = answers.of('sweep_486', {'sweep_486': many, 'sweep': sweep(1.5)})
  assert '15.0 times as fast as a run of item sweep' in both.found
  assert both.follows == 'For many points, the vectorized launcher stays.'


def test_networks_are_compared_with_compiled_pytorch_across_items():
  def rows(**ms):
    return done(
      {
        'network': 'resnet_50',
        'contestant': who,
        'ms': value,
        'images_per_s': 128e3 / value,
        'of_peak': 0.2,
      }
      for who, value in ms.items()
    )

  items = {'networks': rows(bnresearch=40.0)}
  assert answers.of('networks', items).follows == 'The same in PyTorch decides.'
  items['networks_torch'] = rows(torch=60.0, torch_compiled=32.0)
  for name in items:
    answer = answers.of(name, items)
    assert answer.found.endswith("Of compiled PyTorch's time: resnet_50 1.25.")
    assert answer.follows == 'Profile a step of resnet_50: --mode=profile.'
  items['input'] = done(photographs_per_s=3000.0, cores=16)
  waits = 'resnet_50: training waits for data, unless it is decoded.'
  assert answers.of('input', items).follows == waits


@pytest.mark.parametrize(('share', 'follows'), [(0.7, 'Pallas'), (0.9, 'No k')])
def test_a_kernel_is_worth_trying_far_below_the_bandwidth(share, follows):
  row = {'layer': 'bnresearch', 'time_of_flax': 0.9, 'of_copy': share}
  assert follows in answers.of('bn', {'bn': done([row])}).follows


def test_a_result_without_its_numbers_stops_nothing():
  answer = answers.of('sweep', {'sweep': done([{'contestant': 'vectorized'}])})
  assert answer.found == 'The sequential runs are missing.'
  answer = answers.of('input', {'input': done()})
  assert answer.found.startswith('Its result lacks what is asked for: ')


def test_the_page_takes_all_text_as_text():
  whole = {
    'items': {'sweep': sweep(12)},
    'device': 'H<2>00',
    'platform': 'cpu',
    'jax': '<i>',
  }
  page = _accelerator_page.page(whole)
  for escaped in ('H&lt;2&gt;00', '&lt;i&gt;', '&lt;b&gt;printed&lt;/b&gt;'):
    assert escaped in page
  assert 'a &lt;command&gt;' in page
  for raw in ('<2>', '<i>', '<b>', '<command>'):
    assert raw not in page
  assert 'Measured on a CPU' in page
