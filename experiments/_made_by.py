"""What made a result, in words: device, date, commit, versions."""

from typing import Any

from experiments._scoreboard import count

_VERSIONS = ('python', 'jax', 'flax', 'optax', 'numpy')


def runs(result: dict[str, Any]) -> int:
  """Returns the number of a result's runs."""
  # Older results have only the times of their runs.
  return len(result.get('runs', result.get('seconds_per_run', ())))


def device(result: dict[str, Any]) -> str:
  """Returns a result's device and how many there are."""
  devices = result['devices']
  many = (
    f'{either(devices)} devices'
    if isinstance(devices, list)
    else count(devices, 'device')
  )
  return f'{either(result["device"])}, {many}'


def date(result: dict[str, Any]) -> str:
  """Returns the day of a result's last run, as 2026-11-30."""
  return either(result['date'])[:10]


def commit(result: dict[str, Any]) -> str:
  """Returns the commit that made the runs or, of old ones, the report."""
  if 'commit' in result:
    return either(result['commit'])
  return f'{result["reported_by_commit"]}, which made the report'


def versions(result: dict[str, Any]) -> str:
  """Returns the versions of what made a result."""
  return ', '.join(f'{k} {either(result[k])}' for k in _VERSIONS)


def either(value: Any) -> str:
  """Returns a value of the runs; where they differ, all their values."""
  return ' or '.join(map(str, value)) if isinstance(value, list) else str(value)
