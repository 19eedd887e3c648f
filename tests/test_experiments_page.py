"""The page of all studies: what it says is what files and results say."""

import functools
import itertools
import json
import pathlib
import re
import types

import markdown_it
import pytest

from experiments import __main__ as command_line
from experiments import (
  _page,
  _scoreboard,
  _table,
  batch_size,
  ioffe2015_figure3,
  ioffe2015_figure4,
  learning_rate_tolerance,
  photometric,
  regularization,
)
from tests import studies

ROOT = pathlib.Path(__file__).parents[1]
PAGE = ROOT / 'experiments' / 'README.md'
RESULTS = ROOT / 'experiments' / 'results'
BEFORE, AFTER = _scoreboard.MARKERS
# What everybody reads on GitHub.
PAGES = sorted({*ROOT.glob('*.md'), *ROOT.glob('*/README.md')})
FIELDS = [
  *('Claim', 'Source', 'Scale', 'Method', 'Config', 'Runs', 'Cost'),
  *('Measured', 'Figure', 'Notes', 'Command'),
]


@pytest.fixture(scope='module')
def page():
  return _page.text()


def parsed(text):
  """Yields the inline tokens of Markdown, with the kind that they stand in."""
  tokens = markdown_it.MarkdownIt('commonmark').enable('table').parse(text)
  for opening, token in itertools.pairwise(tokens):
    if token.type == 'inline':
      yield opening.type, token


def shown(token):
  """Returns what a reader sees of an inline token; a line break is one."""
  return ''.join(
    '\n' if child.content == '<br>' else child.content
    for child in token.children
    if child.type in ('text', 'code_inline', 'html_inline')
  )


def cells(text):
  """Returns what a reader sees in all cells of all tables."""
  return [
    shown(token)
    for kind, token in parsed(text)
    if kind in ('td_open', 'th_open')
  ]


def slug(heading):
  """Returns the anchor that GitHub gives a heading."""
  kept = (c for c in heading.lower() if c.isalnum() or c in '-_ ')
  return ''.join(kept).replace(' ', '-')


def broken_links(file, text):
  """Yields the links and pictures of a page that have no target."""
  for _, token in parsed(text):
    for child in token.children:
      link = child.attrs.get('href', child.attrs.get('src', ''))
      if not link or '://' in link:
        continue
      path, _, anchor = link.partition('#')
      target = (file.parent / path).resolve() if path else file
      content = text if target == file else ''
      if not target.exists():
        yield link
      elif anchor:
        content = content or target.read_text(encoding='utf-8')
        if anchor not in anchors(content):
          yield link


@functools.cache
def anchors(text):
  headings = (shown(token) for kind, token in parsed(text) if kind[0] == 'h')
  return {slug(heading) for heading in headings}


# The page.


def test_the_committed_page_is_what_the_command_writes(tmp_path, capsys):
  file = tmp_path / 'experiments' / 'README.md'
  assert command_line.main([f'--output={file}']) == 0
  assert f'Wrote {file}.' in capsys.readouterr().out
  kept = PAGE.read_text(encoding='utf-8')
  assert file.read_text(encoding='utf-8') == kept, (
    'python -m experiments --output=experiments/README.md'
  )


@pytest.mark.parametrize('file', PAGES, ids=lambda f: f.parent.name + f.name)
def test_each_link_of_a_page_has_a_target(file):
  assert list(broken_links(file, file.read_text(encoding='utf-8'))) == []


def test_a_link_without_a_target_is_noticed():
  text = '# One\n[a](#one) [b](#two) [c](results/none.json) ![d](../README.md)'
  assert list(broken_links(PAGE, text)) == ['#two', 'results/none.json']


def test_each_study_has_a_section_with_the_same_fields(page):
  assert page.index('\n## Scoreboard\n') < page.index('\n## Figure 1 ')
  _, _, *sections = page.split('\n## ')
  assert len(sections) == len(studies.names('experiments'))
  for section in sections:
    fields = re.findall(r'^\*\*([A-Z][a-z ]+)\.\*\* \S', section, re.M)
    assert [f for f in fields if f != 'Not run'] == FIELDS, section[:60]


def test_every_claim_is_on_the_page_as_its_result_has_it(page):
  of_page = cells(page)
  rows = {tuple(of_page[k : k + 4]) for k in range(len(of_page))}
  for file in RESULTS.glob('*.json'):
    for claim in json.loads(file.read_text())['claims']:
      row = tuple(
        claim[k] for k in ('setting', 'claim', 'published', 'measured')
      )
      assert row in rows, file.name


def test_every_result_has_its_table_and_picture(page):
  for file in RESULTS.glob('*.json'):
    assert f'[{file.stem}](results/{file.name})' in page
    assert f'](results/{file.stem}.png)' in page


