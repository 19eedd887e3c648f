"""`--mode=report`: pages of runs and sweeps, from directories alone."""

import json
import re
import shutil
import sys
import types

import pytest

from bnresearch import main as command_line
from bnresearch import terminal
from bnresearch.reports import targets
from bnresearch.reports.site import records, report
from tests import written_runs
from tests.hostile import HEBREW, HOSTILE, PLAIN
from tests.page import Page

BIDI = re.compile('[\u202a-\u202e\u2066-\u2069]')
BATCH = 'norm=batch,seed=0'


@pytest.fixture(autouse=True)
def without_vega(monkeypatch):
  """Stands in for the library of the charts, which is of no interest here."""
  fake = types.ModuleType('vl_convert')
  fake.javascript_bundle = lambda snippet: f'// {snippet}'
  monkeypatch.setitem(sys.modules, 'vl_convert', fake)


@pytest.fixture(scope='module')
def workdir(tmp_path_factory):
  return written_runs.sweep(tmp_path_factory.mktemp('runs') / 'sweep')


def pages(folder, *workdirs, target=None):
  """Returns {name: page} of a report of folders."""
  report.Report(folder, workdirs, target).write()
  return {f.stem: Page(f.read_text()) for f in folder.glob('*.html')}


@pytest.fixture(scope='module')
def made(workdir, tmp_path_factory):
  patch = pytest.MonkeyPatch()
  fake = types.ModuleType('vl_convert')
  fake.javascript_bundle = str
  patch.setitem(sys.modules, 'vl_convert', fake)
  target = targets.parse('test/accuracy=0.45')
  found = pages(tmp_path_factory.mktemp('report'), workdir, target=target)
  patch.undo()
  return found


def data(page):
  """Returns what the scripts of a page draw."""
  return [json.loads(text) for text in page.scripts if text.startswith('{')]


# A page of a run.


def test_a_run_has_a_page_with_its_numbers(made):
  page = made[f'run-{BATCH}']
  text = re.sub(r'\s+', ' ', page.text)
  for words in (
    '90.00% test accuracy at step 100',
    '50 steps to the target',
    '2.5 s training',
    '40 steps a second',
  ):
    assert words in text
  assert 'a record of the probes, as long as 4 steps' in page.text


def cells(page):
  return ' | '.join(cell.strip() for cell in page.cells)


def test_a_run_has_the_knobs_that_are_not_the_default(made):
  found = cells(made['run-norm=none,seed=1'])
  changed = found[found.index('knob | value | default') :]
  changed = changed[: changed.index('knob | value |', 5)]
  assert "norm.name | 'none' | 'batch' | " in changed
  assert 'seed | 1 | 0 | ' in changed
  assert 'train.steps' not in changed


def test_a_run_has_the_band_of_its_seeds(made):
  (curves, *_) = data(made[f'run-{BATCH}'])
  rows = curves['data']['values']
  last = [
    r
    for r in rows
    if (r['panel'], r['line'], r['x']) == ('accuracy', 'test', 100)
  ]
  assert [(r['y'], r['a'], r['b']) for r in last] == [(0.9, 0.9, 0.92)]
  assert 'of all 2 seeds' in made[f'run-{BATCH}'].text


def test_a_run_has_small_multiples_of_its_layers(made):
  found = [
    {row['panel'] for row in spec['data']['values']}
    for spec in data(made[f'run-{BATCH}'])
  ]
  assert {'hidden_1', 'hidden_2'} in found
  assert {'accuracy'} in found
  assert {'loss'} in found
  assert {'along a line'} in found


def test_what_was_not_measured_has_the_flag_that_measures_it(made):
  text = made[f'run-{BATCH}'].text
  assert '--config.probes.names=statistics_distance' in text
  assert '--config.probes.names=gradient_norm' not in text


def test_a_run_has_its_provenance_and_data(made):
  text = made[f'run-{BATCH}'].text
  for word in ('abc1234', 'a CPU', 'batch: momentum 0.99', 'cat', 'dog'):
    assert word in text


# A page of a sweep.


