"""Charts that answer the mouse, as Vega-Lite: data, never a program."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

COLORS = ('#2e75b6', '#c0504d', '#3c8d5a', '#8a63b8', '#b7791f', '#4a9aa8')
SCHEMA = 'https://vega.github.io/schema/vega-lite/v6.json'
_DIGITS = 5  # of a number in a chart
_LONG = 1e7  # from which a whole number is written with an exponent


class Chart(NamedTuple):
  """A chart, and the table behind it.

  Attributes:
    spec: in Vega-Lite.
    columns: of the table.
    rows: as many cells each.
    caption: what a reader must know of it.
  """

  spec: Mapping[str, Any]
  columns: Sequence[str]
  rows: Sequence[Sequence[str]]
  caption: str


def number(value: float) -> float | None:
  """Returns a number that JSON has, with five digits; None for others."""
  value = float(value)
  return float(f'{value:.{_DIGITS}g}') if math.isfinite(value) else None


def words(value: float | None) -> str:
  """Writes a number of a table."""
  if value is None or not math.isfinite(value):
    return 'not finite'
  whole = value == int(value) and abs(value) < _LONG
  return f'{value:,.0f}' if whole else f'{value:.4g}'


def spec(
  rows: Sequence[Mapping[str, Any]],
  unit: Mapping[str, Any],
  panels: Sequence[str] = (),
  *,
  columns: int = 3,
  height: int = 150,
  independent: Sequence[str] = (),
) -> dict[str, Any]:
  """Returns a whole specification, with a panel for each of `panels`.

  Args:
    rows: its data; 'panel' names a row's panel.
    unit: what is drawn in a panel.
    panels: in order; one panel has the whole width.
    columns: of panels, at most; a narrow screen has fewer.
    height: of a panel, in pixels.
    independent: the channels that have a scale of their own in each panel.
  """
  of_all = {'$schema': SCHEMA, 'data': {'values': rows}, 'background': None}
  if len(panels) < 2:
    title = {'title': panels[0]} if panels else {}
    size = {'width': 'container', 'height': height * 3 // 2}
    return of_all | dict(unit) | size | title
  # Each panel names its steps: else a row that is not full has axes below it.
  own: dict[str, Any] = {'axis': {'x': 'independent'}}
  if independent:
    own['scale'] = dict.fromkeys(independent, 'independent')
  return {
    **of_all,
    'facet': {'field': 'panel', 'title': None, 'sort': list(panels)},
    'columns': min(columns, len(panels)),
    'spec': dict(unit) | {'width': 750 // columns, 'height': height},
    'resolve': own,
  }


def steps(values: Sequence[float]) -> dict[str, Any]:
  """Returns the axis of training steps; of logarithms if they are dense early.

  Args:
    values: the steps that are drawn.
  """
  ordered = sorted({*values})
  early = len(ordered) > 4 and ordered[len(ordered) // 2] * 5 < ordered[-1]
  scale = {'type': 'symlog', 'constant': 1} if early else {'nice': False}
  return {
    'field': 'x',
    'type': 'quantitative',
    'title': 'step',
    'scale': scale,
    'axis': {'format': '.3~s', 'tickCount': 4, 'labelOverlap': True},
  }


def is_wide(values: Sequence[float]) -> bool:
  """Says whether positive numbers span more than three decades."""
  return bool(values) and min(values) > 0 and max(values) > 1000 * min(values)


def quantity(title: str, *, logarithmic: bool) -> dict[str, Any]:
  """Returns a vertical axis; `title` has its unit."""
  return {
    'field': 'y',
    'type': 'quantitative',
    'title': title,
    'scale': {'type': 'log'} if logarithmic else {'zero': False},
    'axis': {'tickCount': 4, 'format': '.4~g'},
  }


def colors(names: Sequence[str]) -> dict[str, Any]:
  """Returns the encoding of lines' colors, with a legend above."""
  return {
    'field': 'line',
    'type': 'nominal',
    'sort': None,
    'scale': {'domain': list(names), 'range': COLORS},
    'title': None,
    'legend': {
      'orient': 'top',
      'labelLimit': 260,
      'symbolOpacity': 1,
    }
    if len(names) > 1
    else None,
  }
