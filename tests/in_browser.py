"""Pages in a Chromium of the system: opened, and watched for complaints.

It needs Chromium, `pip install -e '.[browser]'` and the extra `report`.
"""

import contextlib
import pathlib
import shutil

import pytest

CHROMIUM = shutil.which('chromium') or shutil.which('chromium-browser')
OPTIONS = (
  *('--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run'),
  *('--disable-background-networking', '--disable-component-update'),
  '--disable-sync',
)
SCREENS = {
  'desktop': {'viewport': {'width': 1400, 'height': 900}},
  'laptop': {'viewport': {'width': 1290, 'height': 800}},
  'tablet': {'viewport': {'width': 1000, 'height': 800}},
  'phone': {'viewport': {'width': 390, 'height': 844}},
  'dark': {
    'viewport': {'width': 1400, 'height': 900},
    'color_scheme': 'dark',
  },
}


def launched():
  """Yields a browser, for a fixture; skips the test where there is none."""
  if not CHROMIUM:
    pytest.skip('there is no Chromium here')
  api = pytest.importorskip(
    'playwright.sync_api', reason="needs pip install '.[browser]'"
  )
  with api.sync_playwright() as playwright:
    chromium = playwright.chromium.launch(
      executable_path=CHROMIUM, args=list(OPTIONS)
    )
    yield chromium
    chromium.close()


def opening(browser, site):
  """Yields what opens a page of a site by name, for a fixture.

  What the browser complains of fails the test.
  """
  complaints, contexts = [], contextlib.ExitStack()

  def complain(request):
    if not request.url.startswith(('file:', 'data:')):
      complaints.append(f'asks the network for {request.url}')

  def make(name, screen='desktop', folder=site):
    context = browser.new_context(**SCREENS[screen])
    contexts.callback(context.close)
    page = context.new_page()
    page.on('console', lambda message: complaints.append(message.text))
    page.on('pageerror', lambda error: complaints.append(str(error)))
    page.on('request', complain)
    page.goto((folder / f'{name}.html').as_uri())
    if page.locator('.chart').count():
      page.wait_for_selector('html[data-drawn]', state='attached')
    return page

  with contexts:
    yield make
  assert complaints == [], complaints


def assert_fits(page, name):
  """Asserts that nothing makes a page wider than the screen."""
  wide = page.evaluate(
    'document.documentElement.scrollWidth - window.innerWidth'
  )
  assert wide <= 0, f'{name} is {wide} pixels too wide'


def assert_accessible(page, name):
  """Asserts that axe finds nothing serious on a page."""
  axe = pytest.importorskip('axe_playwright_python')
  script = pathlib.Path(axe.__file__).with_name('axe.min.js').read_text()
  page.evaluate(script)
  found = page.evaluate('axe.run({preload: false})')['violations']
  serious = [
    (v['id'], v['nodes'][0]['html'])
    for v in found
    if v['impact'] in ('serious', 'critical')
  ]
  assert serious == [], (name, serious)
