"""Curves side by side: a panel for each question, a line for each answer."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from bnresearch.reports import pictures

if TYPE_CHECKING:
  from matplotlib.figure import Figure

Line = tuple[Sequence[float], Sequence[float]]


def draw(
  found: Mapping[str, Mapping[str, Line]],
  *,
  colors: Mapping[str, str] | None = None,
  steps: str = '',
  ticks: Sequence[float] = (),
  nested: bool = False,
  sharey: bool = False,
  size: tuple[float, float] = (4.2, 3.2),
  **axes: Any,
) -> 'Figure':
  """Returns a row of panels of lines, with one legend.

  Args:
    found: {title: {label: (x, y)}}.
    colors: {label: colour}; others are matplotlib's.
    steps: 'log' or 'linear' if x counts training steps.
    ticks: the places of x that are named, and marked on the lines.
    nested: whether each line is thinner than the one before, so that all are
      seen where they agree.
    sharey: whether all panels have one vertical axis.
    size: of a panel, in inches.
    **axes: of all panels, as `xlabel=`, `ylim=`, `yscale=` of `Axes.set`.
  """
  from matplotlib.ticker import LogFormatter

  figure, row = pictures.panels(1, len(found), size=size, sharey=sharey)
  for panel, (title, lines) in zip(row[0], found.items()):
    for place, (label, (x, y)) in enumerate(lines.items()):
      panel.plot(
        np.maximum(x, pictures.SMALLEST) if steps == 'log' else x,
        y,
        color=(colors or {}).get(label),
        linewidth=1.8 * (len(lines) - place) if nested else 1.8,
        marker='o' if ticks else None,
        markersize=4,
        label=label,
      )
    panel.set(title=title, **axes)
    panel.grid(alpha=0.3)
    if panel.get_yscale() == 'log':  # 2 and 3, not 2 x 10^0 and 3 x 10^0
      panel.yaxis.set_minor_formatter(LogFormatter())
    if sharey and panel is not row[0, 0]:
      panel.set_ylabel('')
    if ticks:
      panel.set_xticks(ticks, [f'{tick:g}' for tick in ticks])
      panel.minorticks_off()
    if steps:
      pictures.steps_axis(panel, logarithmic=steps == 'log')
  if any(label for lines in found.values() for label in lines):
    row[0, -1].legend(frameon=False)
  return figure
