"""Signals that ask a run to save itself and stop."""

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

ASKED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
# SLURM sends one of these before it takes the machine away: submitit uses the
# second, batch scripts often the first. They come repeatedly, or with SIGTERM,
# and never mean what a second Ctrl-C means.
WARNED = (signal.SIGUSR1, signal.SIGUSR2)


def asked() -> tuple[signal.Signals, ...]:
  """Returns `ASKED`, without SIGHUP where nohup ignores it."""
  ignored = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
  return tuple(s for s in ASKED if not (ignored and s == signal.SIGHUP))


@contextlib.contextmanager
def noted() -> Iterator[Callable[[], bool]]:
  """Yields a function that says whether one of the signals has come.

  A second one of `ASKED` has its usual effect, at once. Outside the main
  thread, where Python delivers no signals, the function always says no.
  """
  came = threading.Event()
  if threading.current_thread() is not threading.main_thread():
    yield came.is_set
    return
  asks = asked()
  usual = {s: signal.getsignal(s) for s in (*asks, *WARNED)}

  def restore(numbers):
    for number in numbers:
      signal.signal(number, usual[number])

  def note(number, frame):
    came.set()
    if number in asks:
      restore(asks)

  for number in usual:
    signal.signal(number, note)
  try:
    yield came.is_set
  finally:
    restore(usual)
