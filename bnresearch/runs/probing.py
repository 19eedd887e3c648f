"""The probes of a run while it trains: their batches, past and cost."""

import time
from collections.abc import Callable
from typing import Any

import jax

from bnresearch.assembly import Parts
from bnresearch.evaluation.measure import network_of
from bnresearch.runs.recorder import Recorder
from bnresearch.training import loop, parallel
from bnresearch.training.state import State


class Probing:
  """Measures and logs the states of one run."""

  def __init__(self, parts: Parts, state: State, recorder: Recorder):
    """Puts the fixed examples onto the devices of the mesh in use.

    Args:
      parts: of the run.
      state: for its shapes.
      recorder: has restored the run.
    """
    self._measure, self._recorder = parts.evaluation.measure, recorder
    self._batches = parts.evaluation.probe_batches()
    unknown = self._measure.unknown(network_of(state), self._batches)
    self._previous = parallel.shared(recorder.last(unknown))
    self._stopwatch = Stopwatch()

  def measure(self, state: State, done: int) -> loop.Read:
    """Dispatches the probes of the state after `done` steps."""
    found = self._stopwatch.timed(
      state,
      lambda: self._measure(network_of(state), self._batches, self._previous),
    )
    self._previous = self._measure.compared(found)

    def read():
      row = self._measure.in_order(jax.device_get(found))
      self._recorder.log_probes(done, row, self._stopwatch.seconds)

    return read


class Stopwatch:
  """Times one call of several: the second, which compiles nothing.

  Attributes:
    seconds: that it took; 0 until then.
  """

  def __init__(self):
    self.seconds, self._calls = 0.0, 0

  def timed(self, before: Any, call: Callable[[], Any]) -> Any:
    """Returns what `call` does; waits for it, and for `before`, only once."""
    self._calls += 1
    if self._calls != 2:
      return call()
    jax.block_until_ready(before)
    began = time.monotonic()
    found = jax.block_until_ready(call())
    self.seconds = time.monotonic() - began
    return found
