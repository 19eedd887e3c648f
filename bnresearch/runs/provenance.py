"""Provenance: the code, versions and device that made a run's numbers."""

import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import subprocess
import tomllib
from typing import Any

import jax

from bnresearch import __version__
from bnresearch.runs import json_file

ROOT = pathlib.Path(__file__).parents[2]  # of a checkout, or site-packages
PACKAGES = ('jax', 'jaxlib', 'flax', 'optax', 'orbax-checkpoint', 'numpy')


def collect() -> dict[str, str | int]:
  """Returns date, versions, device, threads and commit, ready for JSON."""
  device = jax.devices()[0]
  return {
    'date': datetime.datetime.now(datetime.UTC).isoformat(timespec='seconds'),
    'python': platform.python_version(),
    'bnresearch': __version__,
    **{name: importlib.metadata.version(name) for name in PACKAGES},
    **random_numbers(),
    'device': _processor() if device.platform == 'cpu' else device.device_kind,
    'devices': jax.device_count(),
    'threads': int(os.environ.get('NPROC', os.cpu_count())),
    'commit': commit(),
  }


def random_numbers() -> dict[str, str | bool]:
  """Returns JAX's options that decide how it draws random numbers."""
  return {
    'jax_default_prng_impl': jax.config.jax_default_prng_impl,
    'jax_threefry_partitionable': jax.config.jax_threefry_partitionable,
  }


def check_random_numbers(path: pathlib.Path) -> None:
  """Raises Refused if a run has drawn random numbers in another way than now.

  What an earlier version did not note is not compared.
  """
  before = {k: v for session in sessions(path) for k, v in session.items()}
  for name, now in random_numbers().items():
    if before.get(name, now) != now:
      raise json_file.Refused(
        f'{path} drew its random numbers by {name} = {before[name]}; now it is '
        f'{now}, which draws others. Set it back by the environment variable '
        f'{name.upper()}={str(before[name]).lower()}, or use another --workdir.'
      )


def sessions(path: pathlib.Path) -> list[dict[str, Any]]:
  """Returns what each session of a run has noted, oldest first.

  [] if there is none, or if a loss of power has cut the file off.

  Raises:
    Refused: the file holds something else.
  """
  found = json_file.read(
    path / 'provenance.json',
    'a list with a dict of each session',
    lambda value: (
      isinstance(value, list) and all(isinstance(s, dict) for s in value)
    ),
  )
  return found or []


def _processor():
  """Returns the CPU's name where Linux tells it, else its architecture."""
  try:
    lines = pathlib.Path('/proc/cpuinfo').read_text().splitlines()
    name = next(line for line in lines if line.startswith('model name'))
    return name.partition(':')[2].strip()
  except (OSError, StopIteration):
    return platform.machine()


def commit(root: pathlib.Path = ROOT) -> str:
  """Returns the commit of this code, '+' if changed; '' where none is known.

  It is the commit of a checkout of this project, or the one that pip noted when
  it installed from one; never that of a repository around this code.

  Args:
    root: the folder that holds the package.
  """
  # The repository must have this file, by its path from the repository's top.
  file = 'bnresearch/runs/provenance.py'
  if _project(root) and _git(root, 'ls-files', '--full-name', file) == file:
    return _git(root, 'describe', '--always', '--dirty=+', '--exclude=*')
  installed = _installed(root)
  noted = installed and installed.read_text('direct_url.json')
  of_git = json.loads(noted).get('vcs_info', {}) if noted else {}
  return of_git.get('commit_id', '')


def _project(root):
  """Returns what pyproject.toml says of this project, {} if it is another's."""
  try:
    project = tomllib.loads((root / 'pyproject.toml').read_text())['project']
  except (OSError, ValueError, KeyError):
    return {}
  return project if project.get('name') == 'bnresearch' else {}


def _installed(root):
  """Returns what pip has noted of a package that lies in `root`, or None."""
  found = importlib.metadata.distributions(name='bnresearch', path=[str(root)])
  return next(iter(found), None)


def _git(root, *arguments):
  """Returns what git says in a folder; '' if it fails, or is not there."""
  # A git hook that started this process names another repository by these.
  environment = {k: v for k, v in os.environ.items() if k[:4] != 'GIT_'}
  try:
    done = subprocess.run(
      ['git', '-C', str(root), *arguments],
      capture_output=True,
      text=True,
      env=environment,
    )
  except OSError:
    return ''
  return done.stdout.strip()
