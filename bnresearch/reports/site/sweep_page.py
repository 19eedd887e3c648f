"""The page of several runs: points, what they differ in, and how they did."""

import collections
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from bnresearch import knobs
from bnresearch.reports import targets
from bnresearch.reports.site import lines, records, summaries, vega
from bnresearch.reports.site.summaries import Summary
from bnresearch.runs import run_directory
from bnresearch.terminal import printable

# In this order, what a state means; a sign for who sees no colors.
STATES = {
  'done': '✓',
  'running': '▶',
  'diverged': '↯',
  'failed': '✗',
  'interrupted': '‖',
  'preempted': '‖',
  'not begun': '○',
}
_CHOSEN = 'test accuracy at the chosen step'
_LOST = ('failed', 'diverged', 'interrupted', 'preempted')
_BEST = 5  # settings
_WATCHING = 'probes.', 'log.', 'eval.', 'checkpoint.'  # what trains nothing
_BUDGET = 60_000  # points of all curves
_SHORTEST, _LONGEST = 12, 80  # points of one curve


class Setting(NamedTuple):
  """Runs that differ at most in their seed.

  Attributes:
    name: the knobs in which it differs from the others.
    runs: one for each seed.
  """

  name: str
  runs: Sequence[Summary]


def page(
  render: Callable[..., str],
  title: str,
  runs: Sequence[Summary],
  target: targets.Target | None,
  **common: Any,
) -> str:
  """Returns the page of some runs.

  Args:
    render: see `frame.environment`.
    title: of the page.
    runs: in order.
    target: whose steps have a column, or None.
    **common: what all pages have.
  """
  varied = [*_varied(runs)]
  short = _short(varied)
  settings = _settings(runs, varied, short)
  return render(
    'sweep.html',
    title=title,
    runs=runs,
    counts=_counts(runs),
    states=STATES,
    target=target,
    varied=varied,
    short=short,
    cell=_cell,
    settings=settings,
    best=_best(settings),
    lost=[run for run in runs if run.state in _LOST],
    warned=_warned(runs),
    values={key: _values(runs, key) for key in varied},
    shared=_shared(runs, varied),
    numbers=vega,
    never=float('inf'),
    summary=_summary(runs, settings, varied, short, target),
    **common,
  )


def _counts(runs):
  """Returns {state: runs}, in the order of STATES."""
  found = collections.Counter(run.state for run in runs)
  return {s: found[s] for s in (*STATES, *found) if found[s]}


def _warned(runs) -> dict[str, list[Summary]]:
  """Returns {warning: the runs that have it}."""
  found: dict[str, list[Summary]] = {}
  for run in runs:
    for text in run.warnings:
      found.setdefault(text, []).append(run)
  return found


def _varied(runs) -> Iterator[str]:
  """Yields the knobs in which runs differ, the label first, the seed last."""
  known = [run.values for run in runs if run.values]
  keys = dict.fromkeys(key for values in known for key in values)
  several = [
    key
    for key in keys
    if key not in run_directory.FREE
    and len({repr(values.get(key, ...)) for values in known}) > 1
  ]
  yield from sorted(several, key=_rank)


def _rank(key):
  """Returns where a knob stands: label, training, watching, seed."""
  rank = {'label': 0, records.SEED: 3}
  return rank.get(key, 2 if key.startswith(_WATCHING) else 1)


def _short(keys):
  """Returns {key: its last word}, or whole keys where two share a word."""
  words = {key: key.removesuffix('.name').split('.')[-1] for key in keys}
  count = collections.Counter(words.values())
  return {key: w if count[w] == 1 else key for key, w in words.items()}


def _settings(runs, varied, short) -> list[Setting]:
  groups: dict[str, list[Summary]] = {}
  for run in runs:
    groups.setdefault(run.setting, []).append(run)
  named = [key for key in varied if key != records.SEED]
  trained = [key for key in named if not key.startswith(_WATCHING)]
  names = [_name(own[0], trained, short) for own in groups.values()]
  full = [_name(own[0], named, short) for own in groups.values()]
  return [
    Setting(name if names.count(name) == 1 else whole, own)
    for name, whole, own in zip(names, full, groups.values())
  ]


