"""What a process knows of its machine before JAX starts."""

import importlib.metadata
import os
import types

import jax
import pytest

from bnresearch.machine import memory, process


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


@pytest.mark.parametrize(('given', 'expected'), [(None, '1'), ('2', '2')])
def test_lapack_has_one_thread_unless_told_otherwise(
  given, expected, monkeypatch
):
  monkeypatch.setenv('OPENBLAS_NUM_THREADS', given or '')
  if given is None:
    monkeypatch.delenv('OPENBLAS_NUM_THREADS')
  process.calm_lapack()
  assert os.environ['OPENBLAS_NUM_THREADS'] == expected


@pytest.mark.parametrize(
  ('platform', 'stats', 'expected'),
  [
    ('gpu', {'bytes_limit': 3}, 6),
    ('gpu', {}, 0),  # as of the allocator 'platform'
    ('tpu', None, 0),
  ],
)
def test_memory_is_what_jax_may_take(platform, stats, expected):
  """Not the machine's, where an accelerator does not tell its own."""
  device = types.SimpleNamespace(platform=platform, memory_stats=lambda: stats)
  assert memory.of_machine([device] * 2) == expected


def test_memory_of_a_cpu_is_the_machines():
  assert memory.of_machine(jax.devices()) > 2**28
