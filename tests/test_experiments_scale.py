"""Scales of studies: what a trial is, what is published, what says so."""

import importlib
import json
import pathlib

import pytest

from experiments import (
  _inception,
  _made_by,
  _rows,
  _scale,
  _scoreboard,
  _site,
  _study,
)
from tests import studies
from tests.hostile import of_text

EXPERIMENTS = studies.names('experiments')
AS_PUBLISHED = 'A title.\n\nScale:    as published: any layer.\nRoom:     norms'
NO_EVIDENCE = 'A trial, no evidence.'


def parser(text='A title.', **options):
  return _study.parser('affine', text, steps=50_000, **options)


def test_a_trial_has_one_seed_few_steps_and_the_digits():
  made = parser(seeds=3)
  made.set_defaults(data='fashion_mnist')
  args = made.parse_args(['--scale=ci'])
  assert (args.seeds, args.steps, args.data) == (1, 2500, 'digits')
  assert args.output == pathlib.Path('runs/ci/results/affine')
  usual = made.parse_args([])
  assert (usual.seeds, usual.steps) == (3, 50_000), 'the next one is no trial'
  assert (usual.data, usual.scale) == ('fashion_mnist', 'small')


@pytest.mark.parametrize(('steps', 'few'), [(100, 100), (300, 200), (5e3, 300)])
def test_a_trial_has_a_twentieth_of_the_steps_if_that_is_enough(steps, few):
  assert _scale.trial(int(steps), {})['steps'] == few


def test_a_flag_that_is_given_is_not_the_scales():
  made = parser(ci={'steps': 700})
  args = made.parse_args(['--scale=ci', '--seeds=2', '--output=mine'])
  assert (args.seeds, args.steps) == (2, 700)
  assert args.output == pathlib.Path('mine')


def test_a_study_as_published_has_a_paper_scale():
  assert parser(AS_PUBLISHED).parse_args(['--scale=paper']).scale == 'paper'
  args = parser(paper={'data': 'mnist'}).parse_args(['--scale=paper'])
  assert args.data == 'mnist'
  assert args.output == pathlib.Path('runs/paper/results/affine')


def test_a_study_without_paper_scale_says_what_it_runs(capsys):
  text = 'A title.\n\nScale:    digits of\n          8 pixels.\nRoom:     norms'
  with pytest.raises(SystemExit):
    parser(text).parse_args(['--scale=paper'])
  assert capsys.readouterr().err.endswith(
    'error: --scale=paper: affine has no paper scale. Leave it out. What it '
    'runs is: digits of 8 pixels.\n'
  )


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_every_study_has_scales(name, capsys):
  main = importlib.import_module(f'experiments.{name}').main
  with pytest.raises(SystemExit):
    main(['--scale=ci', '--dry_run'])
  assert '--scale=ci has no effect with --dry_run' in capsys.readouterr().err


@pytest.mark.parametrize('name', EXPERIMENTS)
def test_every_result_says_its_scale(name):
  text = (studies.ROOT / 'experiments' / f'{name}.py').read_text()
  assert ('claims.write(' in text) == ('scale=args.scale' in text), (
    'a study that writes its own result gives scale=args.scale to claims.write'
  )


def test_no_committed_result_is_of_a_trial():
  for file in _scoreboard.RESULTS.glob('*.json'):
    assert json.loads(file.read_text()).get('scale', 'small') == 'small', file


def test_a_trial_of_inception_is_small_and_its_ensemble_has_ten_crops():
  args = _inception.parse('ioffe2015_figure2', 'Title.', ['--scale=ci'])
  assert (args.data, args.steps, args.seeds) == ('digits', 300, 1)
  args = _inception.parse(
    'ioffe2015_figure4', 'Title.', ['--scale=ci'], trial='synthetic'
  )
  assert args.data == 'synthetic', 'of digits it has no mirrored crops'


# What the site says of it.


@pytest.fixture
def of_scale(tmp_path):
  """Returns the pages of a study at a scale, with its result or without."""

  def make(scale, why=''):
    made = of_text('plain', tmp_path)._replace(scale=scale, why=why)
    if why:
      made = made._replace(results={})
    return made, _site.pages([made], {stem: [] for stem in made.results})

  return make


def test_a_trial_is_named_on_every_page_and_in_every_verdict(of_scale):
  _, pages = of_scale('ci')
  assert all(NO_EVIDENCE in page for page in pages.values())
  assert pages['index.html'].count('of a trial') == 1
  _, pages = of_scale('small')
  assert not any(NO_EVIDENCE in page for page in pages.values())
  assert 'of a trial' not in pages['index.html']


def test_the_command_of_a_scales_result_makes_it_again(of_scale):
  study, pages = of_scale('ci')
  command = 'python -m experiments.hostile --scale=ci'
  assert {row.command for row in _rows.rows(study)} == {command}
  assert f'data-copy="{command}"' in pages['hostile.html']


def test_a_study_without_result_says_why(of_scale):
  study, pages = of_scale('ci', why='it needs <photographs>')
  first, _ = _rows.rows(study)
  assert (first.verdict, first.why) == ('not run', 'it needs <photographs>')
  for page in pages.values():
    assert 'it needs &lt;photographs&gt;' in page


def test_every_page_has_a_trial_to_copy(of_scale):
  _, pages = of_scale('small')
  copied = 'python -m experiments hostile --scale=ci --report=trial'
  assert f'data-copy="{copied}"' in pages['hostile.html']


def test_runs_on_different_numbers_of_devices_are_told():
  made = {'device': 'a CPU', 'devices': [1, 2]}
  assert _made_by.device(made) == 'a CPU, 1 or 2 devices'
  assert _made_by.device(made | {'devices': 1}) == 'a CPU, 1 device'
