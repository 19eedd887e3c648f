"""Signals that ask a run to save itself and stop."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def noted() -> Iterator[Callable[[], bool]]:
  """Yields a function that says whether SIGTERM or SIGINT has come.

  A second signal has its usual effect, at once. Outside the main thread,
  where Python delivers no signals, the function always says no.
  """
  came = threading.Event()
  if threading.current_thread() is not threading.main_thread():
    yield came.is_set
    return
  usual = {s: signal.getsignal(s) for s in (signal.SIGTERM, signal.SIGINT)}

  def restore():
    for number, handler in usual.items():
      signal.signal(number, handler)

  def note(number, frame):
    came.set()
    restore()

  for number in usual:
    signal.signal(number, note)
  try:
    yield came.is_set
  finally:
    restore()
