"""What the study of whitening measures: speed, correlation, time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

import bnresearch as bnr
from bnresearch.inference import profiling
from configs import whitening as study
from experiments import _study

REACHED = 0.1  # training loss
# A round has several turns, of which the fastest counts: other work on the
# machine can only add to a time.
ROUNDS, TURNS, STEPS = 3, 10, 100
LOG = 'train/loss'


class Found(NamedTuple):
  """What was measured of a method, at its learning rate.

  Attributes:
    rate: that learning rate.
    steps_T: of the logged losses.
    loss_RT: of each seed.
    reached_R: the step that reaches the loss, inf if none does.
    accuracy_R: the last one on the test images.
    correlation_R: mean |correlation| of two inputs of a layer's ReLUs, averaged
      over the layers.
    seconds: a step in each round.
    times: the same, relative to those without whitening.
  """

  rate: float
  steps_T: np.ndarray
  loss_RT: np.ndarray
  reached_R: np.ndarray
  accuracy_R: np.ndarray
  correlation_R: np.ndarray
  seconds: np.ndarray
  times: np.ndarray


Methods = dict[str, Found]


def measure(runs: Sequence[bnr.Run]) -> Methods:
  """Returns what was measured of each method, timed in turns."""
  groups = _study.grouped(
    runs,
    'data.whitening',
    'norm.name',
    'norm.whitened_channels',
    'optim.learning_rate',
  )
  chosen = {}
  for name, method in study.METHODS.items():
    by_rate = {key[-1]: g for key, g in groups.items() if key[:3] == method}
    chosen[name] = min(by_rate.items(), key=lambda item: _last_loss(item[1]))
  dry = runs[0].config.dry_run
  seconds = profiling.in_turns(
    [group[0] for _, group in chosen.values()],
    ROUNDS * (1 if dry else TURNS),
    1 if dry else STEPS,
  )
  seconds = seconds.reshape(len(chosen), ROUNDS, -1).min(2)
  return {
    name: _found(rate, group, seconds[k], seconds[k] / seconds[0])
    for k, (name, (rate, group)) in enumerate(chosen.items())
  }


def _last_loss(group):
  """Returns the mean loss of the last tenth, over the seeds."""
  if any(_study.diverged(run) for run in group):
    return np.inf
  losses = [run.metrics[LOG].values for run in group]
  return np.mean([loss[-max(1, len(loss) // 10) :].mean() for loss in losses])


def _found(rate, group, *times):
  losses = [run.metrics[LOG] for run in group]
  loss_RT = np.stack([loss.values for loss in losses])
  return Found(
    rate,
    losses[0].steps,
    loss_RT,
    np.array([_reached(loss.steps, loss.values) for loss in losses]),
    np.array([_study.final(run) for run in group]),
    np.array([_correlation(run) for run in group]),
    *times,
  )


def _reached(steps_T, loss_T):
  below = np.flatnonzero(loss_T < REACHED)
  return float(steps_T[below[0]]) if len(below) else np.inf


def _correlation(run):
  layers = [
    series.values[-1]
    for name, series in run.metrics.items()
    if name.startswith('probe/channel_correlation/hidden_')
    and name.endswith('/correlation')
  ]
  return float(np.mean(layers))
