"""Curves over steps: thinned, and with the spread of seeds around them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bnresearch.reports.site import vega
from bnresearch.runs.logbook import Series
from bnresearch.terminal import printable

MOST = 120  # points of a line that are drawn
_TOLD = 24  # steps in a table behind a chart


class Line(NamedTuple):
  """A curve and a band around it; all are (T,).

  Attributes:
    steps: ascending.
    middle: the curve.
    low: the lower end of the band.
    high: its upper end.
  """

  steps: np.ndarray
  middle: np.ndarray
  low: np.ndarray
  high: np.ndarray


def single(series: Series) -> Line:
  """Returns a curve of numbers (T,), which is its own band."""
  steps, values = series
  return Line(steps, values, values, values)


def together(several: Sequence[Series]) -> Line:
  """Returns the mean of curves, and a band from the lowest to the highest.

  At each step it takes the curves that have a finite number there.
  """
  steps = np.unique(np.concatenate([s.steps for s in several]))
  values_ST = np.full((len(several), len(steps)), np.nan)
  for row, series in zip(values_ST, several):
    row[np.searchsorted(steps, series.steps)] = series.values
  values_ST[~np.isfinite(values_ST)] = np.nan
  known = ~np.isnan(values_ST).all(0)
  values_ST = values_ST[:, known]
  return Line(
    steps[known],
    np.nanmean(values_ST, 0),
    np.nanmin(values_ST, 0),
    np.nanmax(values_ST, 0),
  )


def units(series: Series) -> Line:
  """Returns the median of many numbers (T, ...), and a band from 10% to 90%."""
  steps, values = series
  flat = values.reshape(len(values), -1).astype(np.float64)
  flat[~np.isfinite(flat)] = np.nan
  known = ~np.isnan(flat).all(1)
  if not known.any():
    return Line(*[np.zeros(0)] * 4)
  low, middle, high = np.nanpercentile(flat[known], (10, 50, 90), axis=1)
  return Line(steps[known], middle, low, high)


def thinned(line: Line, most: int = MOST) -> Line:
  """Returns a line of at most `most` points.

  Each stands for as many neighbours: their mean, at the last one's step, and a
  band around all of theirs.
  """
  T = len(line.steps)
  if most >= T:
    return line
  ends = np.linspace(0, T, most + 1).astype(int)
  starts = ends[:-1]
  last = ends[1:] - 1
  return Line(
    line.steps[last],
    np.add.reduceat(line.middle, starts) / np.diff(ends),
    np.minimum.reduceat(line.low, starts),
    np.maximum.reduceat(line.high, starts),
  )


def rows(panel: str, name: str, line: Line) -> list[dict[str, Any]]:
  """Returns the rows of a line in a chart; those without a number are left out.

  Its keys: panel, line, x, y, and the band's ends a and b where it has one.
  """
  found = []
  for step, *numbers in zip(*thinned(line)):
    y, low, high = map(vega.number, numbers)
    if y is None:
      continue
    row = {'panel': printable(panel), 'line': printable(name)}
    row |= {'x': int(step), 'y': y}
    if None not in (low, high) and low < high:
      row |= {'a': low, 'b': high}
    found.append(row)
  return found


def chart(
  found: Sequence[Mapping[str, Any]],
  title: str,
  caption: str,
  *,
  independent: bool = False,
  height: int = 150,
) -> vega.Chart:
  """Returns a chart of lines with bands, in panels.

  Args:
    found: from `rows`.
    title: of the vertical axis.
    caption: what a reader must know.
    independent: whether each panel has a vertical axis of its own.
    height: of a panel, in pixels.
  """
  names = list(dict.fromkeys(row['line'] for row in found))
  panels = list(dict.fromkeys(row['panel'] for row in found))
  x = vega.steps([row['x'] for row in found])
  y = vega.quantity(title, logarithmic=_is_wide(found, independent))
  color = vega.colors(names)
  layers: list[dict[str, Any]] = []
  if any('a' in row for row in found):
    found = [{'a': row['y'], 'b': row['y'], **row} for row in found]
    band = {'x': x, 'y': y | {'field': 'a'}, 'y2': {'field': 'b'}}
    layers.append(
      {
        'mark': {'type': 'area', 'opacity': 0.22},
        'encoding': band | {'color': color},
      }
    )
  tooltip = [
    {'field': 'panel', 'title': 'panel'},
    {'field': 'line', 'title': 'line'},
    {'field': 'x', 'title': 'step', 'type': 'quantitative'},
    {'field': 'y', 'title': 'value', 'type': 'quantitative'},
  ]
  few = len(found) < 40 * len(names) * len(panels)
  point = {'size': 14 if len(panels) > 1 else 24} if few else False
  layers.append(
    {
      'mark': {'type': 'line', 'strokeWidth': 1.6, 'point': point},
      'encoding': {'x': x, 'y': y, 'color': color, 'tooltip': tooltip},
    }
  )
  spec = vega.spec(
    *(found, {'layer': layers}, panels),
    height=height,
    independent=('y',) if independent else (),
  )
  return vega.Chart(spec, *_table(found, panels), caption)


def _is_wide(found, independent):
  """Says whether a panel, or all of them on one axis, spans decades."""
  values: dict[str, list[float]] = {}
  for row in found:
    own = values.setdefault(row['panel'] if independent else '', [])
    own += [row[key] for key in ('y', 'a', 'b') if key in row]
  positive = all(min(own) > 0 for own in values.values())
  return positive and any(map(vega.is_wide, values.values()))


def some(count: int, most: int) -> np.ndarray:
  """Returns at most `most` indices of `count` things, evenly chosen."""
  if not count:
    return np.zeros(0, int)
  places = np.linspace(0, count - 1, min(count, most)).round()
  return np.unique(places).astype(int)


def _table(found, panels):
  """Returns columns and rows: a row for each line, a column for some steps."""
  values = {}
  for row in found:
    key = (row['panel'], row['line']) if len(panels) > 1 else (row['line'],)
    values.setdefault(key, {})[row['x']] = row['y']
  steps = sorted({row['x'] for row in found})
  steps = [steps[k] for k in some(len(steps), _TOLD)]
  cells = [
    [
      ', '.join(part for part in dict.fromkeys(key) if part),
      *(vega.words(of[s]) if s in of else '' for s in steps),
    ]
    for key, of in values.items()
  ]
  return ['step', *(f'{step:,}' for step in steps)], cells
