"""Distributions over steps, from `probes/activation_histogram.py`.

A column for each record, with the record's own bins, darker where denser.
"""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

import numpy as np

from bnresearch.reports.site import lines, vega
from bnresearch.reports.site.vega import Chart
from bnresearch.runs.logbook import Series
from bnresearch.terminal import printable

_RECORDS, _BINS, _PANELS = 32, 32, 9


def charts(found: Mapping[str, Series]) -> Iterator[Chart]:
  """Yields a chart of the distributions, a panel for each layer.

  Args:
    found: {'layer/counts': (T, C, B), 'layer/edges': (T, B + 1)}.
  """
  sites = [p.removesuffix('/counts') for p in found if p.endswith('/counts')]
  sites = [site for site in sites if f'{site}/edges' in found]
  shown = [sites[k] for k in lines.some(len(sites), _PANELS)]
  rows, cells, places = [], [], set()
  for site in shown:
    steps, counts = found[f'{site}/counts']
    edges_TB = found[f'{site}/edges'].values
    counts_TB = counts.sum(1) if counts.ndim == 3 else counts
    kept = lines.some(len(steps), _RECORDS)
    ends = [*kept[1:], kept[-1]]
    places |= {int(steps[t]) for t in kept}
    for t, after in zip(kept, ends):
      rows.append(_column(site, steps, t, after, counts_TB[t], edges_TB[t]))
      told = _quantiles(counts_TB[t], edges_TB[t])
      cells.append([printable(site), f'{steps[t]:,}', *map(vega.words, told)])
  rows = [row for row in rows if row]
  if not rows:
    return
  spec = vega.spec(
    rows, _heat(places), [printable(site) for site in shown], height=170
  )
  columns = ['layer', 'step', 'smallest', '15%', 'median', '85%', 'largest']
  few = (
    f'{len(shown)} of {len(sites)} layers, evenly chosen. '
    if len(shown) < len(sites)
    else ''
  )
  caption = f'{few}All units of a layer together; a column is a record.'
  spec['usermeta'] = {'renderer': 'canvas'}
  yield Chart(spec, columns, cells, caption)


def _column(site, steps, t, after, counts_B, edges_B) -> dict[str, Any] | None:
  """Returns the row of a record; its densities share a few bins."""
  total, width = counts_B.sum(), float(edges_B[-1] - edges_B[0])
  if not total or not np.isfinite(width) or width <= 0:
    return None
  starts = np.linspace(0, len(counts_B), min(_BINS, len(counts_B)) + 1)
  starts = np.unique(starts.astype(int))
  parts = np.add.reduceat(counts_B, starts[:-1])
  density = parts / total / np.diff(edges_B[starts])
  following = int(steps[after])
  return {
    'panel': printable(site),
    'x': int(steps[t]),
    'x2': following if after > t else following + max(following // 50, 1),
    'd': [vega.number(value) for value in density],
    'low': [vega.number(edges_B[k]) for k in starts[:-1]],
    'high': [vega.number(edges_B[k]) for k in starts[1:]],
  }


def _quantiles(counts_B, edges_B):
  """Returns the ends and three percentiles that a histogram tells."""
  share_B = np.concatenate([[0], np.cumsum(counts_B)]) / max(counts_B.sum(), 1)
  inner = np.interp((0.15, 0.5, 0.85), share_B, edges_B)
  return edges_B[0], *inner, edges_B[-1]


def _heat(places: Collection[int]):
  """Returns the unit of columns whose cells are as dark as dense."""
  x = vega.steps([*places])
  color = {
    'field': 'd',
    'type': 'quantitative',
    'title': 'density',
    'scale': {'type': 'log', 'scheme': 'viridis', 'nice': False},
    'legend': {'orient': 'top', 'gradientLength': 160, 'tickCount': 3},
  }
  return {
    'transform': [
      {'flatten': ['d', 'low', 'high']},
      {'filter': 'datum.d > 0'},
    ],
    # The outline closes the seams between cells.
    'mark': {'type': 'rect', 'tooltip': False, 'strokeWidth': 0.7},
    'encoding': {
      'x': x,
      'x2': {'field': 'x2'},
      'y': {
        'field': 'low',
        'type': 'quantitative',
        'title': 'input',
        'axis': {'tickCount': 5},
      },
      'y2': {'field': 'high'},
      'color': color,
      'stroke': color,
    },
  }
