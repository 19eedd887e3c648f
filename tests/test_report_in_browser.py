"""Reports in a browser: they work, and everybody can use them.

It needs Chromium, `pip install -e '.[browser]'` and the extra `report`.
"""

import pytest

from bnresearch.reports import targets
from bnresearch.reports.site import report
from tests import in_browser, written_runs
from tests.hostile import HOSTILE
from tests.test_report import hostile

pytestmark = pytest.mark.study
RUN = 'run-norm=batch,seed=0'


@pytest.fixture(scope='module')
def site(tmp_path_factory):
  pytest.importorskip('vl_convert', reason='needs the extra `report`')
  folder = tmp_path_factory.mktemp('written')
  sweep = written_runs.sweep(folder / 'sweep')
  target = targets.parse('test/accuracy=0.45')
  report.Report(folder / 'site', [sweep], target).write()
  return folder / 'site'


@pytest.fixture(scope='module')
def browser():
  yield from in_browser.launched()


@pytest.fixture
def opened(browser, site):
  yield from in_browser.opening(browser, site)


def lines(page, chart):
  """Returns how many lines a chart has."""
  return page.locator(f'#chart-{chart} .mark-line path').count()


def choose(page, name, value, chart):
  """Chooses an option, and waits until its chart is drawn again."""
  page.evaluate(f'document.querySelector("#chart-{chart} svg").id = "old"')
  page.locator(f'[name={name}]').select_option(label=value)
  page.wait_for_selector(f'#chart-{chart} svg:not(#old)', state='attached')


@pytest.mark.parametrize('screen', in_browser.SCREENS)
def test_every_page_is_whole_fits_and_is_accessible(opened, site, screen):
  for name in ('index', RUN, 'run-norm=batch,learning_rate=9'):
    page = opened(name, screen)
    in_browser.assert_fits(page, name)
    charts = page.locator('.chart').count()
    assert charts >= 1
    assert page.locator('.chart :is(svg, canvas)[role=img]').count() == charts
    in_browser.assert_accessible(page, name)
    page.close()


def test_curves_change_with_the_metric(opened):
  page = opened('index')
  assert lines(page, 'curves') == 3
  choose(page, 'curve', 'train/accuracy', 'curves')
  assert lines(page, 'curves') == 2
  assert 'train/accuracy' in page.locator('#chart-curves').text_content()
  assert 'curve=train' in page.evaluate('location.hash')


def test_what_was_chosen_survives_a_reload(opened):
  page = opened('index')
  choose(page, 'y', 'train/loss, last', 'scatter')
  page.reload()
  page.wait_for_selector('html[data-drawn]', state='attached')
  assert 'train/loss, last' in page.locator('#chart-scatter').text_content()


def test_any_knob_stands_against_any_metric(opened):
  page = opened('index')
  points = page.locator('#chart-scatter .mark-symbol path')
  assert points.count() >= 5
  choose(page, 'x', 'norm.name', 'scatter')
  assert 'norm.name' in page.locator('#chart-scatter').text_content()
  choose(page, 'y', 'steps to test/accuracy=0.45', 'scatter')
  assert 'steps to test' in page.locator('#chart-scatter').text_content()


def test_a_click_on_a_point_opens_its_run(opened):
  page = opened('index')
  point = page.locator('#chart-scatter .role-mark.marks path').first
  point.click(force=True)
  page.wait_for_url('**/run-*.html')
  assert page.locator('h1').text_content().startswith('norm=')


def test_parallel_coordinates_have_a_line_for_each_run(opened):
  assert lines(opened('index'), 'parallel') == 5


def test_points_are_sorted_and_filtered(opened):
  page = opened('index')
  names = page.locator('.points tbody tr:visible th')
  head = page.locator('.points th', has_text='test accuracy, chosen')
  head.locator('button').press('Enter')
  assert head.get_attribute('aria-sort') == 'ascending'
  assert names.first.text_content() == 'norm=batch,learning_rate=9'
  head.locator('button').click()
  assert names.first.text_content() == 'norm=batch,seed=1'
  page.locator('[name=find]').fill('none seed=1')
  assert names.all_text_contents() == ['norm=none,seed=1']
  page.locator('[name=find]').fill('no such run')
  assert page.locator('.empty').is_visible()


def test_two_runs_stand_side_by_side(opened):
  page = opened('index')
  page.locator('[name=one]').select_option(label='norm=batch,seed=0')
  page.locator('[name=other]').select_option(label='norm=none,seed=0')
  rows = page.locator('#beside tbody tr').all_text_contents()
  assert 'norm.namebatchnone' in rows
  assert not any(row.startswith('seed') for row in rows), 'both have seed 0'


def test_the_numbers_of_the_curves_stand_behind_them(opened):
  page = opened('index')
  page.locator('#numbers summary').click()
  cells = page.locator('#numbers tbody tr').nth(1).locator('th, td')
  assert cells.first.text_content() == 'norm batch, learning_rate 0.1'
  assert cells.last.text_content() == '0.91'


def test_hostile_names_do_nothing(opened, tmp_path):
  folder = hostile(tmp_path, HOSTILE)
  report.Report(tmp_path / 'site', [folder]).write()
  names = [f.stem for f in (tmp_path / 'site').glob('*.html')]
  assert len(names) == 3
  for name in names:
    page = opened(name.replace('%', '%25'), folder=tmp_path / 'site')
    page.on('dialog', lambda dialog: pytest.fail(dialog.message))
    assert page.locator('img').count() == 0
    assert 'onerror=alert(1)' in page.locator('main').text_content()
  page = opened('index', folder=tmp_path / 'site')
  page.locator('#chart-scatter .role-mark.marks path').first.hover(force=True)
  tip = page.locator('#vg-tooltip-element.visible')
  assert 'onerror=alert(1)' in tip.text_content()
  assert tip.locator('img').count() == 0


def test_print_has_the_charts_and_not_the_controls(opened):
  page = opened(RUN)
  page.emulate_media(media='print')
  assert page.locator('.chart').first.is_visible()
  page = opened('index')
  page.emulate_media(media='print')
  assert page.locator('#chart-curves').is_visible()
  assert not page.locator('form').first.is_visible()


def test_a_page_of_200_runs_opens_in_two_seconds(opened, tmp_path):
  for k in range(200):
    written_runs.write(
      tmp_path / 'sweep' / f'learning_rate={k},seed={k % 2}',
      rows=written_runs.trained(0.5 + k / 500),
      optim__learning_rate=1.0 + k // 2,
      seed=k % 2,
    )
  report.Report(tmp_path / 'site', [tmp_path / 'sweep']).write()
  page = opened('index', folder=tmp_path / 'site')
  timing = page.evaluate(
    'performance.getEntriesByType("navigation")[0].domComplete'
  )
  assert timing < 2000
  assert page.locator('.points tbody tr').count() == 200
  assert (tmp_path / 'site' / 'index.html').stat().st_size < 1e6


def test_a_watched_page_loads_itself_again(opened, tmp_path):
  path = written_runs.write(
    tmp_path / 'run', rows=written_runs.trained(), status={'status': 'running'}
  )
  made = report.Report(tmp_path / 'site', [path], watched=True)
  made.write()
  page = opened('index', folder=tmp_path / 'site')
  assert 'it failed' not in page.locator('main').text_content()
  page.wait_for_timeout(5500)  # until it knows what it shows
  (path / 'status.json').write_text(
    '{"status": "failed", "message": "it failed"}'
  )
  made.write()
  page.get_by_text('it failed').first.wait_for(timeout=12_000)