def test_a_sweep_has_every_point_and_what_they_differ_in(made):
  page = made['index']
  assert '5 runs of 3 settings' in page.text
  assert 'norm.name, optim.learning_rate, seed.' in re.sub(
    r'\s+', ' ', page.text
  )
  links = [link for link in page.links if link.startswith('run-')]
  assert {link.removesuffix('.html') for link in links} == {*made} - {'index'}


def test_a_sweep_has_the_best_settings_and_what_was_lost(made):
  text = re.sub(r'\s+', ' ', made['index'].text)
  best = 'norm batch, learning_rate 0.1 | 91.00% | 90.00% to 92.00% | 1 2'
  found = cells(made['index'])
  assert best in found
  assert found.index(best) < found.index('norm none, learning_rate 0.1')
  lost = text[text.index('Failed, diverged or') :]
  assert 'diverged norm=batch,learning_rate=9, step 1' in lost
  assert 'The loss is nan.' in lost


def test_what_only_watches_is_in_no_name_unless_it_must_be(tmp_path):
  for k, (rate, every) in enumerate([(1.0, 5), (2.0, 5), (2.0, 10)]):
    written_runs.write(
      tmp_path / 'sweep' / str(k),
      rows=written_runs.trained(),
      optim__learning_rate=rate,
      probes__every=every,
    )
  (summary,) = data(pages(tmp_path / 'report', tmp_path / 'sweep')['index'])
  assert summary['settings'] == [
    'learning_rate 1',
    'learning_rate 2, every 5',
    'learning_rate 2, every 10',
  ]


def test_a_sweep_has_the_steps_to_a_target(made):
  (summary,) = data(made['index'])
  place = summary['metrics'].index('steps to test/accuracy=0.45')
  steps = {p['name']: p['metrics'][place] for p in summary['points']}
  assert steps[BATCH] == 50
  assert steps['norm=batch,learning_rate=9'] is None
  assert 'never' in made['index'].text


def test_the_summary_has_every_knob_metric_and_curve(made):
  (summary,) = data(made['index'])
  keys = [knob['key'] for knob in summary['knobs']]
  assert keys == ['norm.name', 'optim.learning_rate', 'seed']
  assert [*summary['curves']][:2] == ['test/accuracy', 'train/accuracy']
  assert 'probe/gradient_norm/norm' in summary['curves']
  _, curve, _ = summary['curves']['test/accuracy']
  assert curve['x'] == [*range(0, 101, 10)]
  assert (curve['a'][-1], curve['y'][-1], curve['b'][-1]) == (0.9, 0.91, 0.92)
  point = summary['points'][1]
  assert point['knobs'] == ['batch', 0.1, 0]


def test_no_cell_of_a_report_is_empty(made):
  for name, page in made.items():
    assert all(cell.strip() for cell in page.cells), name


def test_every_link_of_a_report_has_a_target(workdir, tmp_path):
  found = pages(tmp_path / 'report', workdir)
  for name, page in found.items():
    assert len({*page.ids}) == len(page.ids), name
    for link in page.links:
      path, _, anchor = link.partition('#')
      if link.startswith('data:'):
        continue
      target = tmp_path / 'report' / (path or f'{name}.html')
      assert target.is_file(), link
      assert not anchor or anchor in Page(target.read_text()).ids, link


# Folders.


def test_a_run_alone_is_the_whole_report(workdir, tmp_path):
  found = pages(tmp_path, workdir / BATCH)
  assert [*found] == ['index']
  assert 'No other run has the same config' in found['index'].text


def test_several_folders_have_a_page_each_and_one_together(workdir, tmp_path):
  shutil.copytree(workdir / BATCH, tmp_path / 'more' / 'again')
  found = pages(tmp_path / 'report', workdir, tmp_path / 'more')
  sweeps = {name for name in found if name.startswith('sweep-')}
  assert sweeps == {'sweep-sweep', 'sweep-more'}
  assert '6 runs' in found['index'].text
  assert 'run-more_again~' in ' '.join(found)


def test_a_folder_without_runs_names_those_that_have_some(workdir, tmp_path):
  with pytest.raises(terminal.UserError, match=r'has no run: .*: none\.'):
    pages(tmp_path / 'report', tmp_path)
  with pytest.raises(terminal.UserError, match=f'inside it: {workdir}'):
    pages(tmp_path / 'report', workdir.parent)
  assert not (tmp_path / 'report').exists()


