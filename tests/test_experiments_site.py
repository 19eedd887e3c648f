"""The site of all results: it has all claims, opens anywhere, escapes all."""

import json
import pathlib
import re
import shutil
import sys
import types

import pytest
import yaml

from bnresearch import terminal
from experiments import __main__ as command_line
from experiments import _rows, _scoreboard, _site
from tests.hostile import HEBREW, HOSTILE, PLAIN, of_text
from tests.page import Page

ROOT = pathlib.Path(__file__).parents[1]
RESULTS = ROOT / 'experiments' / 'results'
BIDI = re.compile('[\u202a-\u202e\u2066-\u2069]')


@pytest.fixture(scope='module')
def studies():
  return _scoreboard.studies()


@pytest.fixture(scope='module')
def pages(studies):
  figures = {stem: ['.json', '.png'] for s in studies for stem in s.results}
  made = _site.pages(studies, figures)
  return {name: Page(text) for name, text in made.items()}


@pytest.fixture
def without_vega(monkeypatch):
  """Stands in for the library of the charts, which is of no interest here."""
  fake = types.ModuleType('vl_convert')
  fake.javascript_bundle = lambda snippet: f'// {snippet}'
  monkeypatch.setitem(sys.modules, 'vl_convert', fake)


# What is in it.


def test_every_claim_is_in_a_row_and_on_the_page_of_its_study(studies, pages):
  board = pages['index.html'].text
  for study in studies:
    page = pages[f'{study.name}.html']
    for result in study.results.values():
      for claim in result['claims']:
        for key in ('claim', 'setting', 'published', 'measured'):
          assert claim[key] in page.text, (study.name, key)
        assert claim['claim'] in board
        assert claim['measured'] in board, claim


def test_no_cell_is_empty(pages):
  for name, page in pages.items():
    assert all(cell.strip() for cell in page.cells), name
  assert sum(len(page.cells) for page in pages.values()) > 2000


def test_the_rows_are_those_of_the_page_in_markdown(studies):
  of_site = [row.verdict for s in studies for row in _rows.rows(s)]
  of_page = [row[4] for s in studies for row in _scoreboard.rows(s)]
  assert of_site == [verdict.partition(' (')[0] for verdict in of_page]
  assert {*of_site} <= {*_rows.VERDICTS}


def test_papers_have_author_and_year_each(studies):
  of_study = {s.name: _rows.papers(s) for s in studies}
  assert of_study['batch_size'] == ['Wu & He 2018', 'Ioffe 2017']
  assert of_study['ioffe2015_figure4'] == ['Ioffe & Szegedy 2015']
  assert of_study['santurkar2018_shift'] == [
    'Santurkar et al. 2018',
    'Ioffe & Szegedy 2015',
  ]


def test_a_row_has_the_first_clause_of_the_cost(studies):
  costs = {s.name: next(_rows.rows(s)).cost for s in studies}
  assert costs['population_statistics'] == '43 s on two CPU cores'
  assert costs['ioffe2015_scale_invariance'] == '6 s on two CPU cores'


def test_each_result_has_a_command_of_its_own(studies):
  for study in studies:
    commands = [study.command(stem) for stem in study.results]
    assert len({*commands}) == len(commands), study.name
    for stem, result in study.results.items():
      named = dict(re.findall(r'--(data|seeds)=(\w+)', study.command(stem)))
      if len(study.results) > 1:
        assert named.get('data', 'digits') == result['data'], stem
        assert int(named.get('seeds', 1)) == result['seeds'], stem


def test_what_was_not_run_has_the_command_that_would_run_it(studies):
  commands = {
    row.command
    for study in studies
    for row in _rows.rows(study)
    if row.verdict == 'not run'
  }
  assert 'python -m experiments.ioffe2015_figure2 --scale=paper' in commands
  assert (
    'python -m experiments.flowers --folder=FOLDER --seeds=2 --scale=paper'
    in commands
  )


def test_commands_of_results_are_of_results_that_there_are(studies):
  for study in studies:
    assert {*study.commands} <= {*study.results}, study.name


def test_the_citation_is_that_of_the_citation_file(studies):
  cited = _rows.bibtex(studies[0], '1.2')
  kept = yaml.safe_load((ROOT / 'CITATION.cff').read_text())
  assert f'title = {{{kept["title"]}}}' in cited
  assert f'author = {{{{{kept["authors"][0]["name"]}}}}}' in cited
  assert 'Version 1.2' in cited
  assert 'year = {2026}' in cited


