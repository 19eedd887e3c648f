"""Internal covariate shift in numbers, by every definition that a run recorded.

drift         how far each unit's percentiles are from those of the first record
              after the start, in units of the tap, see `drift.py`
distance      Wasserstein distance of each unit's distribution from that of the
              record before, over its deviation then
gradient      ||G' - G|| / ||G||, of a layer's gradient before and after the
              layers below are updated: Santurkar et al. 2018, 1805.11604,
              Definition 2.1
cosine        of the angle between these two; 1 is no shift
norm          ||G|| of each kernel, in nats per unit: no shift, but what both
              papers are about
"""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from rich import box
from rich.table import Table

from bnresearch.inference.run import Run
from bnresearch.reports import drift, histograms, pictures, recorded

if TYPE_CHECKING:
  from matplotlib.figure import Figure

TITLES = {
  'drift': 'percentile drift',
  'distance': 'distance of successive records',
  'gradient': "||G' - G|| / ||G||",
  'cosine': "cosine of G and G'",
  'norm': 'gradient norm',
}
_COLUMNS = 3
_RECORDED = {
  'distance': ('probe/distribution_shift/', '/relative'),
  'gradient': ('probe/gradient_shift/', '/relative'),
  'cosine': ('probe/gradient_shift/', '/cosine'),
  'norm': ('probe/gradient_norm/', '/kernel'),
}


class Series(NamedTuple):
  """One definition in one run: steps (T,), and values (L, T) by layer."""

  steps: np.ndarray
  layers: list[str]
  values_LT: np.ndarray

  def at(self, step: int) -> np.ndarray:
    """Returns the values (L,) at a step; NaN where there is no record."""
    there = np.flatnonzero(self.steps == step)
    if not len(there):
      return np.full(len(self.layers), np.nan)
    return self.values_LT[:, there[0]]


def numbers(run: Run) -> dict[str, Series]:
  """Returns {definition: its numbers}, of the probes that the run has."""
  found, result = recorded.metrics(run), {}
  if drifting := drift.layers(run):
    series = [drift.of_layer(run, layer) for layer in drifting]
    result['drift'] = _together(
      {layer: (t, x_TC.mean(1)) for layer, (t, x_TC) in zip(drifting, series)}
    )
  for definition, (start, end) in _RECORDED.items():
    own = {
      name[len(start) : -len(end)]: series
      for name, series in found.items()
      # Without a layer, it is the number of the whole network.
      if name.startswith(start) and name.endswith(end, len(start))
    }
    if own:
      result[definition] = _together(own)
  return {name: result[name] for name in TITLES if name in result}


def draw(runs: Mapping[str, Run]) -> 'Figure':
  """Returns a panel for each definition, over logarithmic time.

  A thin line is a layer, the thick one their median.

  Args:
    runs: {name in the legend: run}.
  """
  of_runs = {name: numbers(run) for name, run in runs.items()}
  shown = [d for d in TITLES if any(d in own for own in of_runs.values())]
  rows = math.ceil((len(shown) + 1) / _COLUMNS)  # one panel has the legend
  figure, panels = pictures.panels(rows, _COLUMNS, size=(3.7, 2.9))
  for panel in panels.flat[len(shown) :]:
    panel.set_axis_off()
  for panel, definition in zip(panels.flat, shown):
    for name, run in runs.items():
      if definition in of_runs[name]:
        shade = histograms.color_of(run, runs)
        _lines(panel, definition, of_runs[name][definition], shade, name)
    panel.set_title(TITLES[definition])
    if definition != 'cosine':
      panel.set_yscale('log')
    panel.grid(alpha=0.3)
    pictures.steps_axis(panel)
  lines = panels[0, 0].get_legend_handles_labels()
  panels.flat[len(shown)].legend(*lines, loc='center', frameon=False)
  return figure


def table(runs: Mapping[str, Run], steps: Sequence[int]) -> Table:
  """Returns the median over layers of each definition, at some steps.

  The gradient norm is that of the lowest layer.

  Args:
    runs: {name: run}.
    steps: where there are records; elsewhere a dash is shown.
  """
  titles = {**TITLES, 'norm': 'gradient norm, lowest layer'}
  result = Table(
    *('step', '', *titles.values()), box=box.SIMPLE_HEAD, title_justify='left'
  )
  for column in result.columns[2:]:
    column.justify = 'right'
  for step in steps:
    for place, (name, run) in enumerate(runs.items()):
      own = numbers(run)
      cells = [_cell(d, own[d].at(step)) if d in own else '-' for d in titles]
      result.add_row(f'{step:,}' if not place else '', name, *cells)
  return result


def _together(series):
  """Returns series of all layers, which have the same steps."""
  steps = next(iter(series.values()))[0]
  values = np.stack([np.asarray(x, float) for _, x in series.values()])
  return Series(np.asarray(steps), [*series], values)


def _lines(panel, definition, series, shade, name):
  steps = np.maximum(series.steps, pictures.SMALLEST)
  values_LT = series.values_LT
  if definition != 'cosine':  # the first drift, 0, has no logarithm
    values_LT = np.where(values_LT > 0, values_LT, np.nan)
  known = np.isfinite(values_LT).any(0)
  steps, values_LT = steps[known], values_LT[:, known]
  for values_T in values_LT:
    panel.plot(steps, values_T, color=shade, linewidth=0.6, alpha=0.5)
  middle_T = np.nanmedian(values_LT, axis=0)
  panel.plot(steps, middle_T, color=shade, linewidth=2, label=name)


def _cell(definition, values_L):
  if definition == 'norm':
    values_L = values_L[:1]
  known = values_L[np.isfinite(values_L)]
  if not len(known):
    return '-'
  value = np.median(known)
  return f'{value:.3f}' if definition == 'cosine' else f'{value:.2g}'