def _name(run, keys, short):
  """Returns what a setting is called: its label, or its knobs' values."""
  values = run.values
  told = keys[:1] if values.get('label') and 'label' in keys else keys
  words = [f'{short[key]} {_cell(values.get(key, ""))}' for key in told]
  return (', '.join(words) or 'all runs') if values else run.place.name


def _best(settings):
  """Returns the best settings: each with mean and range of its seeds."""
  found = []
  for setting in settings:
    values = [run.best.accuracy for run in setting.runs if run.best]
    if values:
      mean = sum(values) / len(values)
      found.append((mean, min(values), max(values), setting))
  return sorted(found, key=lambda each: -each[0])[:_BEST]


def _values(runs, key):
  """Returns {a knob's value: runs that have it}."""
  found = collections.Counter(
    _cell(run.values[key]) for run in runs if key in run.values
  )
  return [*found.items()]


def _shared(runs, varied):
  """Returns the knobs that all runs have alike, and not at their default."""
  known = [run.values for run in runs if run.values]
  return [
    (key, repr(value), repr(knob.default), knob.comment)
    for key, value in (known[0] if known else {}).items()
    if (knob := knobs.KNOBS.get(key))
    and key not in varied
    and value != knob.default
  ]


def _cell(value: Any) -> str:
  """Writes a knob's value."""
  text = f'{value:g}' if type(value) is float else str(value)
  return printable(text) or "''"


def _metrics(runs, target) -> dict[str, list[float | None]]:
  """Returns {metric: a number of each run, None where there is none}."""
  found = {_CHOSEN: [r.best.accuracy if r.best else None for r in runs]}
  if target:
    found[f'steps to {target}'] = [r.steps_to for r in runs]
  lasts = [run.last for run in runs]
  for name in summaries.ordered(name for last in lasts for name in last):
    found[f'{name}, last'] = [last.get(name) for last in lasts]
  for key, title in (
    ('seconds', 'seconds of training'),
    ('steps_per_second', 'steps a second'),
  ):
    found[title] = [run.status.get(key) for run in runs]
  return {
    name: [None if v is None else vega.number(v) for v in values]
    for name, values in found.items()
    if any(v is not None for v in values)
  }


def _summary(runs, settings, varied, short, target) -> Mapping[str, Any]:
  """Returns what the page's script draws."""
  place = {id(r): k for k, s in enumerate(settings) for r in s.runs}
  metrics = _metrics(runs, target)
  return {
    'knobs': [
      {'key': key, 'short': short[key], 'numeric': _is_numeric(runs, key)}
      for key in varied
    ],
    'metrics': [printable(name) for name in metrics],
    'settings': [setting.name for setting in settings],
    'points': [
      {
        'name': printable(run.place.name),
        'page': run.place.page,
        'state': printable(run.state),
        'setting': place[id(run)],
        'knobs': [_plain(run.values.get(key)) for key in varied],
        'metrics': [values[k] for values in metrics.values()],
      }
      for k, run in enumerate(runs)
    ],
    'curves': _curves(settings),
  }


def _is_numeric(runs, key):
  values = [run.values[key] for run in runs if key in run.values]
  return all(type(value) in (int, float) for value in values)


def _plain(value):
  """Returns a knob's value for JSON: a finite number as one, else its text."""
  if type(value) in (int, float) and np.isfinite(value):
    return value
  return None if value is None else _cell(value)


def _curves(settings):
  """Returns {metric: curves of settings}, thinned so that all are few."""
  names = summaries.ordered(
    name for setting in settings for run in setting.runs for name in run.curves
  )
  share = _BUDGET // max(len(names) * len(settings), 1)
  most = min(max(share, _SHORTEST), _LONGEST)
  found: dict[str, list[dict[str, Any]]] = {}
  for name in names:
    for k, setting in enumerate(settings):
      several = [r.curves[name] for r in setting.runs if name in r.curves]
      if not several:
        continue
      line = lines.thinned(lines.together(several), most)
      if not len(line.steps):
        continue
      one = {
        'setting': k,
        'x': line.steps.tolist(),
        'y': [*map(vega.number, line.middle)],
      }
      if (line.low < line.high).any():
        one |= {'a': [*map(vega.number, line.low)]}
        one |= {'b': [*map(vega.number, line.high)]}
      found.setdefault(printable(name), []).append(one)
  return found