# How it is escaped.


def test_no_text_becomes_markup(tmp_path):
  figures = {'hostile_x': ['.json', '.png']}
  wanted, made = (
    _site.pages([of_text(text, tmp_path)], figures) for text in (PLAIN, HOSTILE)
  )
  for name, text in made.items():
    page = Page(text)
    assert page.tags == Page(wanted[name]).tags, name
    assert '\x1b' not in text
    assert not BIDI.search(text)
    assert not any('javascript:' in link for link in page.links)
    assert 'onerror=alert(1)>"\'&amp;{{ 7 }}\\x1b[31m\\u202eabc' in page.text


def test_the_data_of_a_chart_survive_markup(tmp_path):
  study = of_text(HOSTILE, tmp_path)
  page = Page(_site.pages([study], {'hostile_x': []})['hostile.html'])
  (spec,) = [json.loads(s) for s in page.scripts if s.startswith('{')]
  first, _ = spec['data']['values']
  assert first['run'] == terminal.printable(f'{HOSTILE}={HOSTILE},seed=0')


def test_letters_from_right_to_left_stay_as_they_are(tmp_path):
  study = of_text(HEBREW, tmp_path)
  made = _site.pages([study], {'hostile_x': []})
  for text in made.values():
    page = Page(text)
    assert HEBREW in page.text
    assert HEBREW not in page.turning


def test_links_to_what_the_site_lacks_are_text(tmp_path):
  made = _site.pages([of_text('plain', tmp_path)], {'hostile_x': []})
  page = Page(made['hostile.html'])
  assert '../outside.md' not in page.links
  assert 'plain c d' in page.text
  assert '!b' in page.text, 'a picture from elsewhere is a link at most'


# How it is written.


def test_every_link_of_the_site_has_a_target(
  tmp_path, capsys, without_vega, pages
):
  folder = tmp_path / 'deep' / 'site'
  assert command_line.main([f'--report={folder}']) == 0
  assert f'Wrote {folder / "index.html"}.' in capsys.readouterr().out
  read = {name: Page((folder / name).read_text()) for name in pages}
  for name, page in read.items():
    assert len({*page.ids}) == len(page.ids), name
    for link in page.links:
      path, _, anchor = link.partition('#')
      if link.startswith(('https://arxiv.org/abs/', 'data:')):
        continue
      target = folder / (path or name)
      assert target.is_file(), link
      assert not anchor or anchor in read[path or name].ids, link
  size = sum(f.stat().st_size for f in folder.rglob('*') if f.is_file())
  assert size < 9e6  # and one of Vega, which is absent here
  assert [f.name for f in folder.parent.iterdir()] == ['site']


def test_a_site_replaces_the_one_before_and_nothing_else(
  tmp_path, capsys, without_vega
):
  folder = tmp_path / 'site'
  made = of_text('plain', tmp_path)
  _site.write(folder, [made], tmp_path)
  (folder / 'old.html').touch()
  _site.write(folder, [made], tmp_path)
  assert not (folder / 'old.html').exists()
  (folder / 'index.html').write_text('mine')
  assert command_line.main([f'--report={folder}']) == 2
  assert 'has files that are no scoreboard' in capsys.readouterr().err
  assert (folder / 'index.html').read_text() == 'mine'


@pytest.mark.parametrize('package', ['jinja2', 'vl_convert'])
def test_a_package_that_is_missing_is_named(
  package, tmp_path, monkeypatch, capsys, without_vega
):
  monkeypatch.setitem(sys.modules, package, None)
  assert command_line.main([f'--report={tmp_path / "site"}']) == 2
  name = {'vl_convert': 'vl-convert-python'}.get(package, package)
  assert capsys.readouterr().err == (
    f'--report needs {name}, which is not installed: '
    "pip install 'bnresearch[report]'.\n"
  )
  assert list(tmp_path.iterdir()) == []


def test_a_result_without_a_figure_says_so(tmp_path, without_vega):
  study = of_text('plain', tmp_path)
  _site.write(tmp_path / 'a', [study], tmp_path)
  assert 'no figure kept' in (tmp_path / 'a' / 'index.html').read_text()
  shutil.copy(RESULTS / 'batch_size_mnist.png', tmp_path / 'hostile_x.png')
  _site.write(tmp_path / 'b', [study], tmp_path)
  assert (tmp_path / 'b' / 'results' / 'hostile_x.webp').stat().st_size < 2e4
  assert 'no figure kept' not in (tmp_path / 'b' / 'index.html').read_text()
