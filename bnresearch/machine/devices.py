"""Which devices JAX uses here, in words."""

import importlib.metadata
import importlib.util
import os

import jax


def plugins() -> list[str]:
  """Returns the names of JAX's plugins for accelerators that are installed.

  JAX is not started to know them.
  """
  found = importlib.metadata.entry_points(group='jax_plugins')
  libtpu = ['tpu'] if importlib.util.find_spec('libtpu') else []
  return sorted({*(plugin.name for plugin in found), *libtpu})


def described() -> str:
  """Returns the number and the kind of the devices, in words."""
  device, count = jax.devices()[0], jax.device_count()
  kind = 'CPU' if device.platform == 'cpu' else device.device_kind
  return f'{count} {kind} device{"s" * (count > 1)}'


def unused() -> str:
  """Returns a warning of an installed plugin that JAX does not use, or ''.

  Setting JAX_PLATFORMS is a choice, which is not questioned.
  """
  installed = plugins()
  chosen = os.environ.get('JAX_PLATFORMS') or jax.config.jax_platforms
  if not installed or chosen or jax.devices()[0].platform != 'cpu':
    return ''
  return (
    f"Warning: JAX's plugin {', '.join(installed)} is installed, but JAX uses "
    'the CPU. JAX_PLATFORMS=cuda (or tpu) makes it say why; JAX_PLATFORMS=cpu '
    'chooses the CPU, without this warning.'
  )
