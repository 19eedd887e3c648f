"""A contact sheet: many small images with their labels."""

import math
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

_COLUMNS = 6


def draw(
  halves: Mapping[str, Sequence[tuple[np.ndarray, str]]], file: pathlib.Path
) -> None:
  """Writes a picture of the halves side by side.

  Each half, by its title, lists (image (H, W, C) of 0 to 255, text).
  """
  import matplotlib

  matplotlib.use('agg')
  from matplotlib import pyplot

  rows = max(math.ceil(len(half) / _COLUMNS) for half in halves.values())
  figure = pyplot.figure(
    figsize=(1.3 * _COLUMNS * len(halves), 1.6 * rows + 0.4),
    layout='constrained',
  )
  for part, (title, half) in zip(
    figure.subfigures(1, len(halves)), halves.items()
  ):
    part.suptitle(title)
    for cell in part.subplots(rows, _COLUMNS).flat:
      cell.axis('off')
    for cell, (image_HWC, text) in zip(part.axes, half):
      shown = np.clip(np.asarray(image_HWC) / 255, 0, 1)
      cell.imshow(shown.squeeze(), cmap='gray', vmin=0, vmax=1)
      cell.set_title(text, fontsize=7, parse_math=False)
  figure.savefig(file, dpi=110)
  pyplot.close(figure)
