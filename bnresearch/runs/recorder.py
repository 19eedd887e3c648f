"""What a run writes while it trains: its logbook, status and checkpoints."""

import itertools
import logging
import time
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from bnresearch.assembly import Parts
from bnresearch.evaluation import population
from bnresearch.machine import hosts
from bnresearch.runs import config_file, logbook, provenance
from bnresearch.runs.checkpoint import Checkpoints
from bnresearch.runs.logbook import Mark
from bnresearch.runs.mirroring import Mirrors
from bnresearch.runs.run_directory import RunDirectory
from bnresearch.training.loop import Plan
from bnresearch.training.state import State


class Diverged(ArithmeticError):
  """The loss or a parameter is no longer finite."""


class Recorder:
  """The records of one run, from the restored state to the last checkpoint."""

  def __init__(self, run: RunDirectory, parts: Parts):
    """Opens the checkpoints.

    Args:
      run: the directory.
      parts: of the run.
    """
    self._config = config = parts.config
    self._run, self._plan = run, parts.training.plan
    self._network = parts.network
    self._digest = config_file.digest(config)
    self._chooses = parts.data.chooses
    keep = config.checkpoint.keep if run.writes else None
    self._checkpoints = Checkpoints(run.checkpoints, keep)
    self._evaluated: dict[int, dict[str, float]] = {}
    self._last: dict[str, float] = {}
    self._probe_seconds: dict[str, float] = {}
    self._missing, self._mirrors = '', None  # until it begins

  def restored(self, template: State) -> State | None:
    """Returns the newest state that is whole, None if there is none.

    Rows of later steps are dropped from the logbook. A warning and
    provenance.json name the rows of earlier steps that it lacks.
    """
    state, step = None, -1
    with hosts.all_or_none():
      if self._run.writes:
        state = self._checkpoints.restore_newest_whole(template)
        step = -1 if state is None else int(state.step)
        self._mend_logbook(step)
    step = hosts.of_first(step)
    if step >= 0 and state is None:
      state = self._checkpoints.restore(template, step)
    return state

  def _mend_logbook(self, step):
    """Drops the rows after `step`; warns if those before are not all there.

    Only training again could make them again, which nobody wants.
    """
    rows = self._run.logbook
    if step >= 0:
      meta = self._checkpoints.meta(step)
      before = Mark(meta.get('logbook_size', 0))  # older ones have no digest
      if not rows.has(Mark(*meta.get('logbook', before))):
        self._missing = missing_rows(self._plan, rows.steps(), step)
        aside = rows.copy_aside()
        missing = self._missing and f'these are missing: {self._missing}'
        logging.warning(
          '%s: of the rows up to step %d, %s. Training goes on from the '
          'checkpoint, which is whole.%s',
          rows.file,
          step,
          missing or 'some were changed',
          f' {aside} is a copy of the file.' if aside else '',
        )
    rows.keep_until(step, lambda mark: self._run.update(logbook=mark))

  def begin(self, step: int, **parallel: int | str) -> None:
    """Notes that a session starts after `step`, and on which devices."""
    self._provenance = {
      **provenance.collect(),
      **parallel,
      'conventions': self._network.conventions,
    }
    if self._missing:
      self._provenance['missing_rows'] = self._missing
    self._run.begin_session(step, self._provenance)
    self._mirrors = Mirrors(self._run, self._config)
    self._seconds_before = self._run.status.get('seconds', 0.0)
    self._began_after, self._began_at = step, time.monotonic()

  def log_training(self, steps: range, metrics: dict[str, np.ndarray]) -> None:
    """Writes the means over a call's steps.

    Args:
      steps: the T steps of the call.
      metrics: of each step, (T,).

    Raises:
      Diverged: the loss is not finite.
    """
    loss_T = metrics['loss']
    if np.isfinite(loss_T[-1]):  # JSON has no word for others
      self._last = {'loss': float(loss_T[-1])}
    self.log(
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
    """Writes the results of evaluation after `done` steps, {split: means}.

    One split chooses the best checkpoint, see `data.choosing_split`.
    """
    self._evaluated = {done: found[self._chooses]}
    row = {}
    for split, means in found.items():
      row |= {f'{split}/{name}': value for name, value in means.items()}
    self.log(done, row)

  def log(self, done: int, row: dict[str, Any]) -> None:
    """Writes what was measured after `done` steps, if anything was.

    Probes and the average of the parameters may have measured nothing.
    """
    if row:
      self._run.logbook.write(done, row)
      self._mirrors.write(done, row)

  def save(self, state: State, done: int) -> None:
    """Begins to save a state; everything about its step is logged before.

    Raises:
      Diverged: a parameter is not finite; or, after the last step, the
        evaluated loss: no training loss covers the last parameters.
    """
    bad = [
      jax.tree_util.keystr(path, simple=True, separator='/')
      for path, leaf in jax.tree_util.tree_leaves_with_path(state.params)
      if not np.isfinite(leaf).all()
    ]
    loss = self._evaluated.get(done, {}).get('loss', 0.0)
    if done == self._plan.steps and not np.isfinite(loss):
      bad.append(f'the loss of the {self._chooses} split, which is {loss}')
    if bad:
      more = f' and {len(bad) - 3} more' if len(bad) > 3 else ''
      raise Diverged(
        f'After step {done} these are not finite: {", ".join(bad[:3])}{more}. '
        'The loss of training was, before that update. A smaller '
        'optim.learning_rate may keep them so.'
      )
    if not self._run.writes:
      return
    self._run.logbook.sync()
    mark = self._run.logbook.mark
    options = self._network.norm_options
    meta = {
      'config': self._digest,
      'chooses': self._chooses,
      'provenance': self._provenance,
      'statistics': population.provenance_of_ema(done, options),
      'logbook': mark,
    }
    self._checkpoints.save(state, self._evaluated.get(done), meta)
    self._run.update(logbook=mark)

  def log_probes(
    self, done: int, row: dict[str, np.ndarray], seconds: float
  ) -> None:
    """Writes what the probes have found, and notes what they cost.

    Args:
      done: steps.
      row: {name: array}.
      seconds: that it took; 0 if it was not timed.
    """
    self.log(done, row)
    if seconds:
      self._probe_seconds = {'probe_seconds': round(seconds, 4)}

  def last(self, unknown: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Returns the newest logged values of these names, or `unknown` itself."""
    newest = {}
    for _, row in logbook.rows(self._run.logbook.file) if unknown else ():
      newest |= {name: row[name] for name in unknown if name in row}
    return {
      name: np.asarray(newest.get(name, value), value.dtype)
      for name, value in unknown.items()
    }

  def progress(self, done: int, waited: float, every: float = 0.3) -> None:
    """Writes how far the run is, now and then.

    Args:
      done: steps.
      waited: seconds without data.
      every: seconds between two writes of status.json.
    """
    here = time.monotonic() - self._began_at
    self._run.update(
      throttle=every,
      step=done,
      seconds=round(self._seconds_before + here, 3),
      steps_per_second=round((done - self._began_after) / here, 1),
      seconds_without_data=round(waited, 3),
      steps=self._plan.steps,
      **self._last,
      **self._probe_seconds,
    )

  def close(self) -> None:
    """Waits until everything is on disk, and reads the last checkpoint back.

    Raises:
      SaveError, RestoreError: it is not there, or not what was saved.
    """
    try:
      self._checkpoints.close()
      self._run.update(logbook=self._run.logbook.mark)
    finally:
      if self._mirrors:
        self._mirrors.close()


def missing_rows(plan: Plan, there: Mapping[str, set[int]], until: int) -> str:
  """Returns which rows a logbook lacks, '' if none; 'test 0 to 500, ...'.

  Args:
    plan: of the run; it says which rows there should be.
    there: {group: steps}, see `Logbook.steps`.
    until: the last step to look at.
  """
  ends = [call.stop for call in plan.calls(0) if call.stop <= until]
  steps = [0, *ends]
  wanted = {'train': ends} | {
    group: [step for step in steps if group in plan.observed(step)]
    for group in ('test', 'probe')
  }
  spans = []
  for group, steps in wanted.items():
    found = there.get(group, set())
    for is_there, some in itertools.groupby(steps, found.__contains__):
      if not is_there:
        first, *_, last = [*some] * 2
        end = f' to {last}' if last > first else ''
        spans.append(f'{group} {first}{end}')
  return ', '.join(spans)
