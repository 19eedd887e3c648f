"""Figures of the studies: an empty one to draw into, and its files."""

import pathlib
from typing import Any

from bnresearch import paths

_DPI = 130  # also of what an SVG has as pixels
_COLORS = 256  # of a PNG: a third of the bytes, and nobody sees it


def canvas(rows: int, columns: int, size: tuple[float, float], **options: Any):
  """Returns an empty figure and its panels, (rows, columns)."""
  import matplotlib

  matplotlib.use('Agg')
  from matplotlib import pyplot as plt

  plt.rcParams.update({'font.size': 9, 'svg.hashsalt': 'bnresearch'})
  figure, panels = plt.subplots(
    rows, columns, figsize=size, layout='constrained', squeeze=False, **options
  )
  for panel in panels.flat:
    panel.spines[['top', 'right']].set_visible(False)
    panel.grid(alpha=0.3)
  return figure, panels


def save(figure, output: pathlib.Path) -> None:
  """Writes `output`.png and .svg, the same bytes for the same numbers."""
  from PIL import Image

  png, svg = (output.with_suffix(ending) for ending in ('.png', '.svg'))
  figure.savefig(paths.made(png), dpi=_DPI)
  with Image.open(png) as picture:
    few = picture.convert('RGB').quantize(_COLORS, dither=Image.Dither.NONE)
  few.save(png, optimize=True)
  figure.savefig(svg, dpi=_DPI, metadata={'Date': None})
