"""TensorBoard: event files in RUN/tensorboard, written without TensorFlow.

`tensorboard --logdir=WORKDIR` shows all runs in it; TensorBoard is a separate
package.
"""

import pathlib
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from bnresearch.mirrors import Row

PACKAGE = 'tensorboardX'
_BINS = 30


class Mirror:
  """Writes one event file, which has all rows of the run.

  It begins by telling TensorBoard to forget what the previous session wrote.
  The previous session's file stays, as a TensorBoard that reads it would wait
  for the rest of it forever. Earlier files are removed.
  """

  def __init__(
    self, path: pathlib.Path, values: Mapping[str, Any], *, fresh: bool
  ):
    from tensorboardX import event_file_writer, summary
    from tensorboardX.proto import event_pb2, summary_pb2

    del fresh
    self._summary, self._protos = summary, (event_pb2, summary_pb2)
    folder = path / 'tensorboard'
    folder.mkdir(exist_ok=True)
    for old in sorted(folder.glob('events.out.tfevents.*'))[:-1]:
      old.unlink()
    self._file = event_file_writer.EventsWriter(
      str(folder / 'events'), f'.{time.time_ns()}'
    )
    start = event_pb2.SessionLog(status=event_pb2.SessionLog.START)
    self._write(0, session_log=start)
    for hparams in summary.hparams(_plain(values), {'test/accuracy': 0.0}):
      self._write(0, summary=hparams)
    self._file.flush()

  def write(self, row: Row) -> None:
    """Writes a row at once."""
    parts = [self._summary.scalar(*item) for item in row.scalars.items()]
    for name, values_C in row.channels.items():
      finite = values_C[np.isfinite(values_C)]
      if len(finite):
        parts.append(self._summary.histogram(name, finite, _BINS))
    for name, histogram in row.histograms.items():
      parts.append(self._summary.histogram_raw(name, **_raw(histogram)))
    values = [value for part in parts for value in part.value]
    self._write(row.step, summary=self._protos[1].Summary(value=values))
    self._file.flush()

  def _write(self, step, **what):
    event = self._protos[0].Event(step=step, wall_time=time.time(), **what)
    self._file.write_event(event)

  def close(self) -> None:
    """Closes the file."""
    self._file.close()


def _raw(histogram):
  """Returns a histogram for TensorBoard, with sums of the bins' middles."""
  counts_B, edges = histogram
  middles_B = (edges[1:] + edges[:-1]) / 2
  return {
    'min': edges[0],
    'max': edges[-1],
    'num': counts_B.sum(),
    'sum': counts_B @ middles_B,
    'sum_squares': counts_B @ middles_B**2,
    'bucket_limits': edges[1:].tolist(),
    'bucket_counts': counts_B.tolist(),
  }


def _plain(values):
  """Returns values of the types that hparams may have, tuples as strings."""
  return {
    key: str(value) if isinstance(value, tuple) else value
    for key, value in values.items()
  }
