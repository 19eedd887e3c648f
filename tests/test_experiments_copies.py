"""Numbers and figures of the site: the same, in fewer bytes."""

import json
import re
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from experiments import _copies, _scoreboard, _site

LIMIT = 9e6  # bytes; a site of 10 MB is too large to send around
LARGEST = 800_000  # of one file that is not the library of the charts
NUMBER = re.compile(r'-?\d+\.?\d*(?:e-?\d+)?')
SVGS = sorted(_scoreboard.RESULTS.glob('*.svg'))


@pytest.fixture(scope='module')
def site(tmp_path_factory):
  """Returns the site of the committed results, with its charts' library."""
  pytest.importorskip('vl_convert', reason='needs the extra `report`')
  folder = tmp_path_factory.mktemp('written') / 'site'
  _site.write(folder)
  return {
    str(file.relative_to(folder)): file.stat().st_size
    for file in folder.rglob('*')
    if file.is_file()
  }


def largest(sizes):
  """Writes the largest files, and what each kind of file takes."""
  kinds = {}
  for name, size in sizes.items():
    kind = name.rpartition('.')[2]
    kinds[kind] = kinds.get(kind, 0) + size
  order = lambda of: sorted(of.items(), key=lambda item: -item[1])
  lines = [f'{size / 1e6:.2f} MB of .{kind}' for kind, size in order(kinds)]
  files = [f'{size / 1e6:.2f} MB: {name}' for name, size in order(sizes)[:8]]
  return '\n'.join(['the site is too large:', *lines, 'the largest:', *files])


def test_the_site_of_the_committed_results_is_small(site):
  assert sum(site.values()) < LIMIT, largest(site)


def test_no_file_of_the_site_is_most_of_it(site):
  ours = {name: size for name, size in site.items() if 'vega' not in name}
  assert max(ours.values()) < LARGEST, largest(ours)


def test_what_is_too_large_is_named():
  said = largest({'a/b.svg': 3_000_000, 'c.svg': 500_000, 'd.html': 1_000_000})
  assert said.splitlines() == [
    'the site is too large:',
    '3.50 MB of .svg',
    '1.00 MB of .html',
    'the largest:',
    '3.00 MB: a/b.svg',
    '1.00 MB: d.html',
    '0.50 MB: c.svg',
  ]


def test_coordinates_have_two_decimals_and_glyphs_keep_their_scale():
  given = (
    '<path d="M 10.123456 -0.004321 \nL 7 2.5e-05 \nz\n" '
    'style="stroke-width: 0.123456"/>'
    '<g transform="scale(0.015625)"><use x="1.987654" y="2.000001"/></g>'
  )
  assert _copies.slim(given) == (
    '<path d="M10.12 -0L7 0z" style="stroke-width: 0.123456"/>'
    '<g transform="scale(0.015625)"><use x="1.99" y="2"/></g>'
  )


@pytest.mark.parametrize('file', SVGS[:4], ids=lambda f: f.stem)
def test_a_slim_figure_is_the_same_figure(file):
  whole = file.read_text()
  slim = _copies.slim(whole)
  assert len(slim) < 0.9 * len(whole)
  pairs = zip(
    ElementTree.fromstring(whole).iter(),
    ElementTree.fromstring(slim).iter(),
    strict=True,
  )
  for one, other in pairs:
    assert one.tag == other.tag
    for key, value in one.attrib.items():
      found = other.attrib[key]
      if key not in ('d', 'x', 'y', 'width', 'height', 'points'):
        assert found == value
        continue
      before, after = (
        np.array(NUMBER.findall(text), float) for text in (value, found)
      )
      np.testing.assert_allclose(after, before, atol=0.00501)


def test_a_result_keeps_its_numbers(tmp_path):
  stem = 'batch_size_digits'
  found = _copies.copy(stem, _scoreboard.RESULTS, tmp_path)
  assert found == ['.json', '.svg', '.webp']
  copied, kept = (
    folder / f'{stem}.json' for folder in (tmp_path, _scoreboard.RESULTS)
  )
  assert json.loads(copied.read_text()) == json.loads(kept.read_text())
  assert copied.stat().st_size < 0.8 * kept.stat().st_size
