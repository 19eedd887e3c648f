"""What all tests share: eight devices, a scratch home, the original data."""

import gc
import json
import os
import pathlib
import resource
import sys
import tempfile
from unittest import mock

import jax
import numpy as np
import pytest

from bnresearch import lookup
from bnresearch.inference.run import Run
from bnresearch.machine import process
from bnresearch.runs import config_file
from bnresearch.runs.logbook import Logbook
from configs import default
from tests import programs, slurm_cluster

# Eight devices on the CPU, also where there is a GPU, so that the tests are the
# same everywhere. A subprocess inherits the platform by the environment.
jax.config.update(
  'jax_platforms', os.environ.setdefault('JAX_PLATFORMS', 'cpu')
)
jax.config.update('jax_num_cpu_devices', 8)
# JAX reads the number of its threads as it starts. A subprocess takes its own.
with mock.patch.dict(os.environ):
  process.give_threads(8)
  jax.devices()
# Most programs run once here: compiling is what takes the time. Those of
# subprocesses, so of whole runs, are as users have them.
jax.config.update('jax_disable_most_optimizations', True)
# Garbage collection takes a fifth of the time of tracing by default.
gc.set_threshold(100_000)
# An accidental broadcast of (N,) against (N, C) is an error here.
jax.config.update('jax_numpy_rank_promotion', 'raise')

# Keras, which some tests compare with, reads it when it is imported.
os.environ.setdefault('KERAS_BACKEND', 'jax')

# Prepared data, compiled programs and Keras's settings go to a folder of this
# test session, not to the user's home. The workers of pytest-xdist inherit it
# from the process that starts them, so that MNIST is prepared once for all.
_scratch = None
if 'PYTEST_XDIST_WORKER' not in os.environ:
  _scratch = tempfile.TemporaryDirectory(
    prefix='bnresearch-tests-', ignore_cleanup_errors=True
  )
  os.environ['TFDS_DATA_DIR'] = f'{_scratch.name}/tensorflow_datasets'
  os.environ['XDG_CACHE_HOME'] = f'{_scratch.name}/cache'
  os.environ['KERAS_HOME'] = f'{_scratch.name}/keras'
  # All programs, however small: there are thousands. Workers and subprocesses
  # have it from the environment; see tests/programs.py.
  os.environ['JAX_COMPILATION_CACHE_DIR'] = f'{_scratch.name}/programs'
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
  os.environ['JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES'] = '-1'
  # With these, which are of GPUs, the folder's name enters each program's.
  os.environ['JAX_PERSISTENT_CACHE_ENABLE_XLA_CACHES'] = 'none'
_programs = pathlib.Path(os.environ['JAX_COMPILATION_CACHE_DIR'])
jax.config.update('jax_compilation_cache_dir', str(_programs))
jax.config.update('jax_persistent_cache_min_compile_time_secs', 0.0)
jax.config.update('jax_persistent_cache_min_entry_size_bytes', -1)
jax.config.update('jax_persistent_cache_enable_xla_caches', 'none')

_memory = programs.Memory()
_peaks = {}


def _kept(config):
  """Returns where programs are kept between sessions; None without a cache."""
  cache = getattr(config, 'cache', None)
  return pathlib.Path(cache.mkdir('programs')) if cache and _scratch else None


def pytest_configure(config):
  """Gives the session the programs that earlier ones compiled."""
  if folder := _kept(config):
    programs.lend(folder, _programs)


def pytest_unconfigure(config):
  """Keeps the session's programs; removes its scratch folder."""
  if folder := _kept(config):
    programs.keep(_programs, folder)
  if _scratch:
    _scratch.cleanup()


# What takes minutes begins first, so that no worker waits for it at the end.
_FIRST = (
  *('knobs', 'experiments', 'norms', 'models', 'hosts', 'families', 'main'),
  *('benchmarks', 'survival', 'selftest', 'notebook', 'remat', 'accumulation'),
  *('slurm', 'probes', 'engine', 'zoo', 'convolution', 'conventions'),
)


