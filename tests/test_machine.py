"""What a process knows of its machine before JAX starts."""

import importlib.metadata
import os

import jax
import pytest

from bnresearch.machine import process


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
  installed = [
    importlib.metadata.EntryPoint(name, 'module', 'jax_plugins')
    for name in plugins
  ]
  monkeypatch.setattr(
    importlib.metadata, 'entry_points', lambda group: installed
  )
  before = jax.config.jax_platforms
  jax.config.update('jax_platforms', platforms)
  try:
    expected = 1 if one else process.cores()
    assert process.runs_at_a_time() == expected
  finally:
    jax.config.update('jax_platforms', before)


@pytest.mark.parametrize(
  ('nproc', 'devices', 'expected'),
  [
    ('', 1, '4'),
    ('', 2, '8'),
    ('1', 1, '1'),  # a benchmark on one thread: one device waits for no other
    ('1', 2, '8'),
    ('64', 2, '64'),
    ('many', 1, '4'),
  ],
)
def test_devices_have_several_threads_each(
  nproc, devices, expected, monkeypatch
):
  monkeypatch.setenv('NPROC', nproc)
  process.give_threads(devices)
  assert os.environ['NPROC'] == expected
