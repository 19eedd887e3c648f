"""Which values of a product the daily tests try."""

import pytest


def some(values, *each_day):
  """Returns the values, with those that are not daily marked as `grid`."""
  values = list(values)
  assert set(each_day) <= set(values), 'of each day, but of no day'
  return [
    value
    if value in each_day
    else pytest.param(
      *(value if isinstance(value, tuple) else (value,)), marks=pytest.mark.grid
    )
    for value in values
  ]
