"""Charts of a result that answer the mouse, as Vega-Lite.

A result has the accuracy of each of its runs; a study may have more, and its
`curves` brings it. Vega-Lite's text is data: nothing in it is a program.
"""

import math
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from bnresearch.reports.site.vega import COLORS, SCHEMA, Chart
from bnresearch.terminal import printable

_ORDERED = 3  # values of a number that make an axis
_COLORED = 5  # most values that have a color each
_FEW_RUNS = 2
_ROW = 24  # pixels
_NONE = '-'  # of a knob that a run does not name
# Where a run's accuracy stands in a chart's rows.
_ACCURACY = 'accuracy'


class Curves(NamedTuple):
  """Lines of a result.

  Attributes:
    x: what the horizontal axis is, with its unit.
    y: the same of the vertical axis.
    rows: (panel, line, x, y) of each point; both axes are logarithmic.
    caption: what a reader must know of them.
  """

  x: str
  y: str
  rows: Iterable[tuple[str, str, float, float]]
  caption: str


def of_curves(curves: Curves) -> Chart:
  """Returns a chart of lines, in as many panels as there are."""
  rows = [
    {'panel': printable(p), 'line': printable(line), 'x': x, 'y': _finite(y)}
    for p, line, x, y in curves.rows
  ]
  axis = {
    'type': 'quantitative',
    'scale': {'type': 'log'},
    'axis': {'tickCount': 4, 'format': '~e', 'labelOverlap': True},
  }
  spec = _spec(
    [{**row, 'y': row['y'] or None} for row in rows],  # no logarithm of 0
    {
      'mark': {'type': 'line', 'point': True},
      'encoding': {
        'x': axis | {'field': 'x', 'title': curves.x},
        'y': axis | {'field': 'y', 'title': curves.y},
        'color': _color('line', list({row['line']: None for row in rows})),
        'tooltip': [{'field': key} for key in ('panel', 'line', 'x', 'y')],
      },
    },
    'panel',
  )
  cells = [[r['panel'], r['line'], _text(r['x']), _text(r['y'])] for r in rows]
  columns = ('panel', 'line', curves.x, curves.y)
  return Chart(spec, columns, cells, curves.caption)


def of_runs(result: Mapping[str, Any]) -> Chart | None:
  """Returns a chart of the accuracy of each run; None if the result has none.

  A knob with several numbers is the horizontal axis. One with few values has
  the colors, and what else differs has rows or panels.
  """
  runs = [run for run in result.get('runs', ()) if 'test_accuracy' in run]
  if len(runs) < _FEW_RUNS:
    return None
  knobs = [_knobs(run['run']) for run in runs]
  names = {name: None for of_run in knobs for name in of_run}
  values = {n: list({k.get(n, _NONE): None for k in knobs}) for n in names}
  varied = [n for n in names if len(values[n]) > 1 and n != 'seed']
  rows = [
    {
      **{name: k.get(name, _NONE) for name in varied},
      'run': printable(run['run']),
      'status': printable(run['status']),
      _ACCURACY: _finite(run['test_accuracy']),
    }
    for run, k in zip(runs, knobs)
  ]
  axes = sorted(
    (n for n in varied if len(values[n]) >= _ORDERED and _numbers(values[n])),
    key=lambda n: -len(values[n]),
  )
  colors = [n for n in varied if n not in axes and len(values[n]) <= _COLORED]
  color = 'norm' if 'norm' in colors else next(iter(colors), '')
  rest = [n for n in varied if n != color and n not in axes[:1]]
  spec = _against(axes[0], values, color, rest, rows) if axes else None
  spec = spec or _strips([n for n in varied if n != color], color, rows)
  cells = [
    [r['run'], r['status'], _text(r[_ACCURACY]), _seconds(run)]
    for r, run in zip(rows, runs)
  ]
  columns = ('run', 'status', 'test accuracy', 'seconds')
  caption = (
    'The last test accuracy of each run. A cross is a run that diverged.'
  )
  return Chart(spec, columns, cells, caption)


