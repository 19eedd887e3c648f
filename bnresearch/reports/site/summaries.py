"""A run in short: what pages of several runs need of each."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bnresearch.reports import best, targets
from bnresearch.reports.site import records
from bnresearch.reports.site.records import Record
from bnresearch.runs.logbook import Series

GROUPS = ('test', 'validation', 'average', 'train')
KINDS = ('accuracy', 'loss', 'top5_accuracy')
_MOST = 2000  # rows of a curve that are kept


class Summary(NamedTuple):
  """A run in short.

  Attributes:
    place: where it is.
    state: its status in a word.
    why: the message that came with it, '' for none.
    values: its knobs, {} if they cannot be read.
    setting: the same text for runs that differ only in their seed.
    status: what status.json says.
    warnings: see `Record`.
    best: the chosen step, None if there is none.
    curves: {metric: its rows (T,)}: accuracies, losses and probes' scalars.
    steps_to: the step at which the target is reached, inf if never; None
      without a target.
  """

  place: records.Place
  state: str
  why: str
  values: Mapping[str, Any]
  setting: str
  status: Mapping[str, Any]
  warnings: Sequence[str]
  best: best.Best | None
  curves: Mapping[str, Series]
  steps_to: float | None

  @property
  def last(self) -> dict[str, float]:
    """{metric: its last value}."""
    return {name: s.values[-1].item() for name, s in self.curves.items()}

  @property
  def progress(self) -> str:
    """How many steps are done, and of how many."""
    step, steps = self.status.get('step', 0), self.status.get('steps')
    whole = f' of {steps:,}' if steps and step < steps else ''
    return f'{step:,}{whole}'


def of(record: Record, target: targets.Target | None = None) -> Summary:
  """Returns a run in short."""
  place, values = record.place, record.values
  chosen = None
  if 'data.held_out' in values:
    chosen = best.of(place.path, record.config, record.metrics)
  return Summary(
    place,
    record.state,
    record.status.get('message', ''),
    values,
    records.without_seed(values) if values else place.name,
    record.status,
    record.warnings,
    chosen,
    dict(_curves(record.metrics)),
    targets.steps_to_target(record.metrics, target) if target else None,
  )


def ordered(names: Iterable[str]) -> list[str]:
  """Returns metrics, each once: accuracies and losses, then probes' scalars."""
  known = [f'{group}/{kind}' for kind in KINDS for group in GROUPS]
  rank = {name: k for k, name in enumerate(known)}
  return sorted(dict.fromkeys(names), key=lambda n: rank.get(n, len(rank)))


def _curves(metrics) -> Iterator[tuple[str, Series]]:
  """Yields the curves of one number a step, the first of interest first."""
  known = {f'{group}/{kind}' for kind in KINDS for group in GROUPS}
  for name in ordered(metrics):
    wanted = name in known or targets.is_scalar(name)
    if wanted and metrics[name].values.ndim == 1:
      yield name, _kept(metrics[name])


def _kept(series):
  """Returns every 2^k-th row and the last one, so that seeds keep the same."""
  T, stride = len(series.steps), 1
  while _MOST * stride < T:
    stride *= 2
  rows = np.union1d(np.arange(0, T, stride), [T - 1])
  return Series(series.steps[rows], series.values[rows])