def test_every_row_has_a_cell_for_each_column(page):
  tables = re.findall(r'(?:^\|.*\n)+', page, re.M)
  assert len(tables) > 30
  for table in tables:
    lines = table.replace(r'\|', '').splitlines()
    assert len({line.count('|') for line in lines}) == 1, lines[0]


def test_plain_text_is_shown_as_it_is():
  rows = [['<w, dl/dw> = 0', '|b| is *large*'], ['[0.0, 1.8] ~1~', '_a_ a_b']]
  table = _table.Table(['`one`', 'two\\|'], rows, 'a | b <br>')
  text = table.markdown()
  assert cells(text) == ['`one`', 'two\\|', *rows[0], *rows[1]]
  *_, (_, caption) = parsed(text)
  assert shown(caption) == 'a | b <br>'
  assert r'a\_b' not in text  # a word of the source, which people read too


# The scoreboard.

DOC = """Some title: with (a) colon.

Claim:    it works
          | well.
Source:   Somebody & Other 2015, Figure 9 (section 1); A. Third.
Scale:    {scale}
Config:   configs/figure1.py:seeds=1
Command:  python -m experiments.some_study
Cost:     nothing.
{more}Result:   experiments/results/some_study_*.{{png,svg,json}}

The method.
"""


@pytest.fixture
def study(tmp_path):
  """Returns a maker of studies with one result of such claims, or none."""

  def make(*claims, seeds=2, scale='as published.', more=''):
    module = types.ModuleType('experiments.some_study')
    module.__doc__ = DOC.format(scale=scale, more=more)
    if claims:
      keys = 'setting', 'claim', 'measured', 'holds'
      rows = [dict(zip(keys, c)) | {'published': 'yes'} for c in claims]
      written = {'seeds': seeds, 'data': 'some_data', 'claims': rows}
      for name in ('some_study', 'some_study_two'):
        file = tmp_path / f'{name}_digits.json'
        file.write_text(json.dumps(written | {'experiment': name}))
    return _scoreboard.read(module, tmp_path)

  return make


@pytest.mark.parametrize(
  ('holds', 'scale', 'verdict'),
  [
    ([True, True], 'as published.', 'reproduced (2 of 2 seeds)'),
    ([True, False], 'smaller.', 'partly (1 of 2 seeds)'),
    ([False, False], 'smaller.', 'not at this scale (0 of 2 seeds)'),
    ([False, False], 'as published.', 'not reproduced (0 of 2 seeds)'),
    ([True] * 3, 'smaller.', 'reproduced (3 of 3 times)'),
    ([False], 'smaller.', 'not at this scale (0 of 1 time)'),
    ([], 'smaller.', 'not tested'),
  ],
)
def test_a_verdict_says_in_how_many_seeds_and_at_what_scale(
  study, holds, scale, verdict
):
  made = study(('here', 'works', '1', holds), scale=scale)
  ((*_, said, _),) = _scoreboard.rows(made)
  assert said == verdict


def test_settings_with_the_same_verdict_share_a_row(study):
  made = study(
    ('a', 'works', '1', [True, True]),
    ('b', 'works', '2', [False, True]),
    ('c', 'works', '3', [True, True]),
    ('c', 'is *fast*', '4', [False, True]),
  )
  link = '[Somebody & Other 2015, Figure 9; A. Third](#some-title-with-a-colon)'
  assert list(_scoreboard.rows(made)) == [
    (link, *row, 'some_data, 2 seeds')
    for row in (
      ('works', 'yes', 'a: 1<br>c: 3', 'reproduced (4 of 4 times)'),
      ('works (b)', 'yes', '2', 'partly (1 of 2 seeds)'),
      (r'is \*fast\* (c)', 'yes', '4', 'partly (1 of 2 seeds)'),
    )
  ]


def test_many_settings_are_named_and_shown_in_the_section(study):
  made = study(*((str(k), 'works', f'm{k}', [True]) for k in range(7)))
  ((_, claim, _, measured, *_),) = _scoreboard.rows(made)
  assert claim == 'works (0, 1, 2, 3, 4, 5, 6)'
  assert measured == 'see the section'


def test_what_was_not_run_has_a_row(study):
  without = study()
  ((_, claim, *_, verdict, data),) = _scoreboard.rows(without)
  assert (claim, verdict, data) == (r'it works \| well.', 'not run', '')
  partly = study(('here', 'works', '1', [True]), more='Not run:  all of it.\n')
  assert [(row[1], row[4]) for row in _scoreboard.rows(partly)] == [
    ('works (here)', 'reproduced (1 of 1 time)'),
    ('all of it.', 'not run'),
  ]


