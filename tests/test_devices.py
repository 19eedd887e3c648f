"""What is said of the devices: which are used, and which are not."""

import jax
import pytest

from bnresearch import main
from bnresearch.machine import devices

SMALL = [
  '--config=default',
  '--config.data.name=synthetic',
  '--config.train.steps=2',
  '--config.train.log_every=2',
  '--config.eval.every=2',
  '--config.checkpoint.every=2',
]


@pytest.fixture
def plugin(monkeypatch):
  """Makes it look as if a plugin for CUDA were installed."""
  monkeypatch.setattr(devices, 'plugins', lambda: ['cuda13'])
  monkeypatch.delenv('JAX_PLATFORMS', raising=False)
  previous = jax.config.jax_platforms
  jax.config.update('jax_platforms', None)
  yield
  jax.config.update('jax_platforms', previous)


def test_the_devices_are_described():
  assert devices.described() == f'{jax.device_count()} CPU devices'


def test_this_machine_has_no_unused_accelerator():
  assert devices.unused() == ''


def test_a_plugin_that_is_not_used_is_told(plugin, monkeypatch):
  assert 'plugin cuda13 is installed, but JAX uses the CPU' in devices.unused()
  monkeypatch.setenv('JAX_PLATFORMS', 'cpu')  # chosen
  assert devices.unused() == ''


@pytest.mark.parametrize('launcher', ['local', 'vectorized'])
def test_a_run_says_where_it_trains(launcher, tmp_path, capsys, plugin):
  where = f'--workdir={tmp_path}', f'--launcher={launcher}'
  one = ['--processes=1'] if launcher == 'local' else []
  assert main.main([*SMALL, *where, *one]) == 0
  shown = capsys.readouterr().out
  assert f'On {jax.device_count()} CPU devices.' in shown
  assert 'Warning: JAX' in shown
