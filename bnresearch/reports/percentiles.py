"""Percentiles of one unit over time, as in Figure 1(b, c) of the BN paper."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bnresearch.inference.run import Run
from bnresearch.reports import drift, histograms, pictures, recorded

if TYPE_CHECKING:
  from matplotlib.figure import Figure


def draw(
  runs: Mapping[str, Run],
  chosen: Sequence[str],
  *,
  unit: int | None = None,
  logarithmic: bool = True,
) -> 'Figure':
  """Returns a row of panels for each run, a panel for each layer.

  The band is from the lowest percentile to the highest, the thick line the
  middle one, and thin lines are those of all other units.

  Args:
    runs: {name of a row: run}, probed by `activation_percentiles`.
    chosen: layers.
    unit: of these layers; None for each one's typical, see `drift.py`.
    logarithmic: whether the axis of steps is one of logarithms.
  """
  figure, panels = pictures.panels(
    *(len(runs), len(chosen)), sharex=True, sharey=True
  )
  for row, (name, run) in zip(panels, runs.items()):
    shade = histograms.color_of(run, runs)
    for panel, layer in zip(row, chosen):
      own = drift.typical_unit(run, layer) if unit is None else unit
      steps, x_TQC = recorded.metrics(run)[f'{drift.PERCENTILES}/{layer}']
      if logarithmic:
        steps = np.maximum(steps, pictures.SMALLEST)
      middle = x_TQC.shape[1] // 2
      panel.plot(
        steps, x_TQC[:, middle], color='0.6', linewidth=0.4, alpha=0.35
      )
      low_T, high_T = x_TQC[:, 0, own], x_TQC[:, -1, own]
      panel.fill_between(
        *(steps, low_T, high_T), color=shade, alpha=0.35, linewidth=0
      )
      panel.plot(steps, x_TQC[:, middle, own], color=shade, linewidth=2)
      panel.set_title(f'{layer}, unit {own}, {name}', color=shade)
      panel.grid(alpha=0.3)
    row[0].set_ylabel('input to the activation')
  for panel in panels[-1]:
    pictures.steps_axis(panel, logarithmic=logarithmic)
  return figure
