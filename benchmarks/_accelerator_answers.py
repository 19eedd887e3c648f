"""What each item of `benchmarks.accelerator` has found, and what follows.

docs/accelerators.md has the same thresholds in words.
"""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

# How much faster than one run after the other: below, the vectorized launcher
# goes; our goal.
KEEP, GOAL = 1.5, 10.0
BANDWIDTH = 0.8  # share of a copy's: below, a Pallas kernel is worth trying
WAITS = 2.0  # a loop of one call a step over ours: below, ours waits too
DAYS = 14  # that a seed of Figure 2 may take

Items = Mapping[str, Mapping[str, Any]]


class Answer(NamedTuple):
  """What was found, and what follows from it, each in a sentence or two."""

  found: str
  follows: str


def of(name: str, items: Items) -> Answer:
  """Returns the answer of an item that is done.

  Args:
    name: of the item.
    items: all that has been measured, by name; some answers need others.
  """
  try:
    return _ANSWERS[name](items[name], items)
  except (LookupError, ValueError) as error:  # the rest is still worth reading
    return Answer(f'Its result lacks what is asked for: {error}.', 'Read it.')


def _selftest(item, items):
  last = (item['output'].strip().splitlines() or [''])[-1]
  return Answer(last, 'Results do not depend on the device.')


def _sweep(item, items):
  rows = _rows(item, 'contestant')
  ratio = _over(rows, 'sequential')
  if ratio is None:
    return Answer('The sequential runs are missing.', 'Nothing yet.')
  found = f'{ratio:.1f} times as fast as one run after the other'
  if torch := _over(rows, 'torch'):
    found += f', {torch:.1f} times as fast as PyTorch'
  if ratio >= GOAL:
    follows = f'The vectorized launcher stays: the goal of {GOAL:g} is reached.'
  elif ratio >= KEEP:
    follows = f'The vectorized launcher stays, short of its goal of {GOAL:g}.'
  else:
    follows = f'The vectorized launcher goes: it needed {KEEP:g}.'
  return Answer(f'{found}.', follows)


def _sweep_486(item, items):
  ours = _rows(item, 'contestant')['vectorized']['whole_s']
  mine = ours / item['result']['points']
  found = f'{ours:,.0f} s, {mine:.2g} s a point'
  others = _result(items, 'sweep')
  one = (
    {row['contestant']: row for row in others['rows']}.get('sequential', {})
    if others
    else {}
  )
  if 'whole_s' not in one:
    return Answer(f'{found}.', 'Item sweep, when it is done, says how much.')
  ratio = one['whole_s'] / others['points'] / mine
  found += f', {ratio:.1f} times as fast as a run of item sweep alone.'
  verb = 'stays' if ratio >= KEEP else 'goes'
  return Answer(found, f'For many points, the vectorized launcher {verb}.')


def _bn(item, items):
  ours = [r for r in item['result']['rows'] if r['layer'] == 'bnresearch']
  of_flax = max(row['time_of_flax'] for row in ours)
  found = f"Up to {of_flax:.2f} of Flax's time"
  shares = [row['of_copy'] for row in ours if 'of_copy' in row]
  if not shares:
    return Answer(f'{found}; a CPU is not compared with a copy.', '')
  found += f', at least {min(shares):.0%} of the copy bandwidth.'
  follows = (
    'No kernel of our own is needed.'
    if min(shares) >= BANDWIDTH
    else 'A Pallas kernel is worth trying; it stays if it saves 10%.'
  )
  return Answer(found, follows)


def _networks(item, items):
  rows = [row for row in item['result']['rows'] if 'ms' in row]
  if not rows:
    return Answer(_skipped(item), '')
  found = '; '.join(
    f'{_title(row)} {row["images_per_s"]:,.0f} images/s, '
    f'{row["of_peak"]:.0%} of the peak'
    for row in rows
  )
  ratios = _of_torch(items)
  if not ratios:
    return Answer(f'{found}.', 'The same in PyTorch decides.')
  told = ', '.join(f'{name} {ratio:.2f}' for name, ratio in ratios.items())
  slow = [name for name, ratio in ratios.items() if ratio > 1]
  follows = (
    f'Profile a step of {", ".join(slow)}: --mode=profile.'
    if slow
    else 'Nothing to mend.'
  )
  return Answer(f"{found}. Of compiled PyTorch's time: {told}.", follows)


def _figure1_points(item, items):
  rows = _rows(item, 'contestant')
  ratios = {n: _over(rows, n) for n in ('sequential', 'processes')}
  ratios = {n: r for n, r in ratios.items() if r}
  if not ratios:
    return Answer('The local launcher is missing.', 'Nothing yet.')
  best = min(ratios.values())
  found = f"The local launcher takes {best:.2f} times vectorized's time."
  which = 'vectorized' if best > 1 else 'local'
  return Answer(found, f'For a few points, --launcher={which} is the faster.')


