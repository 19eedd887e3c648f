"""The page of `benchmarks.accelerator`: what was found, and what follows."""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks import _accelerator_answers as answers
from benchmarks._accelerator_items import ITEMS, Item

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; color: #1a1a1a;
  background: #fff; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.6rem; margin-bottom: 0; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .3rem; }
p { margin: .3rem 0; }
.small { color: #555; font-size: .85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; margin: .6rem 0;
  font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .6rem; border-bottom: 1px solid #ddd;
  text-align: left; vertical-align: top; }
th { font-weight: 600; border-bottom: 2px solid #999; white-space: nowrap; }
td.number, th.number { text-align: right; white-space: nowrap; }
code, pre { font: .82rem/1.4 ui-monospace, monospace; }
code { overflow-wrap: anywhere; }
.note code { white-space: nowrap; }
pre { background: #f5f5f5; padding: .7rem; overflow-x: auto; }
.done { color: #14663a; } .late { color: #7a5200; } .failed { color: #a11212; }
.note { background: #fff6db; padding: .6rem .8rem; }
@media (prefers-color-scheme: dark) {
  body { color: #e6e6e6; background: #16181b; }
  .small { color: #aaa; } th, td { border-color: #444; }
  pre { background: #222529; } .note { background: #3a3115; }
  .done { color: #6fcf97; } .late { color: #e5b454; }
  .failed { color: #ff8a80; }
}
"""
# What a status is called, and its class; a status of the JSON file is a key.
_STATUSES = {
  'done': ('done', 'done'),
  'put off': ('put off', 'late'),
  'out of time': ('out of time', 'late'),
  'failed': ('failed', 'failed'),
  'left': ('not begun', 'late'),
}
# Keys of rows that say the same in every row, or are not for reading.
_HIDDEN = {'platform', 'kind', 'torch', 'limit_gb'}
_TITLES = {
  'compile_s': 'compile, s',
  'bytes': 'accessed, of x',
  'days': 'days of a seed',
  'first_call_s': 'first call, s',
  'first_step_s': 'first step, s',
  'images_per_s': 'images/s',
  'kept': 'kept, of x',
  'memory_gb': 'memory, GB',
  'ms_per_member_step': 'ms a step of a point',
  'ms_per_step': 'ms a step',
  'over_vectorized': 'over vectorized',
  'seconds_a_step': 's a step',
  'steps_per_s': 'steps/s',
  'temporary_params_first': 'or, gradients in another order',
  'temporary_x_first': 'temporary, of x',
  'time_of_flax': "of Flax's time",
  'trace_s': 'trace, s',
  'train_s': 'training, s',
  'training_programs': 'of them, that train',
  'whole_s': 'whole, s',
}
_PERCENT = {'of_peak', 'fraction_of_peak', 'of_copy'}


def page(measured: Mapping[str, Any]) -> str:
  """Returns a page in HTML that needs no other file.

  Args:
    measured: what the JSON file has: `items` by name, and where they ran.
  """
  items = measured['items']
  titles = 'item', 'question', 'found', 'what follows'
  lines = [
    '<!doctype html>',
    '<html lang="en"><head><meta charset="utf-8">',
    '<meta name="viewport" content="width=device-width, initial-scale=1">',
    f'<title>The first minutes: {_text(_device(measured))}</title>',
    f'<style>{_STYLE}</style></head><body>',
    f'<h1>The first minutes on {_text(_device(measured))}</h1>',
    f'<p class="small">{_text(_made_by(measured))}</p>',
    *_notes(measured),
    _table(titles, [_summary(item, items) for item in ITEMS]),
    *(line for item in ITEMS for line in _section(item, items)),
    '<p class="small">Written by <code>python -m benchmarks.accelerator'
    '</code>. docs/accelerators.md has every decision.</p>',
    '</body></html>',
  ]
  return '\n'.join(lines) + '\n'


def minutes(seconds: int) -> int:
  """Returns the --minutes with which an item of so many seconds begins."""
  return seconds // 60 + 1


def _device(measured):
  count = measured.get('devices', 1)
  of = measured.get('device', 'an accelerator')
  return f'{count} x {of}' if count > 1 else of


def _made_by(measured):
  names = ('date', 'python', 'jax', 'jaxlib', 'flax', 'bnresearch', 'commit')
  told = [f'{n} {measured[n]}' for n in names if measured.get(n)]
  return ', '.join(told) or 'No item has been measured.'


def _notes(measured):
  """Yields what a reader must know before the numbers."""
  if measured.get('dry_run'):
    yield '<p class="note">A dry run: no number here means anything.</p>'
  elif measured.get('platform') == 'cpu':
    yield (
      '<p class="note">Measured on a CPU: this tries the protocol. What '
      'follows is decided on an accelerator.</p>'
    )
  devices = {
    item['result']['device']
    for item in measured['items'].values()
    if (item.get('result') or {}).get('device')
  }
  if len(devices) > 1:
    told = _text(', '.join(sorted(devices)))
    yield f'<p class="note">Measured on several devices: {told}.</p>'
  waiting = [
    item.name
    for item in ITEMS
    if measured['items'].get(item.name, {}).get('status') != 'done'
  ]
  if waiting:
    longest = max(item.least for item in ITEMS if item.name in waiting)
    yield (
      f'<p class="note">{len(ITEMS) - len(waiting)} of {len(ITEMS)} items are '
      f'done. The same command goes on with {_text(", ".join(waiting))}; the '
      f'longest needs <code>--minutes={minutes(longest)}</code>.</p>'
    )


def _summary(item, items):
  """Returns the cells of an item's row in the first table, as HTML."""
  title = _text(item.name)
  if 'output' in items.get(item.name, {}):
    title = f'<a href="#{title}">{title}</a>'
  name = f'{title}<br>{_badge(item, items)}'
  found, follows = _answer(item, items)
  return name, *map(_text, (item.asks, found, follows))


def _answer(item: Item, items) -> tuple[str, str]:
  """Returns what was found and what follows, or why nothing was."""
  found = items.get(item.name)
  status = found['status'] if found else 'left'
  if status == 'done':
    return answers.of(item.name, items)
  if status == 'put off':
    return (
      f'Put off: it needs {item.least} s, and {found["left"]} s were left.',
      '',
    )
  if status == 'out of time':
    return f'Stopped after {found["seconds"]:.0f} s, without a result.', ''
  if status == 'failed':
    last = (found['output'].strip().splitlines() or ['It said nothing.'])[-1]
    follows = 'Mend this first.' if item.name == 'selftest' else 'Mend it.'
    return last, follows
  return '', ''


def _badge(item, items):
  status = items.get(item.name, {}).get('status', 'left')
  title, kind = _STATUSES[status]
  return f'<span class="{kind}">{title}</span>'


def _section(item, items):
  """Yields an item's part of the page; nothing if it has not run."""
  found = items.get(item.name)
  if not found or 'output' not in found:
    return
  yield f'<h2 id="{item.name}">{_text(item.asks)}</h2>'
  yield (
    f'<p class="small"><code>python -m {_text(found["command"])}</code>, '
    f'{found["seconds"]:.0f} s, {_badge(item, items)}</p>'
  )
  for text in _answer(item, items):
    yield f'<p>{_text(text)}</p>' if text else ''
  result = found.get('result') or {}
  if result.get('rows'):
    yield _rows(result['rows'])
  if result.get('claims'):
    yield _claims(result['claims'])
  output = _text(found['output'].strip())
  output = f'<pre>{output}</pre>' if output else ''
  if result:
    output = f'<details><summary>What it printed</summary>{output}</details>'
  yield output


def _rows(rows: Sequence[Mapping[str, Any]]) -> str:
  """Returns the rows of a benchmark as a table, a column for each key."""
  keys = list(dict.fromkeys(k for r in rows for k in r))
  keys = [k for k in keys if k not in _HIDDEN]
  titles = [_TITLES.get(k, k.replace('_', ' ')) for k in keys]
  return _table(titles, [[_cell(k, row.get(k)) for k in keys] for row in rows])


def _cell(key, value):
  if value is None:
    return ''
  if isinstance(value, float):
    form = '.1%' if key in _PERCENT else ',.0f' if value >= 1000 else '.3g'
    return _Number(format(value, form))
  if isinstance(value, int):
    return _Number(f'{value:,}')
  if isinstance(value, (list, tuple)):
    return ' x '.join(_text(part) for part in value)
  return _text(value)


class _Number(str):
  """A cell that stands on the right."""


def _claims(claims):
  return _table(
    ('claim', 'measured', 'verdict'),
    [[_text(c[k]) for k in ('claim', 'measured', 'verdict')] for c in claims],
  )


def _table(titles, rows):
  """Returns a table of cells that are HTML already; titles are text."""
  right = [
    any(isinstance(row[k], _Number) for row in rows) for k in range(len(titles))
  ]
  kind = lambda k: ' class="number"' if right[k] else ''
  head = ''.join(f'<th{kind(k)}>{_text(t)}</th>' for k, t in enumerate(titles))
  body = '\n'.join(
    '<tr>'
    + ''.join(f'<td{kind(k)}>{c}</td>' for k, c in enumerate(row))
    + '</tr>'
    for row in rows
  )
  return (
    f'<div class="scroll"><table><thead><tr>{head}</tr></thead>\n'
    f'<tbody>{body}</tbody></table></div>'
  )


def _text(value):
  return html.escape(str(value))
