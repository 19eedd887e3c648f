"""Contestants of `benchmarks.sweep`, each measured in its own processes."""

import argparse
import contextlib
import importlib.util
import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import jax
import numpy as np
import platformdirs

from bnresearch.assembly import assemble
from bnresearch.machine import process
from bnresearch.sweeps import local
from bnresearch.sweeps.points import Point, points
from bnresearch.sweeps.vectorized import launcher as vectorized
from bnresearch.terminal import Console
from configs import figure1

STUDIES = 'rates', 'figure1'
RATES = tuple(0.01 * 2**k for k in range(8))
TITLES = {
  'vectorized': 'bnresearch, vectorized',
  'sequential': 'bnresearch, sequential',
  'uncached': 'the same, no cache of programs',
  'processes': 'bnresearch, process per core',
  'torch': 'PyTorch, sequential',
  'torch_processes': 'PyTorch, process per core',
}
TRAINING = 'scanned'  # the program of `training/feed.py` that trains
_FINISHED = re.compile(
  r'Finished (XLA compilation of|jaxpr to MLIR module conversion) '
  r'jit\((\S+)\) in (\S+) sec'
)
_HIT = re.compile(r"Persistent compilation cache hit for 'jit_(\w+)'")


def points_of(args: argparse.Namespace) -> list[Point]:
  """Returns the points: those of configs/figure1.py, as a user trains them.

  Or, for the study of rates, 8 learning rates, each with seeds 0, 1, ... They
  have no probes and only the last checkpoint, as other contestants have none.

  Raises:
    ConfigError: no run can have so many steps.
  """
  arg = f'data={args.data},steps={args.steps}'
  if args.study == 'figure1':
    return points(figure1.get_config(f'{arg},init=both'), {})
  config = figure1.get_config(arg)
  with config.unlocked():
    config.sweep = tuple(
      {'optim.learning_rate': RATES[k % len(RATES)], 'seed': k // len(RATES)}
      for k in range(args.points)
    )
  return points(
    config, {'probes.names': '()', 'checkpoint.every': str(args.steps)}
  )


def play(name: str, args: argparse.Namespace) -> dict[str, float | str]:
  """Trains the points by a launcher, in this process or its children.

  Returns:
    Seconds from the launcher's start to its end, including compilations, and
    how the points were distributed; or why they were skipped.
  """
  chosen, processes = points_of(args), 1
  console = Console(file=sys.stderr)
  if name == 'processes':
    processes = min(process.cores(), len(chosen))
    if jax.default_backend() != 'cpu':
      return {'skipped': 'the processes would share one accelerator'}
  began = time.monotonic()
  with tempfile.TemporaryDirectory() as folder:
    workdir = pathlib.Path(folder)
    if name == 'vectorized':
      status = vectorized.run(chosen, workdir, console)
    else:
      status = local.run(chosen, workdir, processes, console)
    seconds = time.monotonic() - began
  if set(status.values()) != {'done'}:
    raise RuntimeError(f'Not all points are done: {status}.')
  return {
    'train_s': seconds,
    'processes': processes,
    'platform': jax.default_backend(),
    'devices': jax.device_count(),
    'threads': int(os.environ['NPROC']),
  }


PLAYERS = ('vectorized', 'sequential', 'processes')


@contextlib.contextmanager
def ready(args: argparse.Namespace) -> Iterator[pathlib.Path]:
  """Prepares the data, and yields a file of it for PyTorch."""
  data = assemble(points_of(args)[0].config).data
  arrays = {}
  for split, prefix in (('train', ''), ('test', 'test_')):
    source = data.source(split)
    images = (source.images_NHWC > 127.5).astype(np.float32)
    arrays[f'{prefix}x'] = images.reshape(len(source), -1)
    arrays[f'{prefix}y'] = source.labels_N.astype(np.int64)
  with tempfile.TemporaryDirectory() as folder:
    file = pathlib.Path(folder, 'data.npz')
    np.savez(file, **arrays)
    yield file


def measure(
  name: str, args: argparse.Namespace, data: pathlib.Path
) -> dict[str, float | str]:
  """Plays one contestant in a fresh process, without compiled programs.

  Args:
    name: one of `TITLES`.
    args: data, steps and points.
    data: see `ready`.

  Returns:
    whole_s, from the start of the process to its end; train_s, of training
    without compilations; processes; platform; for JAX also devices and the
    result of `compilations`. Or {'skipped': why}.
  """
  if name.startswith('torch'):
    if args.study != 'rates':
      return {'skipped': 'PyTorch trains the rates only'}
    if not importlib.util.find_spec('torch'):
      return {'skipped': 'PyTorch is not installed'}
    processes = process.cores() if name == 'torch_processes' else 1
    rates = ','.join(str(RATES[k % len(RATES)]) for k in range(args.points))
    command = ['-m', 'benchmarks._sweep_torch', str(data)]
    command += [f'--rates={rates}', f'--steps={args.steps}']
    command += [f'--processes={processes}']
    result, _ = _timed(command, {})
    return {'processes': processes, **result}
  player = 'sequential' if name == 'uncached' else name
  command = ['-m', 'benchmarks.sweep', f'--play={player}']
  command += [f'--data={args.data}', f'--steps={args.steps}']
  command += [f'--points={args.points}', f'--study={args.study}']
  with _empty_cache() as folder:
    result, log = _timed(
      command,
      {
        'XDG_CACHE_HOME': str(folder),
        # Where the user has set another, it would have compiled programs.
        'JAX_COMPILATION_CACHE_DIR': str(pathlib.Path(folder, 'programs')),
        'JAX_ENABLE_COMPILATION_CACHE': str(name != 'uncached').lower(),
        'JAX_LOG_COMPILES': 'true',
      },
    )
  if 'skipped' in result:
    return result
  found = compilations(log)
  if not found['training_programs']:
    raise RuntimeError(f"JAX's log has no compilation of jit({TRAINING}).")
  result['train_s'] -= found['compile_s'] / result['processes']
  return {**result, **found}


def compilations(log: str) -> dict[str, float]:
  """Returns what JAX's log says about compilations, over all processes.

  Returns:
    programs: those compiled, not found in the cache of programs.
    training_programs: those of them that train.
    compile_s: seconds of lowering, and of compiling or finding.
  """
  finished, hits = _FINISHED.findall(log), _HIT.findall(log)
  names = [name for what, name, _ in finished if what.startswith('XLA')]
  return {
    'programs': len(names) - len(hits),
    'training_programs': names.count(TRAINING) - hits.count(TRAINING),
    'compile_s': sum(float(seconds) for _, _, seconds in finished),
  }


def _timed(command, environment):
  """Runs Python; returns the result it printed, with whole_s, and its log."""
  began = time.monotonic()
  child = subprocess.run(
    [sys.executable, *command],
    env={**os.environ, **environment},
    capture_output=True,
    text=True,
  )
  whole = time.monotonic() - began
  if child.returncode:
    raise RuntimeError(f'{" ".join(command)} failed:\n{child.stderr[-4000:]}')
  result = json.loads(child.stdout.splitlines()[-1])
  return (
    result if 'skipped' in result else {'whole_s': whole, **result}
  ), child.stderr


@contextlib.contextmanager
def _empty_cache():
  """Yields a cache folder with decoded data, but no compiled programs."""
  usual = platformdirs.user_cache_path('bnresearch')
  with tempfile.TemporaryDirectory() as folder:
    own = pathlib.Path(folder, 'bnresearch')
    own.mkdir()
    for entry in usual.glob('*.npz'):
      (own / entry.name).symlink_to(entry)
    yield folder
