"""The page of a run: what it is, what it did, and what made it."""

import itertools
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from bnresearch import knobs
from bnresearch.reports.site import layers, lines, vega
from bnresearch.reports.site.records import Record
from bnresearch.reports.site.summaries import GROUPS, Summary
from bnresearch.runs import data_file
from bnresearch.sweeps import progress
from bnresearch.terminal import Refused

# Sections that every page has, and the probe that fills each.
SECTIONS = {
  'activation_histogram': 'Histograms over steps',
  'statistics_distance': "Statistics' distances",
  'parameter_norm': 'Norms of parameters',
  'gradient_norm': 'Norms of gradients',
}
_LEFT_OUT = ('conventions', 'from_step', 'missing_rows')
_FIRST = ('date', 'device', 'devices', 'commit', 'bnresearch', 'jax', 'python')


class Section(NamedTuple):
  """The charts of a probe.

  Attributes:
    probe: its name.
    title: of the section.
    charts: none if the run did not measure it.
  """

  probe: str
  title: str
  charts: Sequence[vega.Chart]


def inner(render: Callable[..., str], record: Record) -> str:
  """Returns the part of a run's page that no other run has a share in."""
  return render(
    'run_inner.html',
    record=record,
    sections=[*_sections(record)],
    knobs_changed=_changed(record.values),
    knobs_all=[*record.values.items()],
    sessions=_sessions(record.sessions),
    conventions=_conventions(record.sessions),
    data=_data(record.place.path),
    checkpoints=_checkpoints(record.place.path),
    commands=_commands(record.place.path),
  )


def whole(
  render: Callable[..., str],
  summary: Summary,
  siblings: Sequence[Summary],
  made: Any,
  **common: Any,
) -> str:
  """Returns a run's page.

  Args:
    render: see `frame.environment`.
    summary: of the run.
    siblings: all runs that differ from it at most in their seed.
    made: what `inner` returns, as HTML.
    **common: what all pages have.
  """
  return render(
    'run.html',
    run=summary,
    facts=_facts(summary),
    curves=[*_curves(summary, siblings)],
    seeds=len(siblings),
    siblings=siblings,
    inner=made,
    **common,
  )


def _facts(run) -> Iterator[tuple[str, str]]:
  """Yields the numbers at the head of the page."""
  if run.best:
    chosen = f'step {run.best.step:,}, the best by {run.best.split} accuracy'
    yield f'{run.best.accuracy:.2%}', f'test accuracy at {chosen}'
  if 'test/accuracy' in run.last:
    yield f'{run.last["test/accuracy"]:.2%}', 'last test accuracy'
  if 'train/loss' in run.last:
    yield vega.words(run.last['train/loss']), 'last training loss, nats'
  yield run.progress, 'steps'
  if run.steps_to is not None:
    reached = f'{run.steps_to:,.0f}' if run.steps_to < float('inf') else 'never'
    yield reached, 'steps to the target'
  yield from _throughput(run.status, run.state)


def _throughput(status, state):
  if seconds := status.get('seconds'):
    yield f'{seconds:,.1f} s', 'training, all sessions'
  if rate := status.get('steps_per_second'):
    yield f'{rate:,.0f}', 'steps a second, last session'
  if (waited := status.get('seconds_without_data')) is not None:
    yield f'{waited:,.1f} s', 'without data'
  if probing := status.get('probe_seconds'):
    cost = f', as long as {probing * rate:.2g} steps' if rate else ''
    yield f'{probing:.2g} s', f'a record of the probes{cost}'
  if state == 'running' and (left := progress.eta(status)):
    yield left, 'left'


def _curves(run, siblings) -> Iterator[vega.Chart]:
  """Yields accuracies and losses, with the spread of seeds as a band."""
  others = f'of all {len(siblings)} seeds' if len(siblings) > 1 else ''
  caption = 'Of this run.' + (
    f' The band reaches from the lowest to the highest {others}.'
    if others
    else ' No other run has the same config but for its seed, so no band.'
  )
  # A loss may span decades, on an axis of logarithms; an accuracy does not.
  for kinds in (('accuracy', 'top5_accuracy'), ('loss',)):
    rows = []
    for kind, group in itertools.product(kinds, GROUPS):
      name = f'{group}/{kind}'
      if name in run.curves:
        several = [s.curves[name] for s in siblings if name in s.curves]
        line = lines.single(run.curves[name])
        if len(several) > 1:
          line = _within(line, lines.together(several))
        rows += lines.rows(kind.replace('_', ' '), group, line)
    if rows:
      title = 'loss, nats' if kinds == ('loss',) else ''
      yield lines.chart(rows, title, caption, independent=True, height=210)


def _within(line, band):
  """Returns a line with the band of another one that has its steps."""
  at = {step: k for k, step in enumerate(band.steps.tolist())}
  kept = [k for k, step in enumerate(line.steps.tolist()) if step in at]
  places = [at[line.steps[k].item()] for k in kept]
  return lines.Line(
    *(line.steps[kept], line.middle[kept], band.low[places], band.high[places])
  )


def _sections(record) -> Iterator[Section]:
  """Yields what each probe measured; first what every page should have."""
  found = layers.probes(record.metrics)
  for probe in (*SECTIONS, *(name for name in found if name not in SECTIONS)):
    title = SECTIONS.get(probe, probe.replace('_', ' ').capitalize())
    made = [*layers.charts(probe, found[probe])] if probe in found else []
    yield Section(probe, title, made)


def _changed(values: Mapping[str, Any]):
  """Returns the knobs whose values are not the default: what they mean."""
  return [
    (key, repr(value), repr(knob.default), knob.comment)
    for key, value in values.items()
    if (knob := knobs.KNOBS.get(key)) and value != knob.default
  ]


def _sessions(sessions):
  """Returns columns and rows of what made a run."""
  keys = dict.fromkeys(
    key
    for name in (_FIRST, *sessions)
    for key in name
    if key not in _LEFT_OUT and any(key in s for s in sessions)
  )
  rows = [
    [f'from step {s.get("from_step", 0)}' for s in sessions],
    *([str(s.get(key, '')) for s in sessions] for key in keys),
  ]
  return [[name, *row] for name, row in zip(('session', *keys), rows)]


def _conventions(sessions):
  last = sessions[-1].get('conventions', ()) if sessions else ()
  return [str(line) for line in last] if isinstance(last, list) else []


def _data(path):
  """Returns the run's splits: name, images, digest; and what else is noted."""
  try:
    names, about = data_file.found(path)
  except Refused as error:
    return {'problem': str(error)}
  if not about:
    return {'problem': 'The run has not noted its data.'}
  digests = about.get('digests', {})
  return {
    'classes': [*(names or ())],
    'shape': ' x '.join(map(str, about['image_shape'])),
    'splits': [
      (split, f'{count:,}', str(digests.get(split, '')))
      for split, count in about['examples'].items()
    ],
  }


def _checkpoints(path):
  folders = (path / 'checkpoints').glob('[0-9]*')
  steps = sorted(int(f.name) for f in folders if f.name.isdigit())
  return [f'{step:,}' for step in steps]


def _commands(path):
  """Returns what else can be done with the run."""
  at = shlex.quote(f'--workdir={path}')
  return [
    f'python -m bnresearch.main --mode=eval {at}',
    f'python -m bnresearch.main --mode=profile {at}',
  ]
