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

  A run that has diverged is a result too, and `run.status` says so. SIGINT,
  such as a notebook's stop button, and SIGTERM save it.

  Args:
    config: from `default_config` or `load_config`, without a sweep.
    path: of the run directory, made if it is not there.
    quiet: whether nothing is printed of how far it is.

  Raises:
    ConfigError: lists every problem of the config.
    Refused: the directory is another run's, or in use.
    MissingData: the data set is not here.
    KeyboardInterrupt: it was interrupted, and saved.
    Exception: whatever else has ended the run, which the same call continues.
  """
  path, chosen = pathlib.Path(path), points(config, {})
  if [point.name for point in chosen] != ['.']:
    raise ConfigError(
      [f'sweep: has {len(chosen)} points. Use `sweep`, or set it to ().']
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

  A point that fails does not stop the others: why is printed, and in its run's
  status. Several processes import a script again: it must begin its work below
  `if __name__ == '__main__':`.

  Args:
    config: from `load_config`, or with a `sweep` of its own.
    workdir: the folder of their run directories.
    launcher: one of `sweeps.launch.LAUNCHERS`: local, vectorized, slurm.
    processes: local: points at a time; 0 for one a core, on an accelerator one.
    at_once: vectorized: points in a program; 0 for as many as fit.
    wait: slurm: whether to follow the jobs to their end.
    retry_failed: whether points run again whose runs have failed.
    quiet: whether nothing is printed of how far they are.

  Returns:
    {name: run} of the points that have begun.

  Raises:
    Exception: as `train`, but for what ends a point alone.
  """
  workdir, chosen = pathlib.Path(workdir), points(config, {})
  if launcher not in launch.LAUNCHERS:
    known = ', '.join(launch.LAUNCHERS)
    raise ConfigError([f'launcher = {launcher!r}: needs one of {known}.'])
  options = launch.Options(
    launcher,
    processes or process.runs_at_a_time(),
    at_once,
    wait,
    retry_failed,
  )
  result = launch.run(chosen, workdir, Console(quiet=quiet), options)
  if {'waiting', 'preempted'} & {*result.values()}:
    raise KeyboardInterrupt(
      f'{workdir} was interrupted; the same call continues.'
    )
  begun = [p for p in chosen if result[p.name] not in ('queued', 'refused')]
  return {p.name: open_run(p.directory(workdir)) for p in begun}
