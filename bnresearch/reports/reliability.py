"""The reliability diagram: is a network right as often as it says?"""

import pathlib

import numpy as np

from bnresearch import paths
from bnresearch.evaluation.scores import Summary
from bnresearch.terminal import printable

ENDINGS = ('.pdf', '.png', '.svg')


def draw(summary: Summary, title: str, file: pathlib.Path) -> None:
  """Draws accuracy and the share of examples against confidence.

  Guo et al. 2017, Figure 1, arXiv 1706.04599: on the diagonal, a network is
  calibrated; below it, too confident.

  Args:
    summary: of all examples.
    title: what it shows.
    file: ends in one of `ENDINGS`.
  """
  from matplotlib.figure import Figure

  found = summary.reliability
  borders = np.linspace(0, 1, len(found.examples_B) + 1)
  figure = Figure(figsize=(4.5, 5), layout='constrained')
  above, below = figure.subplots(2, sharex=True, height_ratios=(3, 1))
  error = f'expected calibration error {found.error:.2%}'
  above.set_title(
    f'{printable(title)}\n{error}', fontsize='medium', parse_math=False
  )
  bars = {'width': borders[1], 'align': 'edge', 'edgecolor': 'white'}
  above.bar(borders[:-1], np.nan_to_num(found.accuracy_B), **bars)
  above.plot([0, 1], [0, 1], '--', color='grey', label='calibrated')
  means = found.confidence_B, found.accuracy_B
  above.plot(*means, 'o', color='black', label='mean of bin')
  above.legend(loc='upper left')
  above.set(ylabel='accuracy', xlim=(0, 1), ylim=(0, 1))
  below.bar(borders[:-1], found.examples_B / summary.examples, **bars)
  below.set(ylabel='share of examples', xlabel='confidence')
  for panel in (above, below):
    panel.spines[['top', 'right']].set_visible(False)
  figure.savefig(paths.made(file), dpi=130)