def _figure1(item, items):
  rows = _rows(item, 'contestant')
  ours = rows['bnresearch']['train_s']
  ratios = {
    name: row['train_s'] / ours
    for name, row in rows.items()
    if name != 'bnresearch' and 'train_s' in row
  }
  told = ', '.join(f'{name} {r:.1f}' for name, r in ratios.items())
  waits = ratios['flax-style loop'] < WAITS
  follows = (
    'Our loop waits for the host as well: profile it, --mode=profile.'
    if waits
    else 'Our loop does not wait for the host.'
  )
  return Answer(f'Time over ours: {told}.', follows)


def _input(item, items):
  ours, cores = (item['result'][k] for k in ('photographs_per_s', 'cores'))
  found = f'{ours:,.0f} photographs a second, {cores} cores.'
  networks = _result(items, 'networks')
  speeds = {
    row['network']: row['images_per_s']
    for row in (networks or {}).get('rows', ())
    if 'images_per_s' in row
  }
  if not speeds:
    return Answer(found, 'Item networks, when it is done, says who waits.')
  slow = [name for name, speed in speeds.items() if speed > ours]
  if not slow:
    return Answer(found, 'No network waits for data.')
  return Answer(
    found, f'{", ".join(slow)}: training waits for data, unless it is decoded.'
  )


def _figure2(item, items):
  rows = item['result']['rows']
  days = sum(row['days'] for row in rows)
  steps = [row['steps_per_s'] for row in rows]
  time = f'{days:,.3g} days' if days > 2 else f'{24 * days:,.3g} hours'
  found = (
    f'{min(steps):,.3g} to {max(steps):,.3g} steps/s; a seed takes {time}.'
  )
  within = 'within' if days <= DAYS else 'out of'
  return Answer(found, f'It is {within} reach: at most {DAYS} days a seed.')


def _largest(item, items):
  rows = [row for row in item['result']['rows'] if 'largest_batch' in row]
  if not rows:
    return Answer(_skipped(item), '')
  found = ', '.join(f'{r["network"]} {r["largest_batch"]:,}' for r in rows)
  return Answer(
    f'{found}, in {rows[0]["limit_gb"]:,.3g} GB.',
    'Larger batches need train.microbatches or train.remat.',
  )


def _folding(item, items):
  ratios = [
    row['of with BN']
    for row in item['result']['rows']
    if row['contestant'] == 'folded'
  ]
  told = ', '.join(f'{ratio:.2f}' for ratio in ratios)
  return Answer(
    f'Time over that with batch norms: {told}.',
    'Folding pays here.' if max(ratios) < 0.95 else 'Folding is for export.',
  )


def _runs(item, items):
  claims = item['result']['claims']
  held = sum(all(claim['holds']) for claim in claims)
  found = f'{held} of {len(claims)} claims hold with one seed.'
  return Answer(found, 'Three seeds are a result: experiments/README.md.')


_ANSWERS: dict[str, Callable[[Mapping[str, Any], Items], Answer]] = {
  'selftest': _selftest,
  'sweep': _sweep,
  'sweep_486': _sweep_486,
  'bn': _bn,
  'bn_bfloat16': _bn,
  'networks': _networks,
  'networks_torch': _networks,
  'largest_batch': _largest,
  'figure1_points': _figure1_points,
  'figure1': _figure1,
  'input': _input,
  'figure2_small': _figure2,
  'figure2_paper': _figure2,
  'figure2_runs': _runs,
  'folding': _folding,
}


def _rows(item, key):
  return {row[key]: row for row in item['result']['rows']}


def _result(items, name):
  return items.get(name, {}).get('result')


def _over(rows, name):
  """Returns a contestant's whole time over vectorized's, None if missing."""
  return rows.get(name, {}).get('over_vectorized')


def _skipped(item):
  why = {row['skipped'] for row in item['result']['rows'] if 'skipped' in row}
  return '; '.join(sorted(why)) + '.'


def _title(row):
  eager = {'torch': ', eager', 'torch_compiled': ', compiled'}
  return row['network'] + eager.get(row['contestant'], '')


def _of_torch(items):
  """Returns {network: our time of a step over compiled PyTorch's}."""
  found = {
    (row['network'], row['contestant']): row['ms']
    for name in ('networks', 'networks_torch')
    for row in (_result(items, name) or {}).get('rows', ())
    if 'ms' in row
  }
  return {
    network: ms / found[network, 'torch_compiled']
    for (network, who), ms in found.items()
    if who == 'bnresearch' and (network, 'torch_compiled') in found
  }
