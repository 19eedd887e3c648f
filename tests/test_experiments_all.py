"""Many studies at a scale: run side by side, reused, never stopped by one."""

import json
import os
import subprocess
import sys

import pytest

from experiments import __main__ as command_line
from experiments import _all, _job, _scoreboard
from tests import studies

# What stands in for a study: it says something, and writes a result or fails.
STUDY = """
import pathlib, sys, time
print('begins')
time.sleep({seconds})
if {status}:
  print('python -m experiments.x: error: it needs photographs.')
else:
  pathlib.Path({output!r}).write_text('{{}}')
sys.exit({status})
"""


def job(name):
  return _job.Job(name, name, ('--scale=ci',))


@pytest.fixture
def started(monkeypatch, tmp_path):
  """Starts jobs by their names, 'wait_9' or 'fail_2'; notes their processes."""
  children = {}

  def start(job, results, logs):
    results.mkdir(exist_ok=True)
    what, _, number = job.stem.partition('_')
    text = STUDY.format(
      seconds=number if what == 'wait' else 0,
      status=number if what == 'fail' else 0,
      output=str(results / f'{job.stem}.json'),
    )
    with (logs / f'{job.stem}.log').open('w') as log:
      children[job.stem] = subprocess.Popen(
        [sys.executable, '-c', text], stdout=log, start_new_session=True
      )
    return children[job.stem]

  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(_job, 'start', start)
  monkeypatch.setattr(_all, '_EVERY', 0.01)
  return children


def run(tmp_path, *names, **options):
  todo = [job(name) for name in names]
  return _all.run(todo, 'ci', tmp_path / 'results', **options)


def test_a_study_that_fails_stops_no_other(started, tmp_path, capsys):
  ended = run(tmp_path, 'fail_3', 'good', 'fail_2', 'fine')
  assert [one.job.stem for one in ended] == ['fail_3', 'good', 'fail_2', 'fine']
  assert [one.status for one in ended] == [3, 0, 2, 0]
  told = capsys.readouterr().out
  assert '[4/4]' in told
  assert 'to go' in told
  results = tmp_path / 'results'
  assert _all.summary(ended, results) == 1
  assert capsys.readouterr().out.splitlines() == [
    f'2 of 4 have results, in {results}.',
    'Failed: python -m experiments.fail_3 --scale=ci',
    '  it needs photographs (exit status 3; log: runs/ci/logs/fail_3.log)',
    'Not run: python -m experiments.fail_2 --scale=ci',
    '  it needs photographs (exit status 2; log: runs/ci/logs/fail_2.log)',
  ]
  assert _all.summary(ended[1:], results) == 0, 'one says what it needs'


def test_a_result_of_this_code_is_reused(
  started, tmp_path, monkeypatch, capsys
):
  def begun(*names, **options):
    started.clear()
    return run(tmp_path, *names, **options), {*started}

  begun('good', 'fine', 'fail_3')
  ended, children = begun('good', 'fine', 'fail_3')
  assert children == {'fail_3'}
  assert [one.reused for one in ended] == [True, True, False]
  assert '2 of 3 are reused' in capsys.readouterr().out
  (tmp_path / 'results' / 'good.json').unlink()
  assert begun('good', 'fine')[1] == {'good'}
  assert begun('good', 'fine', again=True)[1] == {'good', 'fine'}
  monkeypatch.setattr(_job, 'code', lambda: 'of another day')
  assert begun('good')[1] == {'good'}


def test_a_study_that_lasts_too_long_is_ended(started, tmp_path, monkeypatch):
  monkeypatch.setattr(_all, '_LIMIT', {'ci': 0.2})
  (one,) = run(tmp_path, 'wait_60')
  assert one.why.endswith(
    '(ended, as it took longer than 0 s; log: runs/ci/logs/wait_60.log)'
  )
  assert started['wait_60'].returncode is not None


def test_an_interrupt_ends_what_runs(started, tmp_path, monkeypatch):
  def interrupt(*_):
    raise KeyboardInterrupt

  monkeypatch.setattr(_all, '_ended', interrupt)
  with pytest.raises(KeyboardInterrupt):
    run(tmp_path, 'wait_60')
  assert started['wait_60'].poll() is not None


