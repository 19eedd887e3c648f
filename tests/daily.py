"""Which of all values of a product are tried each day."""

import pytest


def some(values, *each_day):
  """Returns the values, those that are not of each day marked as `grid`."""
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
