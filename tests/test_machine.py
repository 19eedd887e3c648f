"""What a process knows of its machine before JAX starts."""

import importlib.metadata

import jax
import pytest

from bnresearch.engine import machine


@pytest.mark.parametrize(
  ('platforms', 'plugins', 'one'),
  [
    ('', [], False),
    ('', ['xla_cuda13'], True),
    ('cpu', ['xla_cuda13'], False),
    ('cuda,cpu', ['xla_cuda13'], True),
  ],
)
def test_an_accelerator_trains_one_point_at_a_time(
  platforms, plugins, one, monkeypatch
):
  monkeypatch.setattr(importlib.metadata, 'entry_points', lambda group: plugins)
  before = jax.config.jax_platforms
  jax.config.update('jax_platforms', platforms)
  try:
    expected = 1 if one else machine.cores()
    assert machine.points_at_a_time() == expected
  finally:
    jax.config.update('jax_platforms', before)
