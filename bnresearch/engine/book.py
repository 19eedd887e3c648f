"""What a run writes while it trains: its logbook, status and checkpoints."""

import time
from typing import Any

import numpy as np

from bnresearch import build, conventions
from bnresearch.engine import hosts, population
from bnresearch.engine.checkpoint import Checkpoints
from bnresearch.engine.state import State
from bnresearch.records import provenance, run_directory, splits
from bnresearch.records.config_file import Config, digest


class Diverged(ArithmeticError):
  """The loss has left the finite numbers."""


class Book:
  """The records of one run, from the restored state to the last checkpoint."""

  def __init__(self, config: Config, run: run_directory.RunDirectory):
    self._config, self._run = config, run
    keep = config.checkpoint.keep if run.writes else None
    self._checkpoints = Checkpoints(run.checkpoints, keep)
    self._evaluated: dict[int, dict[str, float]] = {}
    self._last: dict[str, float] = {}

  def restored(self, template: State) -> State | None:
    """Returns the newest state that is whole, None if there is none.

    What the logbook has of later steps is dropped.
    """
    state, step = None, -1
    with hosts.together():
      if self._run.writes:
        state = self._checkpoints.restore_newest_whole(
          template, self._run.logbook.size
        )
        step = -1 if state is None else int(state.step)
        self._run.logbook.keep_until(step)
    step = hosts.of_first(step)
    if step >= 0 and state is None:
      state = self._checkpoints.restore(template, step)
    return state

  def begin(self, step: int, **spread: int | str) -> None:
    """Notes that a session starts after `step`, and how it is spread."""
    config = self._config
    options = build.norm_options(config)
    self._provenance = {
      **provenance.collect(),
      **spread,
      'conventions': conventions.header(
        config.norm, config.train.steps, options
      ),
    }
    self._run.begin_session(step, self._provenance)
    self._clock = _Clock(self._run.status, step)

  def log_training(self, steps: range, metrics: dict[str, np.ndarray]) -> None:
    """Writes the means over a call's steps.

    Args:
      steps: the T steps of the call.
      metrics: of each step, (T,).

    Raises:
      Diverged: the loss is not finite.
    """
    loss_T = metrics['loss']
    self._last = {'loss': float(loss_T[-1])}
    self._run.logbook.write(
      steps.stop,
      {f'train/{name}': np.mean(value_T) for name, value_T in metrics.items()},
    )
    bad = np.flatnonzero(~np.isfinite(loss_T))
    if len(bad):
      raise Diverged(
        f'The loss is {loss_T[bad[0]]} at step {steps[bad[0]] + 1}, in the '
        f'call of steps {steps.start + 1} to {steps.stop}. A smaller '
        'optim.learning_rate may keep it finite.'
      )

  def log_evaluation(
    self, done: int, found: dict[str, dict[str, float]]
  ) -> None:
    """Writes what evaluation gave after `done` steps, {split: means}.

    One split chooses the best checkpoint, see `records/splits.py`.
    """
    self._evaluated = {done: found[splits.chooses(self._config)]}
    row = {}
    for split, means in found.items():
      row |= {f'{split}/{name}': value for name, value in means.items()}
    self._run.logbook.write(done, row)

  def log_probes(self, done: int, measured: dict[str, Any]) -> None:
    """Writes what the probes measured after `done` steps."""
    self._run.logbook.write(done, measured)

  def log_average(self, done: int, row: dict[str, float]) -> None:
    """Writes what the average of the parameters gave after `done` steps."""
    if row:
      self._run.logbook.write(done, row)

  def save(self, state: State, done: int) -> None:
    """Begins to save a state, all that is known of its step logged before."""
    if not self._run.writes:
      return
    self._run.logbook.sync()
    self._checkpoints.save(
      state,
      self._evaluated.get(done),
      {
        'config': digest(self._config),
        'chooses': splits.chooses(self._config),
        'provenance': self._provenance,
        'statistics': population.provenance_of_ema(self._config, done),
        'logbook_size': self._run.logbook.size,
      },
    )

  def progress(self, done: int, waited: float, every: float = 0.3) -> None:
    """Writes now and then how far the run is.

    Args:
      done: steps.
      waited: seconds without data.
      every: seconds between two writes of status.json.
    """
    self._run.update(
      throttle=every,
      **self._clock.read(done),
      seconds_without_data=round(waited, 3),
      steps=self._config.train.steps,
      **self._last,
    )

  def close(self) -> None:
    """Waits until everything is on disk."""
    self._checkpoints.close()


class _Clock:
  """Measures training time over all sessions, and this session's speed."""

  def __init__(self, status: dict, start: int):
    self.before, self.start = status.get('seconds', 0.0), start
    self.began = time.monotonic()

  def read(self, done: int) -> dict[str, float]:
    here = time.monotonic() - self.began
    return {
      'step': done,
      'seconds': round(self.before + here, 3),
      'steps_per_second': round((done - self.start) / here, 1),
    }