def pytest_collection_modifyitems(items):
  """Puts the files that take longest first; the others stay as they are."""
  rank = {f'test_{name}.py': n for n, name in enumerate(_FIRST)}
  items.sort(key=lambda item: rank.get(item.path.name, len(rank)))


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown():
  """Drops compiled programs once there are many."""
  _memory.check()


def pytest_sessionfinish(session):
  """Notes the peak memory of this process and of its children, in GB."""
  unit = 1 if sys.platform == 'darwin' else 1024
  peak = [
    resource.getrusage(who).ru_maxrss * unit / 1e9
    for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
  ]
  worker = os.environ.get('PYTEST_XDIST_WORKER')
  if worker:
    session.config.workeroutput['peak'] = peak
  _peaks.setdefault(worker or 'main', peak)


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node):
  """Notes a worker's peak memory; a crashed worker has none."""
  if peak := getattr(node, 'workeroutput', {}).get('peak'):
    _peaks[node.gateway.id] = peak


def pytest_terminal_summary(terminalreporter):
  """Says how much memory the tests took."""
  of_all = ', '.join(
    f'{name} {own:.1f} GB (its largest child {child:.1f})'
    for name, (own, child) in sorted(_peaks.items())
  )
  terminalreporter.write_line(f'Peak of memory: {of_all}')


@pytest.fixture(scope='session')
def originals():
  """Returns a function from a data set's name to the folder of its originals.

  It skips the test if they are not on this machine.
  """

  def folder(name: str) -> pathlib.Path:
    root = os.environ.get('BNRESEARCH_DATA_DIR')
    if not root:
      pytest.skip(f'needs BNRESEARCH_DATA_DIR, a folder that holds {name}/')
    path = pathlib.Path(root, name)
    files = lookup.find('data', name).FILES
    missing = [f for f in files if not (path / f).exists()]
    if missing:
      pytest.skip(f'BNRESEARCH_DATA_DIR lacks {name}/{missing[0]}')
    return path

  return folder


@pytest.fixture(scope='session')
def slurm():
  """Returns a SLURM of one node, this machine; see tests/slurm_cluster.py.

  `slurm.run('srun', '-n', '2', ...)` runs a command as two processes. It skips
  the test where SLURM is not installed.
  """
  if why := slurm_cluster.missing():
    pytest.skip(why)
  with (
    tempfile.TemporaryDirectory(prefix='slurm-') as folder,
    slurm_cluster.running(pathlib.Path(folder)) as cluster,
  ):
    yield cluster


@pytest.fixture(scope='session')
def assert_close():
  """Returns a comparison of two trees of arrays, or of two arrays.

  The tolerance is relative to the largest expected value of each array: next
  to sums of large terms, a rounding error in a zero is no error.
  """

  def one(actual, expected, rtol):
    expected = np.asarray(expected, np.float64)
    np.testing.assert_allclose(
      np.asarray(actual, np.float64),
      expected,
      rtol=rtol,
      atol=rtol * np.abs(expected).max(initial=0),
    )

  def compare(actual, expected, rtol):
    jax.tree.map(lambda a, e: one(a, e, rtol), actual, expected)

  return compare


@pytest.fixture
def recorded(tmp_path):
  """Makes run directories whose files say what the test wants."""

  def make(name, config=None, status='done', **series):
    path = tmp_path / name
    path.mkdir(parents=True)
    about = {'image_shape': [28, 28, 1], 'examples': {'test': 10_000}}
    whole = default.get_config()
    with whole.unlocked():
      whole.update(config or {})
    for file, content in (
      ('config', json.loads(config_file.to_json(whole))),
      ('status', {'status': status}),
      ('data', about),
      ('class_names', list('0123456789')),
    ):
      (path / f'{file}.json').write_text(json.dumps(content))
    book = Logbook(path / 'metrics.jsonl')
    for k, values in enumerate(zip(*series.values())):
      book.write(100 * k, dict(zip(series, values)))
    return Run(path)

  return make
