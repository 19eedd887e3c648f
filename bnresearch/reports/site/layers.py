"""What probes have measured, as small multiples: a panel for each layer."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from bnresearch.reports import drift, targets
from bnresearch.reports.site import densities, lines, vega
from bnresearch.reports.site.vega import Chart
from bnresearch.runs.logbook import Series

_LAYERS = 24  # panels of a chart, at most
_LINES = 4  # of a panel; more of them make a chart for each last word
_TIMES = 20  # another's size, beside which a quantity looks like zero
_RECORDS = 6  # of a line through the loss
_RANKED = 12  # numbers of an array that have a line each
_SPANS = (
  8  # times another panel's range, from which each has an axis of its own
)

Found = Mapping[str, Series]


def probes(metrics: Found) -> dict[str, dict[str, Series]]:
  """Returns {probe: {path: its results}}, as the logbook orders them."""
  found: dict[str, dict[str, Series]] = {}
  for name, series in metrics.items():
    group, _, rest = name.partition('/')
    probe, _, path = rest.partition('/')
    if group == 'probe' and path and len(series.steps):
      found.setdefault(probe, {})[path] = series
  return found


def split(paths: Sequence[str]) -> dict[str, tuple[str, str]]:
  """Returns {path: (layer, quantity)} of a probe's results.

  The last two words are a quantity, as 'scale/mean', if all layers have the
  same ones; else the last word is.
  """
  for depth in (2, 1):
    pairs = {path: _cut(path, depth) for path in paths}
    of_layer: dict[str, list[str]] = {}
    for layer, quantity in pairs.values():
      of_layer.setdefault(layer, []).append(quantity)
    alike = len({tuple(sorted(own)) for own in of_layer.values()}) == 1
    if '' not in of_layer and alike and len(paths) > len(of_layer):
      return pairs
  return {path: _cut(path, 1) for path in paths}


def _cut(path, depth):
  words = path.split('/')
  return '/'.join(words[:-depth]), '/'.join(words[-depth:])


def charts(probe: str, found: Found) -> Iterator[Chart]:
  """Yields the charts of a probe: of the network, then of its layers.

  Args:
    probe: its name.
    found: {path: its results}.
  """
  if probe == 'activation_histogram':
    yield from densities.charts(found)
    return
  if probe == 'activation_percentiles':
    yield from _percentiles(found)
    return
  if probe == 'loss_slices':
    found = dict(found)
    yield from _slice(found)
  own, inner = {}, {}
  for path, series in found.items():
    whole = '/' not in path or targets.is_scalar(f'probe/{probe}/{path}')
    (own if whole else inner)[path] = series
  if own:
    yield _of_network(own)
  yield from _of_layers(inner)


def _of_network(own):
  rows = [
    row for name, series in own.items() for row in _rows(name, '', series)
  ]
  caption = 'Of the whole network.'
  return lines.chart(rows, '', caption + _said(own), independent=True)


def _of_layers(inner):
  """Yields a chart, or one for each last word of quantities that are unlike."""
  pairs = split([*inner])
  words = dict.fromkeys(q.rpartition('/')[2] for _, q in pairs.values())
  apart = len(words) > 1 and _unlike(pairs, inner)
  for word in words if apart else ['']:
    chosen = {
      path: pair
      for path, pair in pairs.items()
      if not apart or pair[1].rpartition('/')[2] == word
    }
    if made := _chart(chosen, inner, word):
      yield made


def _chart(chosen, inner, word):
  """Returns the chart of some results; None if they have no number."""
  layers = list(dict.fromkeys(layer for layer, _ in chosen.values()))
  shown = [layers[k] for k in lines.some(len(layers), _LAYERS)]
  rows, ranges = [], {}
  for path, (layer, quantity) in chosen.items():
    if layer in shown:
      name = quantity.rpartition('/')[0] if word else quantity
      found = _rows(layer, name, inner[path])
      rows += found
      ranges.setdefault(layer, []).extend(row['y'] for row in found)
  if not rows:
    return None
  caption = _caption(shown, layers, {path: inner[path] for path in chosen})
  differ = _differ(ranges.values())
  return lines.chart(rows, word, caption, independent=differ)


def _unlike(pairs, inner):
  """Says whether quantities are too many, or too different, for one panel."""
  largest: dict[str, float] = {}
  for path, (_, quantity) in pairs.items():
    values = np.abs(inner[path].values)
    known = values[np.isfinite(values)]
    if len(known):
      largest[quantity] = max(largest.get(quantity, 0), float(known.max()))
  sizes = [size for size in largest.values() if size > 0]
  many = len(largest) > _LINES
  return many or (bool(sizes) and max(sizes) > _TIMES * min(sizes))


def _caption(shown, layers, found):
  few = (
    f'{len(shown)} of {len(layers)} layers, evenly chosen. '
    if len(shown) < len(layers)
    else ''
  )
  return f'{few}From the bottom of the network up.{_said(found)}'


def _said(found):
  """Says what a band is, if there are bands."""
  arrays = any(
    s.values.ndim > 2 or (s.values.ndim == 2 and s.values.shape[1] > _RANKED)
    for s in found.values()
  )
  return (
    ' Where there are many numbers, as one for each channel, the line is their '
    'median and the band has the middle 80%.'
    if arrays
    else ''
  )


def _rows(panel, name, series):
  """Returns the rows of a result: of its numbers, or of their spread."""
  steps, values = series
  if values.ndim == 1:
    return lines.rows(panel, name, lines.single(series))
  if values.ndim > 2 or values.shape[1] > _RANKED:
    return lines.rows(panel, name, lines.units(series))
  return [
    row
    for k, value_T in enumerate(values.T, 1)
    for row in lines.rows(
      panel, f'{name} {k}'.strip(), lines.single(Series(steps, value_T))
    )
  ]


def _differ(ranges):
  """Says whether the ranges of panels are too different for one axis."""
  spans = [max(values) - min(values) for values in ranges if values]
  known = [span for span in spans if span > 0]
  return bool(known) and max(known) > _SPANS * min(known)


def _percentiles(found):
  """Yields the percentiles of each layer's typical unit."""
  rows = []
  shown = [[*found][k] for k in lines.some(len(found), _LAYERS)]
  for layer in shown:
    steps, values_TQC = found[layer]
    if values_TQC.ndim != 3:
      continue
    unit = drift.typical_of(values_TQC) if len(steps) > 2 else 0
    low_T, *inner, high_T = values_TQC[..., unit].T
    middle_T = inner[len(inner) // 2] if inner else (low_T + high_T) / 2
    line = lines.Line(steps, middle_T, low_T, high_T)
    rows += lines.rows(f'{layer}, unit {unit}', 'percentiles', line)
  if rows:
    caption = (
      'Of the unit whose largest drift is the median one: the line is its '
      'middle percentile, the band reaches from its lowest to its highest.'
    )
    yield lines.chart(rows, 'input', caption)


def _slice(found):
  """Yields the loss along a line, at some steps; takes what it draws."""
  at, loss = found.pop('line_at', None), found.pop('line', None)
  for name in ('plane', 'plane_at'):
    found.pop(name, None)
  if at is None or loss is None or len(at.steps) != len(loss.steps):
    return
  rows = [
    {
      'panel': 'along a line',
      'line': f'step {at.steps[t]:,}',
      'x': vega.number(x),
      'y': vega.number(y),
    }
    for t in lines.some(len(at.steps), _RECORDS)
    for x, y in zip(at.values[t], loss.values[t])
  ]
  rows = [row for row in rows if row['y'] is not None]
  if not rows:
    return
  made = lines.chart(rows, 'loss', 'The loss along a random direction.')
  # Lengths, not steps; 1 goes as far as each filter is long.
  axis = {'title': 'distance', 'scale': {}, 'axis': {'tickCount': 5}}
  for layer in made.spec['layer']:
    layer['encoding']['x'] = layer['encoding']['x'] | axis
  columns = ['distance', *made.columns[1:]]
  yield made._replace(columns=columns)
