"""Training from Python, as the command line does it: `train` and `sweep`.

import bnresearch as bnr

config = bnr.default_config()
config.norm.name = 'group'
run = bnr.train(config, 'runs/group')
steps, accuracy = run.metrics['test/accuracy']

configs = bnr.load_config('configs/figure1.py:seeds=3')
runs = bnr.sweep(configs, 'runs/figure1')  # {name of a point: its run}

The same call again continues what was interrupted, and opens what is done.
"""

import os
import pathlib
from collections.abc import Mapping

from bnresearch.inference.run import Run, open_run
from bnresearch.knobs import Config
from bnresearch.machine import process
from bnresearch.runs import run_directory
from bnresearch.sweeps import launch, local
from bnresearch.sweeps.points import points
from bnresearch.terminal import ConfigError, Console


def train(
  config: Config, path: str | os.PathLike[str], *, quiet: bool = False
) -> Run:
  """Trains a run in this process, or continues it; returns it, opened.

  A run that has diverged is a result too, and `run.status` says so. SIGTERM and
  SIGINT, which a notebook's stop button sends, save the run.

  Args:
    config: from `default_config` or `load_config`, without a sweep.
    path: the run directory, made if need be.
    quiet: whether to print no progress.

  Raises:
    ConfigError: lists every problem of the config.
    Refused: the directory is another run's, or in use.
    MissingData: the data set is not here.
    KeyboardInterrupt: it was interrupted, and saved.
    Exception: whatever else ended the run; the same call continues it.
  """
  path, chosen = pathlib.Path(path), points(config, {})
  if [point.name for point in chosen] != ['.']:
    raise ConfigError(
      f'sweep: has {len(chosen)} points. Use `sweep`, or set it to ().'
    )
  console = Console(quiet=quiet)
  result = local.run(chosen, path, 1, console, raises=True)
  if result['.'] not in run_directory.ENDED:
    raise KeyboardInterrupt(f'{path} was interrupted; the same call continues.')
  return open_run(path)


def sweep(
  config: Config,
  workdir: str | os.PathLike[str],
  *,
  launcher: str = 'local',
  processes: int = 0,
  at_once: int = 0,
  wait: bool = True,
  retry_failed: bool = False,
  quiet: bool = False,
) -> Mapping[str, Run]:
  """Trains all points of a config's sweep, or continues them.

  A point that fails does not stop the others; the reason is printed, and is in
  its run's status. Several processes import the calling script again, so it
  must start its work under `if __name__ == '__main__':`.

  Args:
    config: from `load_config`, or with a `sweep` of its own.
    workdir: the folder of the run directories.
    launcher: one of `sweeps.launch.LAUNCHERS`: local, vectorized, slurm.
    processes: local: points at a time; 0 for one per core, or one on an
      accelerator.
    at_once: vectorized: points in one program; 0 for as many as fit.
    wait: slurm: whether to follow the jobs to their end.
    retry_failed: whether to run failed points again.
    quiet: whether to print no progress.

  Returns:
    {name: run} of the points that have started.

  Raises:
    RuntimeError: points have not begun, such as after a process was killed.
    Exception: as `train`, except what ends a single point.
  """
  workdir, chosen = pathlib.Path(workdir), points(config, {})
  if launcher not in launch.LAUNCHERS:
    known = ', '.join(launch.LAUNCHERS)
    raise ConfigError(f'launcher = {launcher!r}: needs one of {known}.')
  options = launch.Options(
    launcher,
    processes or process.runs_at_a_time(),
    at_once,
    wait,
    retry_failed,
  )
  result = launch.run(chosen, workdir, Console(quiet=quiet), options)
  if 'preempted' in result.values():
    raise KeyboardInterrupt(
      f'{workdir} was interrupted; the same call continues.'
    )
  if waiting := [*result.values()].count('waiting'):
    raise RuntimeError(
      f'{workdir}: {waiting} of {len(chosen)} points have not begun, for the '
      'reasons that were printed; the same call continues.'
    )
  begun = [p for p in chosen if result[p.name] not in ('queued', 'refused')]
  return {p.name: open_run(p.directory(workdir)) for p in begun}
