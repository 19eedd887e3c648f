"""Photographs, each with what a network predicts for it, as a picture."""

import math
import pathlib
from collections.abc import Sequence

import numpy as np

from bnresearch import paths
from bnresearch.images import decoding
from bnresearch.inference.predict import Prediction
from bnresearch.terminal import printable

MOST = 24  # photographs of a picture
_CLASSES = 5  # bars of a photograph
_COLUMNS = 3
_DETAIL = 300  # pixels of a photograph's shorter side, at least


def draw(
  found: Sequence[Prediction], class_names: Sequence[str], file: pathlib.Path
) -> int:
  """Draws each photograph beside the probabilities of its first classes.

  It shows whole photographs, also if the network sees a crop of them.

  Args:
    found: predictions; those with a problem are left out, and those after the
      first `MOST`.
    class_names: the K classes.
    file: ends in one of `reliability.ENDINGS`.

  Returns:
    How many photographs are in the picture; without any, none is written.
  """
  from matplotlib.figure import Figure

  shown = [p for p in found if not p.problem][:MOST]
  if not shown:
    return 0
  columns = min(_COLUMNS, len(shown))
  rows = math.ceil(len(shown) / columns)
  figure = Figure(figsize=(4.6 * columns, 1.9 * rows), layout='constrained')
  panels = figure.subplots(
    rows, 2 * columns, squeeze=False, width_ratios=(1, 1) * columns
  )
  for panel in panels.flat:
    panel.axis('off')
  for prediction, photograph, bars in zip(
    shown, panels[:, ::2].flat, panels[:, 1::2].flat
  ):
    _photograph(photograph, pathlib.Path(prediction.file))
    _probabilities(bars, prediction.probabilities_K, class_names)
  figure.savefig(paths.made(file), dpi=110)
  return len(shown)


def _photograph(panel, file):
  panel.imshow(decoding.decode(file.read_bytes(), _DETAIL))
  panel.set_title(printable(file.name), fontsize=7, parse_math=False)


def _probabilities(panel, probabilities_K, class_names):
  """Draws bars with the most probable class above."""
  best = np.argsort(-probabilities_K, kind='stable')[:_CLASSES]
  places = np.arange(len(best))
  colors = ['lightskyblue', *['0.88'] * (len(best) - 1)]
  panel.axis('on')
  panel.barh(places, probabilities_K[best], color=colors)
  for place, k in zip(places, best):
    text = f'{printable(class_names[k])} {probabilities_K[k]:.1%}'
    panel.text(0.02, place, text, va='center', fontsize=8, parse_math=False)
  panel.set(xlim=(0, 1), ylim=(_CLASSES - 0.5, -0.5), yticks=[])
  panel.tick_params(labelsize=6)
  panel.spines[['top', 'right', 'left']].set_visible(False)
