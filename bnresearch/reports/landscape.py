"""Pictures of the loss around a network, from what probes recorded."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bnresearch.inference.run import Run
from bnresearch.probes import hessian_spectrum
from bnresearch.reports import curves, histograms, pictures, recorded

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_SLICES = 'probe/loss_slices'
_SPECTRUM = 'probe/hessian_spectrum'
_LEVELS = 14  # of contours


def lines(runs: Mapping[str, Run], steps: Sequence[int]) -> 'Figure':
  """Returns the loss along a random line through the network, by step.

  Args:
    runs: {name in the legend: run}, probed by `loss_slices`.
    steps: a panel for each; the probe has recorded them.
  """
  found = {
    f'step {step:,}': {
      name: [_at(run, f'{_SLICES}/{x}', step) for x in ('line_at', 'line')]
      for name, run in runs.items()
    }
    for step in steps
  }
  return curves.draw(
    found,
    colors=_colors(runs),
    size=(3.4, 3),
    xlabel='distance, in norms of the filters',
    ylabel='loss, in nats',
    sharey=True,
  )


def planes(runs: Mapping[str, Run], steps: Sequence[int]) -> 'Figure':
  """Returns the loss in a random plane: a row for each run, a panel a step.

  All panels have one scale of colours. The network is at the cross.

  Args:
    runs: {name of a row: run}, probed by `loss_slices`.
    steps: a column for each; the probe has recorded them.
  """
  figure, panels = pictures.panels(
    *(len(runs), len(steps)), size=(3.1, 2.9), sharex=True, sharey=True
  )
  planes = {
    (name, step): _at(run, f'{_SLICES}/plane', step)
    for name, run in runs.items()
    for step in steps
  }
  low, high = (f([f(x) for x in planes.values()]) for f in (np.min, np.max))
  levels = np.linspace(low, high, _LEVELS)
  for row, (name, run) in zip(panels, runs.items()):
    for panel, step in zip(row, steps):
      at = _at(run, f'{_SLICES}/plane_at', step)
      drawn = panel.contourf(
        at, at, planes[name, step].T, levels, cmap='cividis'
      )
      panel.plot(0, 0, '+', color='white', markersize=10)
      panel.set_title(
        f'{name}, step {step:,}', color=histograms.color_of(run, runs)
      )
      panel.set_aspect('equal')
    row[0].set_ylabel('second direction')
  for panel in panels[-1]:
    panel.set_xlabel('first direction')
  look = {'label': 'loss, in nats', 'shrink': 0.7, 'format': '%.1f'}
  figure.colorbar(drawn, ax=panels, **look)
  return figure


def spectra(
  runs: Mapping[str, Run], steps: Sequence[int], width: float = 0.1
) -> 'Figure':
  """Returns the density of the Hessian's eigenvalues, by step.

  Args:
    runs: {name in the legend: run}, probed by `hessian_spectrum`.
    steps: a panel for each; the probe has recorded them.
    width: of the Gaussian in place of each node, in nats per unit squared.
  """
  nodes = [
    _at(run, f'{_SPECTRUM}/nodes', step)
    for run in runs.values()
    for step in steps
  ]
  ends = min(x.min() for x in nodes), max(x.max() for x in nodes)
  at = np.linspace(ends[0] - 4 * width, ends[1] + 4 * width, 1000)
  found = {
    f'step {step:,}': {
      name: (at, _density(run, step, at, width)) for name, run in runs.items()
    }
    for step in steps
  }
  return curves.draw(
    found,
    colors=_colors(runs),
    size=(3.4, 3),
    xlabel='eigenvalue, in nats per unit squared',
    ylabel='density',
    yscale='log',
    ylim=(1e-5, 10),
    sharey=True,
  )


def _colors(runs):
  return {name: histograms.color_of(run, runs) for name, run in runs.items()}


def _at(run, name, step):
  """Returns a metric's value at a step."""
  steps, values = recorded.metrics(run)[name]
  there = np.flatnonzero(steps == step)
  if not len(there):
    known = ', '.join(str(int(s)) for s in steps)
    raise ValueError(f'step = {step}: {name} has records at {known}.')
  return values[there[0]]


def _density(run, step, at, width):
  nodes, weights = (
    _at(run, f'{_SPECTRUM}/{name}', step) for name in ('nodes', 'weights')
  )
  return np.asarray(hessian_spectrum.density(nodes, weights, at, width))
