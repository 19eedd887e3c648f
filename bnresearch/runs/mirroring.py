"""The mirrors of one run: its logbook's rows, shown by other tools too."""

import logging
from typing import Any

import numpy as np

from bnresearch import knobs, lookup
from bnresearch.mirrors import Histogram, Row
from bnresearch.runs import logbook
from bnresearch.runs.run_directory import RunDirectory
from bnresearch.terminal import explain


class Mirrors:
  """The mirrors of `log.mirrors`; one that fails is reported and left out."""

  def __init__(self, run: RunDirectory, config: knobs.Config):
    """Opens them, and shows the rows that are there already.

    Args:
      run: its logbook has the rows from before this session, and no others.
      config: of the run.
    """
    self._path, self._open = run.path, {}
    if not (run.writes and config.log.mirrors):
      return
    before, values = [*logbook.rows(run.logbook.file)], knobs.leaves(config)
    for name in config.log.mirrors:
      try:
        made = lookup.find('mirrors', name).Mirror
        self._open[name] = made(run.path, values, fresh=not before)
      except Exception as error:
        self._leave_out(name, error)
    for step, row in before:
      self.write(step, row)

  def write(self, step: int, row: dict[str, Any]) -> None:
    """Shows a row of the logbook."""
    if self._open:
      shown = _as_row(step, row)
      self._each(lambda mirror: mirror.write(shown))

  def close(self) -> None:
    """Waits until all is written."""
    self._each(lambda mirror: mirror.close())
    self._open.clear()

  def _each(self, act):
    for name, mirror in [*self._open.items()]:
      try:
        act(mirror)
      except Exception as error:
        self._leave_out(name, error)

  def _leave_out(self, name, error):
    self._open.pop(name, None)
    logging.warning(
      '%s: the mirror %s has failed and shows no more (%s). The run goes on, '
      'and metrics.jsonl has all.',
      self._path,
      name,
      explain(error),
    )


def _as_row(step, row):
  arrays = {name: np.asarray(value) for name, value in row.items()}
  histograms = _taken_out(arrays)
  scalars, channels = {}, {}
  for name, array in arrays.items():
    if array.ndim == 0:
      scalars[name] = float(array)
    elif array.ndim == 1:
      channels[name] = array
    else:
      for index in np.ndindex(array.shape[:-1]):
        channels['/'.join([name, *map(str, index)])] = array[index]
  return Row(step, scalars, channels, histograms)


def _taken_out(arrays):
  """Takes out all pairs of name/counts and name/edges; returns histograms.

  A network that has diverged has no edges, and no histogram.
  """
  found = {}
  for name in [n for n in arrays if n.endswith('/counts')]:
    start = name.removesuffix('/counts')
    if f'{start}/edges' in arrays:
      counts_CB, edges = arrays.pop(name), arrays.pop(f'{start}/edges')
      if np.isfinite(edges).all():
        counts_B = counts_CB.sum(0).astype(np.float64)
        found[start] = Histogram(counts_B, edges.astype(np.float64))
  return found