def _against(axis, values, color, rest, rows):
  """Returns accuracies over a knob's numbers, with lines through the means."""
  for row in rows:
    row['setting'] = ', '.join(f'{n} {row[n]}' for n in rest)
  x = {
    'field': axis,
    'type': 'ordinal',
    'sort': sorted(values[axis], key=lambda v: (v == _NONE, _number(v) or 0)),
    'axis': {'labelAngle': 0, 'labelOverlap': True},
  }
  mean = {'aggregate': 'mean', 'field': _ACCURACY, 'type': 'quantitative'}
  colored = (
    {'color': _color(color, {row[color]: None for row in rows})}
    if color
    else {}
  )
  line = {'mark': 'line', 'encoding': {'x': x, 'y': mean, **colored}}
  points = {'mark': _MARK, 'encoding': _points({'x': x, 'y': _accuracy()})}
  points['encoding'] |= colored
  return _spec(rows, {'layer': [line, points]}, 'setting' if rest else '')


def _strips(rest, color, rows):
  """Returns accuracies in a row for each setting."""
  for row in rows:
    told = [row[n] for n in rest if row[n] != _NONE]
    row['setting'] = ', '.join(told) or 'all runs'
  y = {
    'field': 'setting',
    'type': 'nominal',
    'sort': None,
    'title': ', '.join(rest) if len(rest) < 3 else None,
    'axis': {'grid': True, 'labelLimit': 320},
  }
  encoding = _points({'x': _accuracy(), 'y': y})
  encoding |= (
    {'color': _color(color, {row[color]: None for row in rows})}
    if color
    else {}
  )
  unit = {
    'mark': _MARK,
    'encoding': encoding,
    'height': _ROW * len({row['setting'] for row in rows}),
  }
  return _spec(rows, unit)


_MARK = {'type': 'point', 'filled': True, 'size': 55, 'opacity': 0.75}


def _points(axes):
  """Returns the encoding of a point a run, whose name the mouse tells."""
  told = [
    {'field': 'run'},
    {'field': _ACCURACY, 'type': 'quantitative', 'format': '.4f'},
    {'field': 'status'},
  ]
  done = {'condition': {'test': "datum.status != 'done'", 'value': 'cross'}}
  return {**axes, 'tooltip': told, 'shape': {**done, 'value': 'circle'}}


def _spec(rows, unit, panel=''):
  """Returns a whole specification, with a panel for each value of `panel`."""
  of_all = {
    '$schema': SCHEMA,
    'data': {'values': rows},
    'background': None,
  }
  panels = list({row[panel]: None for row in rows if panel})
  if len(panels) < _FEW_RUNS:
    return of_all | unit | {'width': 'container'}
  columns = 2 if len(panels) in (2, 4) else 3
  size = {'width': 750 // columns, 'height': 170}
  facet = {'field': panel, 'title': None, 'sort': panels}
  return of_all | {'facet': facet, 'columns': columns, 'spec': unit | size}


def _color(field, values):
  """Returns the encoding of colors: blue is with BN, red without."""
  return {
    'field': field,
    'type': 'nominal',
    'sort': None,
    'scale': {'domain': sorted(values, key=_place), 'range': COLORS},
    'title': None if field == 'line' else field,
    'legend': {'orient': 'top', 'columns': 4, 'labelLimit': 300},
  }


def _place(value):
  return ('batch', 'none', value).index(value)


def _accuracy():
  return {
    'field': _ACCURACY,
    'type': 'quantitative',
    'title': 'test accuracy',
    'scale': {'zero': False, 'nice': True},
    'axis': {'tickCount': 6},
  }


def _knobs(run):
  """Reads a run's name, 'norm=batch,seed=0'; a part without a knob is one."""
  parts = (part.rpartition('=') for part in run.split(','))
  found = {}
  for name, _, value in parts:
    number = _number(value)
    short = printable(value) if number is None else f'{number:g}'
    found[_field(name) or 'network'] = short
  return found


def _field(name):
  """Returns a name that Vega-Lite does not take for a path."""
  return printable(name).translate({ord(c): '_' for c in '.[]\\\'"'})


def _numbers(values):
  """Says whether all values are numbers, of the runs that have the knob."""
  return all(_number(v) is not None for v in values if v != _NONE)


def _number(text):
  try:
    value = float(text)
  except ValueError:
    return None
  return value if math.isfinite(value) else None


def _finite(value):
  """Returns a number that JSON has, or None."""
  return value if math.isfinite(value) else None


def _text(value):
  return 'not finite' if value is None else f'{value:.4g}'


def _seconds(run):
  return f'{run["seconds"]:,.0f}' if 'seconds' in run else 'not kept'
