"""Mirrors: other tools that show a run live, one file and `class Mirror` each.

`--config.log.mirrors=tensorboard,wandb` chooses them. A mirror shows exactly
what metrics.jsonl has: a run that goes on from a checkpoint writes its rows
again, so no row is there twice and none is missing.

  from the run directory          TensorBoard, W&B
  a number                        a scalar, under its name
  an array (C,), of channels      a histogram, or the distribution over C
  an array (A, C)                 one for each of its rows: name/0, name/1, ...
  name/counts (C, B) beside       the histogram that they are, of all channels,
  name/edges (B + 1,)             under name
  the config                      hparams; config

A mirror that fails is reported once and left out: it never stops a run. Its
package is an extra of its name, `pip install 'bnresearch[tensorboard]'`;
`PACKAGE` is the name to import.
"""

import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np


class Histogram(NamedTuple):
  """How many values lie between edges: `counts_B`, and B + 1 `edges`."""

  counts_B: np.ndarray
  edges: np.ndarray


class Row(NamedTuple):
  """What is logged at one time, of the state after `step` updates.

  Attributes:
    step: of the run.
    scalars: {name: number}, perhaps not finite.
    channels: {name: (C,)}, perhaps not finite.
    histograms: {name: Histogram}, with finite edges.
  """

  step: int
  scalars: Mapping[str, float]
  channels: Mapping[str, np.ndarray]
  histograms: Mapping[str, Histogram] = {}


class Mirror(Protocol):
  """Shows one session of a run; may raise anything."""

  def __init__(
    self, path: pathlib.Path, values: Mapping[str, Any], *, fresh: bool
  ):
    """Opens it; all rows from before this session are written again.

    Args:
      path: the run directory.
      values: {dotted key: value} of the config.
      fresh: whether the run is new, not continued.
    """

  def write(self, row: Row) -> None:
    """Shows one more row; its step is never below that of the row before."""

  def close(self) -> None:
    """Waits until all is written, but not for long."""