def test_what_cannot_be_read_is_a_warning_and_the_rest_is_there(
  workdir, tmp_path
):
  shutil.copytree(workdir, tmp_path / 'sweep')
  names = sorted(path.name for path in (tmp_path / 'sweep').iterdir())
  files = (
    ('config.json', '[1]'),
    ('status.json', '[]'),
    ('metrics.jsonl', 'x\n'),
  )
  for name, (file, text) in zip(names, files):
    (tmp_path / 'sweep' / name / file).write_text(text)
  found = pages(tmp_path / 'report', tmp_path / 'sweep')
  text = found['index'].text
  assert 'config.json is damaged' in text
  assert 'status.json is damaged' in text
  assert 'line 1 cannot be read' in text
  assert len(found) == 6


def test_words_in_place_of_numbers_break_no_page(tmp_path):
  words = {'seconds_without_data': 'x', 'probe_seconds': [], 'more': {}}
  written_runs.write(
    tmp_path / 'sweep' / 'a',
    rows=written_runs.trained(),
    status=words,
    sessions=[{'from_step': 'x', 'conventions': 'y', 'commit': 3}],
  )
  nothing = {'test/accuracy': float('nan'), 'probe/x/a/b': [float('nan')] * 20}
  written_runs.write(tmp_path / 'sweep' / 'b', rows=[(0, nothing)], seed=1)
  found = pages(tmp_path / 'report', tmp_path / 'sweep')
  assert 'from step x' in found['run-a'].text
  assert 'nothing yet' in found['run-b'].text


def test_sessions_that_differ_and_uncommitted_code_are_warnings(tmp_path):
  sessions = [
    written_runs.SESSION,
    {**written_runs.SESSION, 'commit': 'def5678+', 'from_step': 50},
  ]
  path = written_runs.write(tmp_path / 'run', sessions=sessions)
  (place,) = records.places([path])
  found = records.read(place).warnings
  assert found == [
    'Its sessions differ in commit: abc1234, def5678+.',
    'The session from step 50 ran changes that no commit has: def5678+.',
  ]


# How it is escaped.


def hostile(folder, text):
  """Writes two runs that have a text wherever they can; returns their folder.

  A name of a folder cannot have a slash, or be long.
  """
  name = text.replace('/', ':')
  session = dict.fromkeys(written_runs.SESSION, text) | {
    'from_step': 0,
    'conventions': [text],
  }
  row = {f'probe/{text}/layer/{text}': 1.0, f'probe/x/{text}/mean': [1.0, 2.0]}
  for k in range(2):
    path = written_runs.write(
      folder / name / f'{name}{k}',
      rows=[*written_runs.trained(), *((step, row) for step in (0, 10))],
      status={'status': 'failed' if k else 'done', 'message': text},
      sessions=[session],
      label=text if k else '',
      data__folder=text,
    )
    (path / 'class_names.json').write_text(json.dumps([text]))
  return folder / name


def test_no_text_of_a_run_becomes_markup(tmp_path):
  made = {}
  for text in (PLAIN, HOSTILE):
    folder = tmp_path / text[:1].replace('<', 'h')
    made[text] = pages(folder / 'report', hostile(folder / 'runs', text))
  plain, found = (sorted(m.items()) for m in made.values())
  for (_, wanted), (_, page) in zip(plain, found, strict=True):
    assert page.tags == wanted.tags
    assert 'onerror=alert(1)>' in page.text
    assert '\\x1b[31m\\u202eabc' in page.text
  for file in (tmp_path / 'h' / 'report').glob('*.html'):
    text = file.read_text()
    assert '\x1b' not in text
    assert not BIDI.search(text)
    assert '<img' not in text


def test_letters_from_right_to_left_stay_in_their_place(tmp_path):
  found = pages(tmp_path / 'report', hostile(tmp_path / 'runs', HEBREW))
  for page in found.values():
    assert HEBREW in page.text
    assert HEBREW not in page.turning


