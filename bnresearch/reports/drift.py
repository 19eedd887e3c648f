"""Drift: how the inputs to nonlinearities move during training.

It is read from what the probe `activation_percentiles` recorded. The first
probe, before the first step, is left out: running statistics do not estimate
anything yet.
"""

import numpy as np

from bnresearch.inference.run import Run
from bnresearch.reports import recorded

PERCENTILES = 'probe/activation_percentiles'
TYPICAL = 'the unit of the last layer whose largest drift is the median one'


def layers(run: Run) -> list[str]:
  """Returns the names of the tapped layers, bottom to top."""
  probed, sites = recorded.metrics(run), run.parts.network.order.sites
  return [site for site in sites if f'{PERCENTILES}/{site}' in probed]


def of_layer(run: Run, layer: str) -> tuple[np.ndarray, np.ndarray]:
  """Returns steps (T,) and how far each unit's percentiles have moved, (T, C).

  The distance is the mean of |change| over the percentiles since the first
  probe after the start, in units of the nonlinearity's input.
  """
  steps, values_TQC = recorded.metrics(run)[f'{PERCENTILES}/{layer}']
  return steps[1:], _moved(values_TQC)


def _moved(values_TQC):
  return np.abs(values_TQC[1:] - values_TQC[1]).mean(axis=1)


def typical_unit(run: Run, layer: str = '') -> int:
  """Returns the unit of a layer whose largest drift is the median.

  Args:
    run: probed by `activation_percentiles`.
    layer: its name; the last one unless given.
  """
  of = layer or layers(run)[-1]
  return typical_of(recorded.metrics(run)[f'{PERCENTILES}/{of}'].values)


def typical_of(values_TQC: np.ndarray) -> int:
  """Returns the same of a layer's percentiles, of three records or more."""
  drift_TC = _moved(values_TQC)
  order = np.argsort(drift_TC.max(axis=0), kind='stable')
  return int(order[len(order) // 2])


def movement(run: Run) -> tuple[float, float]:
  """Returns how the last layer moves: range of medians, ratio of spreads.

  Both are over the run after its first probe: the mean over units of (largest
  - smallest median), and the median over units of the largest over the
  smallest distance between the outer percentiles.
  """
  _, values_TQC = recorded.metrics(run)[f'{PERCENTILES}/{layers(run)[-1]}']
  low_TC, median_TC, high_TC = np.moveaxis(values_TQC[1:], 1, 0)
  spread_TC = high_TC - low_TC
  ratio_C = spread_TC.max(axis=0) / np.maximum(spread_TC.min(axis=0), 1e-12)
  return float(np.ptp(median_TC, axis=0).mean()), float(np.median(ratio_C))
