"""What pictures of runs share: colours by norm, panels, axes of steps."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_COLORS = {'none': '#c0504d', 'batch': '#2e75b6'}
_OTHERS = '#4e9a47', '#8064a2', '#d98c1f', '#3a9b9b', '#8c6d46', '#b3589a'
SMALLEST = 0.5  # where step 0 stands on an axis of logarithms


def color(norm: str, among: Sequence[str] = ()) -> str:
  """Returns the colour of a norm, the same in all pictures that show `among`.

  'none' is red and 'batch' blue in every picture.

  Args:
    norm: its name.
    among: all norms of the picture; others than these two are told apart.
  """
  others = [name for name in among if name not in _COLORS]
  place = others.index(norm) if norm in others else 0
  return _COLORS.get(norm, _OTHERS[place % len(_OTHERS)])


def panels(
  rows: int,
  columns: int,
  *,
  size: tuple[float, float] = (3.6, 2.9),
  **options: Any,
) -> tuple['Figure', np.ndarray]:
  """Returns a figure and its panels (rows, columns).

  Args:
    rows: of panels.
    columns: likewise.
    size: of one panel, in inches.
    **options: of `Figure.subplots`, such as `sharey=True`.
  """
  from matplotlib.figure import Figure

  width, height = size
  figure = Figure(
    figsize=(columns * width, rows * height), layout='constrained'
  )
  axes = figure.subplots(rows, columns, squeeze=False, **options)
  for panel in axes.flat:
    panel.spines[['top', 'right']].set_visible(False)
    panel.title.set_fontsize(10)
  return figure, axes


def steps_axis(panel: Any, *, logarithmic: bool = True) -> None:
  """Makes the horizontal axis one of training steps, with step 0 at its left.

  Args:
    panel: of matplotlib.
    logarithmic: whether equal factors of steps are equally long; what is drawn
      at step 0 must then be drawn at `SMALLEST`.
  """
  from matplotlib.ticker import EngFormatter, FixedLocator, NullLocator

  panel.set_xlabel('training steps')
  if not logarithmic:
    panel.xaxis.set_major_formatter(EngFormatter(sep=''))
    return
  panel.set_xscale('log')
  _, last = panel.get_xlim()
  powers = [10.0**k for k in range(7) if 10**k <= last]
  panel.xaxis.set_major_locator(FixedLocator([SMALLEST, *powers]))
  panel.xaxis.set_minor_locator(NullLocator())
  names = [EngFormatter(sep='')(step) for step in powers]
  panel.set_xticklabels(['0', *names])
