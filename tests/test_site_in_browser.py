"""The site of all results in a browser: it works, and everybody can use it.

It needs Chromium, `pip install -e '.[browser]'` and the extra `report`.
"""

import pytest

from experiments import _site
from tests import in_browser
from tests.hostile import HOSTILE, of_text
from tests.in_browser import SCREENS

pytestmark = pytest.mark.study


@pytest.fixture(scope='module')
def site(tmp_path_factory):
  pytest.importorskip('vl_convert', reason='needs the extra `report`')
  folder = tmp_path_factory.mktemp('written') / 'site'
  _site.write(folder)
  return folder


@pytest.fixture(scope='module')
def browser():
  yield from in_browser.launched()


@pytest.fixture
def opened(browser, site):
  yield from in_browser.opening(browser, site)


def shown(page):
  """Returns the rows of the scoreboard that are shown, in order."""
  return page.locator('.board tbody tr:visible').evaluate_all(
    'rows => rows.map(row => ({...row.dataset, id: row.id}))'
  )


def names(site):
  return sorted(file.stem for file in site.glob('*.html'))


@pytest.mark.parametrize('screen', SCREENS)
def test_every_page_is_whole_and_fits_the_screen(opened, site, screen):
  for name in names(site):
    page = opened(name, screen)
    page.evaluate(
      """async () => {
        for (const image of document.images) {
          image.loading = 'eager';
          await image.decode();
        }
      }"""
    )
    in_browser.assert_fits(page, name)
    narrow = page.locator('.board td.claim').evaluate_all(
      'cells => Math.min(...cells.map(cell => cell.clientWidth))'
    )
    assert narrow is None or narrow > 150, 'no room for the words of a claim'
    charts = page.locator('.chart').count()
    assert page.locator('.chart svg[role=img]').count() == charts
    page.close()


@pytest.mark.parametrize('screen', SCREENS)
def test_axe_finds_nothing_serious(opened, site, screen):
  for name in ('index', 'batch_size', 'learning_rate_tolerance'):
    in_browser.assert_accessible(opened(name, screen), name)


def test_rows_are_filtered_by_paper_verdict_room_and_words(opened):
  page = opened('index')
  every = shown(page)
  page.locator('[name=paper]').select_option('Ioffe 2017')
  papers = [row['paper'].split('|') for row in shown(page)]
  assert all('Ioffe 2017' in of_row for of_row in papers)
  assert 0 < len(papers) < len(every)
  page.locator('[name=verdict]').select_option('partly')
  rows = shown(page)
  assert {row['verdict'] for row in rows} == {'partly'}
  said = page.locator('form output').text_content()
  assert said == f'{len(rows)} of {len(every)} claims'
  page.locator('form [data-reset]').click()
  page.locator('[name=room]').select_option('augment')
  assert {row['room'] for row in shown(page)} == {'augment'}
  page.locator('[name=find]').fill('no such words')
  assert shown(page) == []
  page.locator('.empty button').click()
  assert shown(page) == every


@pytest.mark.parametrize(
  ('words', 'studies'),
  [
    ('Ioffe  Figure 4', {'ioffe2015_figure4'}),
    ('santurkar figure 2', {'santurkar2018_shift'}),
    ('2,000', set()),  # those of Figure 1 are 32,000
    ('32,000', {'ioffe2015_figure1'}),
    ('Wu digits 44.7%', {'batch_size'}),
  ],
)
def test_words_find_the_rows_that_have_all_of_them(opened, words, studies):
  page = opened('index')
  page.locator('[name=find]').fill(words)
  found = {row['id'].rpartition('-')[0] for row in shown(page)}
  assert found == studies


def test_a_verdict_of_the_legend_filters_by_keyboard(opened):
  page = opened('index')
  chip = page.locator('.chip[data-verdict="not run"]')
  chip.press('Enter')
  assert chip.get_attribute('aria-pressed') == 'true'
  assert {row['verdict'] for row in shown(page)} == {'not run'}
  chip.press('Enter')
  assert len({row['verdict'] for row in shown(page)}) > 3


def test_rows_are_sorted(opened):
  page = opened('index')
  first = shown(page)
  sort = page.locator('[name=sort]')
  for key, of_row, descending in [
    ('paper', lambda row: row['paper'].lower(), False),
    ('room', lambda row: row['room'], False),
    ('verdict', lambda row: int(row['order']), False),
    ('seeds', lambda row: int(row['seeds']), True),
    ('date', lambda row: row['date'], True),
  ]:
    sort.select_option(key)
    rows = shown(page)
    assert rows == sorted(first, key=of_row, reverse=descending), key
  sort.select_option('')
  assert shown(page) == first


def test_a_click_copies_the_command(opened):
  page = opened('index')
  page.context.grant_permissions(['clipboard-read', 'clipboard-write'])
  button = page.locator('.copy').first
  button.click()
  page.wait_for_function("document.querySelector('.copy').disabled")
  assert page.evaluate('navigator.clipboard.readText()') == (
    'python -m experiments.ioffe2015_figure1 --data=mnist --seeds=3'
  )


def test_hostile_names_do_nothing(opened, tmp_path):
  _site.write(tmp_path / 'site', [of_text(HOSTILE, tmp_path)], tmp_path)
  for name in ('index', 'hostile'):
    page = opened(name, folder=tmp_path / 'site')
    page.on('dialog', lambda dialog: pytest.fail(dialog.message))
    assert page.locator('img').count() == 0
    assert 'onerror=alert(1)' in page.locator('main').text_content()
  point = page.locator('.chart .mark-symbol path').first
  point.hover(force=True)
  tip = page.locator('#vg-tooltip-element.visible')
  assert 'onerror=alert(1)' in tip.text_content()
  assert tip.locator('img').count() == 0


def test_print_shows_figures_and_what_is_folded(opened):
  page = opened('architectures')
  page.emulate_media(media='print')
  assert page.locator('figure.static img').is_visible()
  assert not page.locator('.chart').is_visible()
  board = opened('index')
  board.evaluate("dispatchEvent(new Event('beforeprint'))")
  assert board.locator('details:not([open])').count() == 0


def test_the_site_is_small_and_opens_in_two_seconds(opened, site):
  files = [file for file in site.rglob('*') if file.is_file()]
  assert sum(file.stat().st_size for file in files) < 10e6
  timing = opened('index').evaluate(
    'performance.getEntriesByType("navigation")[0].domComplete'
  )
  assert timing < 2000
