"""Histograms of activations over time, from `probes/activation_histogram.py`.

Each record has bins of its own, so each is drawn with its own: a column of
cells from the smallest value to the largest.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from bnresearch.inference.run import Run
from bnresearch.reports import pictures, recorded

if TYPE_CHECKING:
  from matplotlib.figure import Figure

_PROBE = 'probe/activation_histogram'
_FAINTEST, _DARKEST = 0.01, 3.0  # densities of the darkest and lightest shade


class Histograms(NamedTuple):
  """Of one layer, or one of its units.

  Attributes:
    steps: (T,).
    edges_TB: the edges of T histograms, B - 1 bins each, in units of the tap.
    density_TB: B - 1 densities each; the integral is 1.
  """

  steps: np.ndarray
  edges_TB: np.ndarray
  density_TB: np.ndarray

  def at(self, step: int) -> tuple[np.ndarray, np.ndarray, int]:
    """Returns edges and densities of the record next to `step`, and its step.

    Nearness is of the logarithm of steps.
    """
    near = np.abs(np.log(self.steps + 1) - np.log(step + 1)).argmin()
    return self.edges_TB[near], self.density_TB[near], int(self.steps[near])


def layers(run: Run) -> list[str]:
  """Returns the names of the layers with histograms, bottom to top."""
  probed, sites = recorded.metrics(run), run.parts.network.order.sites
  return [site for site in sites if f'{_PROBE}/{site}/counts' in probed]


def units(runs: Mapping[str, Run], chosen: Sequence[str]) -> int:
  """Returns how many units all of these layers have."""
  return min(
    recorded.metrics(run)[f'{_PROBE}/{layer}/counts'].values.shape[1]
    for run in runs.values()
    for layer in chosen
  )


def of_layer(run: Run, layer: str, unit: int | None = None) -> Histograms:
  """Returns the histograms of all units of a layer together, or of one.

  Raises:
    KeyError: the run has none of this layer; the message says what to set.
  """
  found = recorded.metrics(run)
  if f'{_PROBE}/{layer}/counts' not in found:
    known = ', '.join(layers(run))
    raise KeyError(
      f'layer = {layer!r}: has no histograms. Known: '
      f'{known or "none; the probe activation_histogram records them"}.'
    )
  steps, counts_TCB = found[f'{_PROBE}/{layer}/counts']
  _, edges_TB = found[f'{_PROBE}/{layer}/edges']
  counts_TB = counts_TCB.sum(1) if unit is None else counts_TCB[:, unit]
  share_TB = counts_TB / counts_TB.sum(1, keepdims=True)
  return Histograms(steps, edges_TB, share_TB / np.diff(edges_TB))


def over_time(
  runs: Mapping[str, Run],
  chosen: Sequence[str],
  *,
  unit: int | None = None,
  reach: float = 8.0,
  logarithmic: bool = True,
) -> 'Figure':
  """Returns a row of panels for each run, a panel for each layer.

  Darker is denser, on a scale of logarithms.

  Args:
    runs: {name of a row: run}.
    chosen: layers.
    unit: of these layers; None for all of them together.
    reach: values beyond are left out, in units of the tap.
    logarithmic: whether the axis of steps is one of logarithms.
  """
  from matplotlib import colormaps, colors

  figure, panels = pictures.panels(
    *(len(runs), len(chosen)), sharex=True, sharey=True
  )
  look = {
    'norm': colors.LogNorm(_FAINTEST, _DARKEST),
    'cmap': colormaps['magma_r'].with_extremes(under='none'),
    # So that what is thinner than a pixel is seen.
    'edgecolors': 'face',
    'linewidth': 0.5,
  }
  for row, (name, run) in zip(panels, runs.items()):
    for panel, layer in zip(row, chosen):
      mesh = _columns(panel, of_layer(run, layer, unit), look, logarithmic)
      title = layer if unit is None else f'{layer}, unit {unit}'
      panel.set_title(f'{title}, {name}', color=color_of(run, runs))
    row[0].set(ylim=(-reach, reach), ylabel='input to the activation')
  for panel in panels[-1]:
    pictures.steps_axis(panel, logarithmic=logarithmic)
  figure.colorbar(
    *(mesh,), ax=panels, label='density', extend='both', shrink=0.7, pad=0.02
  )
  return figure


def at_step(
  runs: Mapping[str, Run], layer: str, unit: int | None, step: int
) -> 'Figure':
  """Returns the histograms of one layer, or unit, at one step, side by side.

  Args:
    runs: {title: run}.
    layer: its name.
    unit: of the layer; None for all of its units.
    step: the nearest record is shown, and named.
  """
  figure, panels = pictures.panels(1, len(runs), size=(4.6, 2.9), sharex=True)
  for panel, (name, run) in zip(panels[0], runs.items()):
    edges_B, density_B, found = of_layer(run, layer, unit).at(step)
    shade = color_of(run, runs)
    panel.stairs(density_B, edges_B, fill=True, color=shade, alpha=0.75)
    of = 'all units' if unit is None else f'unit {unit}'
    panel.set_title(f'{layer}, {of}, {name}, step {found:,}', color=shade)
    panel.set_xlabel('input to the activation')
  panels[0, 0].set_ylabel('density')
  return figure


def color_of(run: Run, among: Mapping[str, Run]) -> str:
  """Returns the colour of a run's norm, see `pictures.color`."""
  norms = [other.config.norm.name for other in among.values()]
  return pictures.color(run.config.norm.name, norms)


def _columns(panel: Any, found: Histograms, look: dict, logarithmic: bool):
  """Draws a column for each record; returns the mesh."""
  steps = found.steps.astype(float)
  if logarithmic:
    steps = np.log(np.maximum(steps, pictures.SMALLEST))
  middle = (steps[1:] + steps[:-1]) / 2
  ends = np.concatenate([steps[:1], middle, steps[-1:]])
  ends = np.exp(ends) if logarithmic else ends
  # One mesh: where a record's column ends, the next one's begins, with other
  # edges. Between them are cells without width, which have no density.
  x_2T = np.stack([ends[:-1], ends[1:]], axis=1).ravel()
  y_B2T = np.repeat(found.edges_TB.T, 2, axis=1)
  density = np.full((len(y_B2T) - 1, len(x_2T) - 1), np.nan)
  density[:, ::2] = found.density_TB.T
  x_B2T = np.broadcast_to(x_2T, y_B2T.shape)
  mesh = panel.pcolormesh(x_B2T, y_B2T, density, **look)
  panel.set_xlim(ends[0], ends[-1])
  return mesh
