"""Small images, each with the classes that a network names for it."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from bnresearch.reports import pictures

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_RIGHT, _WRONG = '#2e7d32', '#c62828'


def draw(
  images_NHWC: np.ndarray,
  labels_N: Sequence[int],
  logits: Mapping[str, np.ndarray],
  class_names: Sequence[str],
) -> 'Figure':
  """Returns a row of images, below each the answers and how sure they are.

  Right ones are green, wrong ones red.

  Args:
    images_NHWC: uint8, one or three channels.
    labels_N: their classes.
    logits: {name of a row: (N, K)}.
    class_names: the K classes.
  """
  N = len(labels_N)
  size = 1.0, 1.15 + 0.3 * len(logits)
  figure, row = pictures.panels(1, N, size=size)
  for n, panel in enumerate(row[0]):
    image = images_NHWC[n]
    panel.imshow(image.squeeze(), cmap='gray_r')
    panel.set_axis_off()
    for line, (name, logits_NK) in enumerate(logits.items()):
      odds = np.exp(logits_NK[n] - np.max(logits_NK[n]))
      best = int(odds.argmax())
      place = {'transform': panel.transAxes, 'va': 'top', 'fontsize': 9}
      height = -0.1 - 0.22 * line
      panel.text(
        0.5,
        height,
        f'{class_names[best]}  {odds[best] / odds.sum():.0%}',
        ha='center',
        color=_RIGHT if best == labels_N[n] else _WRONG,
        **place,
      )
      if n == 0:
        panel.text(-0.15, height, name, ha='right', **place)
  return figure
