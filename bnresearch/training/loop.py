"""The training loop: what is due at which step, and in which order.

It knows neither networks nor disks. A session makes the steps, evaluates,
measures and saves: `runs/session.py` for one run,
`sweeps/vectorized/launcher.py` for many at a time.
"""

import itertools
from collections.abc import Callable
from typing import NamedTuple, Protocol

Read = Callable[[], None]  # waits for results, and writes them


class Plan(NamedTuple):
  """What is due when, in steps.

  Attributes:
    steps: of the whole run.
    call: steps of a call, which is not interrupted, at most.
    evaluate: steps between two evaluations.
    save: steps between two checkpoints.
    average: whether the average of the parameters is evaluated at the end.
    probes: whether there are any.
    probe: steps between two probes; 0 for `probe_at` and the end only.
    probe_at: more steps after which the network is probed; they end a call.
  """

  steps: int
  call: int
  evaluate: int
  save: int
  average: bool
  probes: bool
  probe: int
  probe_at: tuple[int, ...]

  def calls(self, start: int) -> list[range]:
    """Returns the steps of each call after `start`."""
    ends = {*range(self.call, self.steps + 1, self.call)}
    if self.probes:
      ends |= {step for step in self.probe_at if step < self.steps}
    stops = [start, *sorted(end for end in ends if end > start)]
    return [range(*pair) for pair in itertools.pairwise(stops)]

  def observed(self, done: int) -> list[str]:
    """Returns which groups are logged after `done` steps, in this order.

    They are among 'test', 'probe' and 'average', the prefixes of names in a
    row.
    """
    end = done == self.steps
    probed = end or done == 0 or done in self.probe_at
    wanted = {
      'test': end or done % self.evaluate == 0,
      'probe': self.probes
      and (probed or (self.probe and done % self.probe == 0)),
      'average': self.average and end,
    }
    return [group for group, is_wanted in wanted.items() if is_wanted]


class Session(Protocol):
  """What the loop asks of a session. Dispatching does not wait."""

  def advance(self, steps: range) -> Read:
    """Dispatches T steps."""

  def evaluate(self, done: int) -> Read:
    """Dispatches the evaluation of the state after `done` steps."""

  def measure(self, done: int) -> Read:
    """Dispatches the probes of the state after `done` steps."""

  def average(self, done: int) -> Read:
    """Evaluates the average of the parameters, and waits for it."""

  def agreed(self, stop: bool) -> bool:
    """Returns whether all hosts stop here."""

  def save(self, done: int) -> None:
    """Begins to save the state after `done` steps."""

  def progress(self, done: int) -> None:
    """Writes how far the run is, now and then."""


def make_steps(
  plan: Plan, session: Session, start: int, interrupted: Callable[[], bool]
) -> str:
  """Makes all steps that are left; returns 'done' or 'preempted'.

  The order within the loop: dispatch a call of steps; while it runs, read the
  results of the calls before it; dispatch evaluation and probes of the new
  state; save. So the device waits for the host at checkpoints only.

  Args:
    plan: says how many steps, and what is due when.
    session: makes them.
    start: steps that are done.
    interrupted: says whether to save and stop.
  """
  unread = []

  def observe(done):
    for group in plan.observed(done):
      match group:
        case 'test':
          unread.append(session.evaluate(done))
        case 'probe':
          unread.append(session.measure(done))
        case 'average':
          unread.append(session.average(done))

  def read():
    while unread:
      unread.pop(0)()

  if start == 0:
    observe(0)
  for call in plan.calls(start):
    trained = session.advance(call)
    read()
    unread.append(trained)
    observe(call.stop)
    stop = session.agreed(interrupted())
    end = call.stop == plan.steps
    if stop or end or call.stop % plan.save == 0:
      read()
      session.save(call.stop)
    session.progress(call.stop)
    if stop and call.stop < plan.steps:
      return 'preempted'
  return 'done'