def test_studies_that_share_runs_take_turns():
  one, two = (job(name)._replace(config='configs/a.py') for name in 'ab')
  other, none = job('c')._replace(config='configs/b.py'), job('d')
  assert _all._next([one, two], {}) == one
  assert _all._next([two, other, none], {one: None}) == other
  assert _all._next([two, none], {one: None, other: None}) == none
  assert _all._next([two], {one: None}) is None
  assert _all._next([job('e')], {none: None}) == job('e'), 'they train nothing'


def test_the_time_to_go_is_that_of_before_or_of_the_others(capsys):
  ended = [
    _job.Ended(job('a'), 0, 10.0),
    _job.Ended(job('b'), 0, 99.0, '', True),
  ]
  _all._tell(ended[0], ended, [600.0, None], at_a_time=2)
  assert capsys.readouterr().out == '[2/4] a, 10 s: done; about 5 min to go\n'
  _all._tell(ended[0], ended, [], at_a_time=2)
  assert capsys.readouterr().out == '[2/2] a, 10 s: done\n'


# Which studies, and by which commands.


def test_the_small_scale_has_the_commands_of_the_committed_results():
  made = _all.jobs(_scoreboard.studies(), 'small')
  commands = {one.stem: one.command for one in made}
  assert {*commands} >= {f.stem for f in _scoreboard.RESULTS.glob('*.json')}
  flowers = 'python -m experiments.flowers --seeds=2'
  assert commands['flowers_small'] == flowers, 'FOLDER is no folder'
  assert '--steps=1000' in commands['placement_digits_lenet_vgg']


def test_other_scales_have_a_result_a_study():
  made = _all.jobs(_scoreboard.studies(), 'ci')
  assert sorted(one.stem for one in made) == studies.names('experiments')
  assert {one.arguments for one in made} == {('--scale=ci',)}
  figure2, figure3, figure4, spiral = (
    next(one.config for one in made if one.stem == name)
    for name in (
      *('ioffe2015_figure2', 'ioffe2015_figure3', 'ioffe2015_figure4'),
      'sandler2018_spiral',
    )
  )
  assert figure2 == figure3 != figure4
  assert spiral == '', 'nothing is trained'


def test_a_study_that_there_is_not_is_named(capsys):
  assert command_line.main(['afine', '--scale=ci']) == 2
  said = capsys.readouterr().err
  assert said.startswith("afine: no such study. Did you mean 'affine'?")


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (['--again'], '--again has no effect without --all'),
    (['--results=x'], '--results has no effect without --all'),
    (['--all', 'affine'], '--all: takes all studies'),
  ],
)
def test_flags_without_effect_are_refused(flags, message, capsys):
  with pytest.raises(SystemExit):
    command_line.main(flags)
  assert message in capsys.readouterr().err


def test_a_study_without_result_has_the_reason_of_its_last_start(
  started, tmp_path
):
  run(tmp_path, 'affine', 'fail_2')
  (tmp_path / 'runs/ci/logs/affine.json').write_text(
    json.dumps({'why': 'it needs photographs'})
  )
  found = _all.reasons('ci', _all.chosen(['affine', 'placement']))
  assert found == {
    'affine': 'it needs photographs',
    'placement': 'nobody has run it here at the scale ci',
  }


@pytest.mark.study
def test_a_user_tries_a_study_and_finds_its_page(tmp_path):
  flags = ['sandler2018_spiral', '--scale=ci', '--report=trial']
  root = str(studies.ROOT)
  done = subprocess.run(
    [sys.executable, '-m', 'experiments', *flags],
    cwd=tmp_path,
    capture_output=True,
    text=True,
    env=os.environ | {'PYTHONPATH': root},
  )
  assert done.returncode == 0, done.stderr
  page = tmp_path / 'trial' / 'sandler2018_spiral.html'
  assert done.stdout.splitlines()[-1] == 'Wrote trial/sandler2018_spiral.html.'
  assert 'A trial, no evidence.' in page.read_text()
  found = tmp_path / 'runs' / 'ci' / 'results' / 'sandler2018_spiral.json'
  result = json.loads(found.read_text())
  assert (result['scale'], result['seeds']) == ('ci', 1)
  board = (tmp_path / 'trial' / 'index.html').read_text()
  assert 'nobody has run it here at the scale ci' in board