# The command line.


def run(*argv):
  return command_line.main(['--mode=report', *map(str, argv)])


def test_the_command_writes_a_report_and_says_so(workdir, tmp_path, capsys):
  index = tmp_path / 'deep' / 'report' / 'index.html'
  assert run(f'--workdir={workdir}', f'--output={index.parent}') == 0
  said = capsys.readouterr().out
  assert said == f'Wrote {index}: 5 runs: 1 diverged, 4 done.\n'
  assert (index.parent / 'assets' / 'vega.js').is_file()


@pytest.mark.parametrize(
  ('argv', 'message'),
  [
    (['--output=x'], 'needs --workdir=DIR'),
    (['--workdir=x'], 'and --output=FOLDER'),
    (['--workdir=x', '--output=y', '--config=z'], 'takes no --config'),
    (['--workdir=x', '--output=y', '--config.seed=1'], 'takes no --config'),
    (['--workdir=x', '--output=y'], '--workdir=x: has no run'),
    (['--workdir=x', '--workdir=x', '--output=y'], 'is given twice'),
  ],
)
def test_a_report_that_lacks_something_is_refused(
  argv, message, capsys, tmp_path, monkeypatch
):
  monkeypatch.chdir(tmp_path)
  assert run(*argv) == 2
  assert message in capsys.readouterr().err
  assert [*tmp_path.iterdir()] == []


def test_a_report_replaces_its_own_pages_and_nothing_else(
  workdir, tmp_path, capsys
):
  folder = tmp_path / 'report'
  pages(folder, workdir)
  (folder / 'run-gone.html').touch()
  assert 'run-gone' not in pages(folder, workdir)
  (folder / 'index.html').write_text('mine')
  assert run(f'--workdir={workdir}', f'--output={folder}') == 2
  assert 'has files that are no report' in capsys.readouterr().err
  assert (folder / 'index.html').read_text() == 'mine'


@pytest.mark.parametrize('package', ['jinja2', 'vl_convert'])
def test_a_missing_package_names_the_extra(
  package, workdir, tmp_path, monkeypatch, capsys
):
  monkeypatch.setitem(sys.modules, package, None)
  assert run(f'--workdir={workdir}', f'--output={tmp_path / "report"}') == 2
  name = {'vl_convert': 'vl-convert-python'}.get(package, package)
  assert capsys.readouterr().err == (
    f'--mode=report needs {name}, which is not installed: '
    "pip install 'bnresearch[report]'.\n"
  )
  assert [*tmp_path.iterdir()] == []


# While runs go on.


def test_a_watched_report_reads_only_what_has_changed(
  workdir, tmp_path, monkeypatch, capsys
):
  shutil.copytree(workdir, tmp_path / 'sweep')
  read, was = [], records.read
  monkeypatch.setattr(
    records, 'read', lambda place: read.append(place.name) or was(place)
  )
  folder = tmp_path / 'report'
  made = report.Report(folder, [tmp_path / 'sweep'], watched=True)
  made.write()
  assert len(read) == 5
  assert 'assets/watch.js' in (folder / 'index.html').read_text()
  before = {f: f.stat().st_mtime_ns for f in folder.rglob('*')}
  read.clear()

  def sleep(seconds):
    """Changes a run at the second look."""
    looks.append(seconds)
    if len(looks) == 2:
      assert before == {f: f.stat().st_mtime_ns for f in folder.rglob('*')}
      status = tmp_path / 'sweep' / BATCH / 'status.json'
      status.write_text(json.dumps({'status': 'failed', 'message': 'why'}))

  looks = []
  report.watch(made, every=5, quiet=20, sleep=sleep)
  assert looks == [5] * 5
  assert read == [BATCH]
  assert 'why' in (folder / f'run-{BATCH}.html').read_text()
  assert 'why' in (folder / 'index.html').read_text()
  said = capsys.readouterr().out.splitlines()
  assert [line[10:] for line in said[:2]] == [
    '5 runs: 1 diverged, 4 done',
    '5 runs: 1 diverged, 1 failed, 3 done',
  ]
  assert said[-1] == 'No run has gone on for 20 s: the report is complete.'
