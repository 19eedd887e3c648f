"""Provenance: with which code, versions and device numbers were made."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
from typing import Any

import jax

PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def collect() -> dict[str, str | int]:
  """Returns date, versions, device, threads and commit, ready for JSON."""
  device = jax.devices()[0]
  return {
    'date': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
    'python': platform.python_version(),
    **{name: importlib.metadata.version(name) for name in PACKAGES},
    'device': _processor() if device.platform == 'cpu' else device.device_kind,
    'devices': jax.device_count(),
    'threads': int(os.environ.get('NPROC', os.cpu_count())),
    'commit': _commit(),
  }


def sessions(path: pathlib.Path) -> list[dict[str, Any]]:
  """Returns what each session of a run has noted, the first first.

  [] if there is none, or if a loss of power has cut the file off.
  """
  try:
    return json.loads((path / 'provenance.json').read_text())
  except (FileNotFoundError, ValueError):
    return []


def _processor():
  """Returns the CPU's name where Linux tells it, else its architecture."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    name = next(line for line in lines if line.startswith('model name'))
    return name.partition(':')[2].strip()
  except (OSError, StopIteration):
    return platform.machine()


def _commit():
  """Returns the commit of this checkout, '+' if changed; '' outside git."""
  git = ['git', '-C', str(pathlib.Path(__file__).parent)]
  try:
    described = subprocess.run(
      [*git, 'describe', '--always', '--dirty=+', '--exclude=*'],
      capture_output=True,
      text=True,
    )
  except FileNotFoundError:
    return ''
  return described.stdout.strip()