# The verdicts of the main page.


def test_the_main_verdicts_are_written_between_the_markers(tmp_path, capsys):
  file = tmp_path / 'README.md'
  file.write_text(f'Before\n{BEFORE}\nold\n{AFTER}\nafter\n')
  assert command_line.main([f'--verdicts={file}']) == 0
  assert f'Wrote the verdicts into {file}.' in capsys.readouterr().out
  written = file.read_text()
  head, table, tail = re.split(f'{BEFORE}\n\n|\n\n{AFTER}', written)
  assert (head, tail) == ('Before\n', '\nafter\n')
  assert list(broken_links(file, written)) == []
  _, _, *rows = table.splitlines()
  assert [row.split(' | ')[3].partition(';')[0] for row in rows] == [
    'reproduced (6 of 6 times)',
    'partly (4 of 6 times)',
    'reproduced (3 of 3 seeds)',
    'not at this scale (0 of 6 times)',
    'reproduced (3 of 3 seeds)',
  ]
  assert 'Inception 8,800' in table
  assert 'spread changes' not in table, 'too much for a first look'
  _scoreboard.write_verdicts(file)
  assert file.read_text() == written


def test_links_of_the_verdicts_are_those_of_the_main_page():
  assert '](experiments/README.md#figure-1-' in _scoreboard.verdicts(
    ROOT / 'README.md'
  )


def test_pages_that_have_the_markers_have_the_verdicts_of_today():
  for file in PAGES:
    text = file.read_text(encoding='utf-8')
    if BEFORE in text:
      table = f'{BEFORE}\n\n{_scoreboard.verdicts(file)}\n\n{AFTER}'
      assert table in text, f'python -m experiments --verdicts={file.name}'


@pytest.mark.parametrize(
  'text',
  ['', BEFORE, AFTER + BEFORE, BEFORE + AFTER + AFTER, BEFORE * 2 + AFTER],
)
def test_a_page_without_a_place_for_the_verdicts_is_refused(
  text, tmp_path, capsys
):
  file = tmp_path / 'README.md'
  file.write_text(text)
  assert command_line.main([f'--verdicts={file}']) == 2
  assert 'has no place for the verdicts. Put' in capsys.readouterr().err
  assert file.read_text() == text


# Tables that studies make of their results.


def made(module, data):
  name = module.__name__.rpartition('.')[2]
  result = json.loads((RESULTS / f'{name}_{data}.json').read_text())
  table = module.table(result)
  return {row[0]: list(row[1:]) for row in table.rows}


def test_figure_3_has_the_published_beside_the_measured():
  rows = made(ioffe2015_figure3, 'fashion_mnist')
  assert rows['BN-Baseline'] == [
    *('13.3M', '5,245 ± 667 steps', '2.3', '1.8'),
    *('72.7%', '88.57% ± 0.11%'),
  ]
  assert rows['BN-x5'][1:4] == ['not in 3,000 steps', '14.8', 'never']
  assert rows['Inception-Sigmoid'][4] == 'under 0.1%'
  assert rows['Inception x5'][::2] == ['no number'] * 3


def test_figure_4_has_each_error_and_its_calibration():
  rows = made(ioffe2015_figure4, 'fashion_mnist')
  assert rows['six networks, many crops'] == [
    *('20.1', '16.28 ± 0.39', '4.9', '0.30 ± 0.05'),
    *('15.68 to 19.15', '6.6 ± 0.4'),
  ]
  assert rows['six networks, single crop'][::2] == ['', '', '16.14 to 19.37']


def test_errors_by_group_size_have_the_published_beside_them():
  rows = made(batch_size, 'mnist')
  assert rows['4'] == ['5.4 ± 0.2', '4.4 ± 0.1', '', '', '', '27.3', '24.2']
  assert rows['any'][2] == '3.3 ± 0.2'


def test_the_largest_rate_that_trains_is_that_of_each_normalizer():
  rows = made(learning_rate_tolerance, 'mnist')
  assert rows['0.001'][:2] == ['none', '30']
  assert max(float(none) for none, *_ in rows.values() if none != 'none') == 3
  assert max(float(layer) for *_, layer in rows.values()) == 10


def test_accuracies_of_variants_are_a_row_a_network():
  rows = made(photometric, 'fashion_mnist')
  assert list(rows) == ['Inception', 'BN-x5']
  assert rows['BN-x5'][1] == '80.44% ± 0.35%'


def test_dropout_and_l2_have_accuracies_and_gaps():
  rows = made(regularization, 'fashion_mnist')
  assert len(rows) == 6
  assert rows['without BN, dropout 0'][0] == '90.14% ± 0.07%, gap 5.7%'
