"""Times of several contestants, measured in turns."""

import time
from collections.abc import Callable, Mapping

import numpy as np

Call = Callable[[], object]
TURN_S = 0.05


def fastest(
  calls: Mapping[str, Call], rounds: int, random: np.random.RandomState
) -> dict[str, float]:
  """Returns the seconds of a call of each, in the fastest of rounds.

  What the machine does besides can only add to a time. In each round the order
  is another one: whoever comes after PyTorch meets its threads, still spinning.

  Args:
    calls: by name; each returns when its work is done.
    rounds: in each, every contestant has one turn of about 50 ms.
    random: draws the orders.
  """
  repeats = {name: _repeats(call) for name, call in calls.items()}
  seconds = {name: [] for name in calls}
  turns = (name for _ in range(rounds) for name in random.permutation([*calls]))
  for name in turns:
    calls[name]()
    began = time.perf_counter()
    for _ in range(repeats[name]):
      calls[name]()
    seconds[name].append((time.perf_counter() - began) / repeats[name])
  return {name: min(s) for name, s in seconds.items()}


def _repeats(call):
  """Returns how many calls fill a turn, after two to warm up."""
  call()
  began = time.perf_counter()
  call()
  return max(1, round(TURN_S / (time.perf_counter() - began)))
