"""A profile as tables: where the time of a training step goes."""

import collections
import pathlib

from rich.table import Table

from bnresearch.inference.profiling import PASSES, Profile, profile
from bnresearch.inference.run import Run
from bnresearch.runs import json_file
from bnresearch.terminal import say, wide

_LAYERS = 15  # that take the most time


def show(run: Run, folder: pathlib.Path, steps: int) -> None:
  """Profiles a run's training step, prints tables, and writes profile.json.

  Args:
    run: opened.
    folder: for the trace and the file.
    steps: how many are timed, and then traced.
  """
  found = profile(run, folder, steps)
  busy = sum(found.operations.values())
  say(
    f'{run.path}: a training step of {run.config.train.batch_size} examples, '
    f'of {steps} on {found.devices} device{"s" * (found.devices > 1)}.'
  )
  table = Table('a step', 'ms', 'share')
  for name, seconds in (
    ('all', found.wall),
    ('waiting for the host to make batches', found.waiting),
    ('operations on a device, traced', busy),
  ):
    table.add_row(name, f'{1000 * seconds:.2f}', f'{seconds / found.wall:.0%}')
  wide().print(table)
  wide().print(_by(found, 'kind', len(found.operations)))
  wide().print(_by(found, 'layer', _LAYERS))
  json_file.write(folder / 'profile.json', _plain(found))
  say(
    f'Wrote {folder / "profile.json"}. Beside it lies the trace, for XProf and '
    'TensorBoard; perfetto_trace.json.gz in it is for Perfetto.'
  )


def _by(found: Profile, field: str, most: int) -> Table:
  """Returns a table by a field of the operations, the longest times first."""
  sums = collections.defaultdict(lambda: dict.fromkeys(PASSES, 0.0))
  for operation, seconds in found.operations.items():
    sums[getattr(operation, field)][operation.direction] += seconds
  total = sum(found.operations.values())
  ordered = sorted(sums.items(), key=lambda item: -sum(item[1].values()))
  table = Table(field, *(f'{name}, ms' for name in PASSES), 'share')
  rest = [row for _, row in ordered[most:]]
  rows = [(name or 'outside of layers', row) for name, row in ordered[:most]]
  if rest:
    together = {name: sum(row[name] for row in rest) for name in PASSES}
    rows.append((f'{len(rest)} others', together))
  for name, row in rows:
    share = sum(row.values()) / total if total else 0.0
    times = (f'{1000 * row[name]:.2f}' for name in PASSES)
    table.add_row(name, *times, f'{share:.0%}')
  return table


def _plain(found):
  rows = [
    {**operation._asdict(), 'seconds': seconds}
    for operation, seconds in sorted(
      found.operations.items(), key=lambda item: -item[1]
    )
  ]
  measured = found._replace(folder=str(found.folder))._asdict()
  return measured | {'operations': rows}
