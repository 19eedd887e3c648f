"""The SLURM launcher: the points of a sweep as one job array, by submitit.

A job trains one point. SLURM warns it, by SIGUSR2 before its time is over and
by SIGTERM before a preemption: the run saves itself at the end of its call,
and the job is queued again, to continue bit for bit. WORKDIR/slurm holds what
submitit writes, the logs among it, and which job has which point.
"""

import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from bnresearch.assembly import assemble
from bnresearch.config import ConfigError
from bnresearch.machine import process
from bnresearch.preflight import Machine
from bnresearch.runs import config_file, json_file, run_directory, session
from bnresearch.sweeps import progress, unfinished
from bnresearch.sweeps.points import Point
from bnresearch.terminal import Console

_JOBS = 'jobs.json'
_POLL_SECONDS = 5


class Job(NamedTuple):
  """What a job does, pickled by submitit, which calls it on the node.

  Attributes:
    config_json: of the point.
    path: its run directory.
  """

  config_json: str
  path: Path

  def __call__(self) -> str:
    """Trains the run, or continues it; returns its status.

    While the run trains, it catches the signals itself, and saves. Before and
    after, submitit does: it queues the job again at SIGUSR2, and lets SIGTERM
    pass. So a run that has stopped hands SIGUSR2 on, unless SLURM has ended
    the job: after `scancel` it shall not come again, and after `scontrol
    requeue` it does by itself. But one that stops in the grace of a preemption
    would count as completed.
    """
    config = config_file.from_json(self.config_json)
    process.prepare(config.slurm.cpus)
    status = session.train(assemble(config), self.path)
    if status == 'preempted' and _is_still_running():
      signal.raise_signal(signal.SIGUSR2)
    return status

  def checkpoint(self) -> Any:
    """Returns what submitit shall queue again: the same, as the disk has all.

    The return type is submitit's DelayedSubmission.
    """
    import submitit

    return submitit.helpers.DelayedSubmission(self)


def run(
  points: Sequence[Point],
  workdir: Path,
  console: Console,
  *,
  wait: bool = False,
) -> dict[str, str]:
  """Submits the points that neither have ended nor are queued or running.

  Args:
    points: of a sweep; the first one's config.slurm has the resources.
    workdir: made if it is not there; the nodes must see it at the same path.
    console: where jobs, progress and failures are printed.
    wait: whether to follow the jobs until all have ended. Ctrl-C stops
      following; the jobs go on.

  Returns:
    {name: state}; 'queued' for a point whose job has not begun.

  Raises:
    Refused: there is no SLURM, it refuses the job, or a directory was made by
      another config.
    ConfigError: the sweep varies resources.
  """
  _check(points)
  workdir = workdir.absolute()
  result = unfinished.states(points, workdir)
  left = [p for p in points if result[p.name] not in run_directory.ENDED]
  folder = workdir / run_directory.SLURM
  if left:
    parts = unfinished.check(left, _of_a_job(left[0].config.slurm))
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / '.lock'):
      jobs = active(workdir)
      todo = [
        p for p in left if p.name not in jobs and result[p.name] != 'running'
      ]
      if len(todo) < len(left):
        there = f'{len(left) - len(todo)} of {len(left)} points'
        console.print(f'{there}: queued or running already.')
      if todo:
        unfinished.tell({p.name: parts[p.name] for p in todo}, console)
        _tell(console, _submit(todo, workdir), folder)
  if left and wait:
    _follow(left, workdir, console)
  return with_queue(unfinished.states(points, workdir), workdir)


def _of_a_job(resources):
  """Returns the machine of a job; how large the memory of a GPU is, it tells.

  Each core of a job without a GPU is a device, see `process.prepare`.
  """
  if resources.gpus:
    return Machine(resources.gpus, 'gpu', 0)
  return Machine(resources.cpus, 'cpu', resources.memory * 2**30)


def with_queue(states: Mapping[str, str], workdir: Path) -> dict[str, str]:
  """Returns {name: state}, 'queued' where a job has a run that stands still.

  Raises:
    Refused: SLURM does not answer.
  """
  jobs = active(workdir)
  going = (*run_directory.ENDED, 'running')
  return {
    name: 'queued' if name in jobs and state not in going else state
    for name, state in states.items()
  }


def active(workdir: Path) -> dict[str, str]:
  """Returns {point name: job id} of the jobs that are queued or running.

  {} where nothing was submitted, or there is no SLURM.

  Raises:
    Refused: SLURM does not answer.
  """
  jobs = _noted(workdir)
  if not jobs or not shutil.which('squeue'):
    return {}
  there = set(_squeue('--me', '--array', '--format=%i').split())
  return {name: job for name, job in jobs.items() if job in there}


def _check(points):
  try:
    import submitit  # noqa: F401
  except ImportError:
    raise run_directory.Refused(
      '--launcher=slurm needs submitit, which is not installed: '
      "pip install 'bnresearch[slurm]'."
    ) from None
  if not shutil.which('sbatch'):
    raise run_directory.Refused(
      '--launcher=slurm: there is no sbatch here. Use a login node of a SLURM '
      'cluster, or --launcher=local.'
    )
  varied = [k for k in points[0].swept if k.startswith('slurm.')]
  if varied:
    raise ConfigError(
      [
        f'{k}: the jobs of an array are alike, no sweep varies it.'
        for k in varied
      ]
    )


def _submit(points, workdir):
  """Submits one array, or one job; notes and returns {point name: job id}."""
  import submitit

  resources = points[0].config.slurm
  folder = workdir / run_directory.SLURM
  executor = submitit.AutoExecutor(
    folder, cluster='slurm', slurm_max_num_timeout=resources.requeues
  )
  executor.update_parameters(**_parameters(resources, workdir.name))
  todo = [
    Job(config_file.to_json(p.config), p.directory(workdir)) for p in points
  ]
  try:
    with executor.batch():
      jobs = [executor.submit(job) for job in todo]
    ids = {point.name: job.job_id for point, job in zip(points, jobs)}
  except submitit.core.utils.FailedJobError as error:
    raise run_directory.Refused(
      f'SLURM refuses the job: {error} config.slurm has its resources.'
    ) from error
  noted = json.dumps(_noted(workdir) | ids, indent=2)
  json_file.replace(folder / _JOBS, noted)
  return ids


def _parameters(resources, name):
  """Returns config.slurm in submitit's words."""
  options = (option.partition('=') for option in resources.options)
  result = {
    'name': f'bnresearch-{name}',
    'nodes': 1,
    'tasks_per_node': 1,
    'cpus_per_task': resources.cpus,
    'timeout_min': resources.minutes,
    'slurm_signal_delay_s': resources.signal_delay,
    'slurm_array_parallelism': resources.array_parallelism,
    # Since SLURM 22.05 a step does not have its job's by itself.
    'slurm_srun_args': [f'--cpus-per-task={resources.cpus}'],
    'slurm_additional_parameters': {
      name: value if equals else True for name, equals, value in options
    },
  }
  if resources.memory:
    result['mem_gb'] = resources.memory
  if resources.gpus:
    result['gpus_per_node'] = resources.gpus
  if resources.partition:
    result['slurm_partition'] = resources.partition
  return result


def _tell(console, jobs, folder):
  array = next(iter(jobs.values())).partition('_')[0]
  some = 'a point' if len(jobs) == 1 else f'an array of {len(jobs)} points'
  for line in (
    f'Submitted job {array}: {some}. Logs: {folder}/{array}*.out and .err',
    'The same command with --status shows how far they are, squeue '
    f'--job={array} what SLURM does; scancel {array} ends all, saved.',
  ):
    console.print(line, soft_wrap=True)


def _follow(points, workdir, console):
  """Shows progress until no job of these points is left, or until Ctrl-C."""
  names = {point.name for point in points}
  try:
    with progress.shown(points, workdir, console):
      while _are_left(points, workdir) and names & active(workdir).keys():
        time.sleep(_POLL_SECONDS)
  except KeyboardInterrupt:
    console.print('Following no longer: the jobs go on.')
    return
  jobs = _noted(workdir)
  for point in _are_left(points, workdir):
    status = run_directory.read_status(point.directory(workdir))
    log = workdir / run_directory.SLURM / f'{jobs.get(point.name)}_0_log.err'
    why = status.get('message') or 'its job ended before it did'
    console.print(
      f'{point.name} {status.get("status", "waiting")}: {why} ({log})',
      soft_wrap=True,
    )


def _are_left(points, workdir):
  return [
    p
    for p in points
    if unfinished.state(p.directory(workdir)) not in run_directory.ENDED
  ]


def _noted(workdir):
  file = workdir / run_directory.SLURM / _JOBS
  needs = 'a dict of the job of each point'
  return json_file.read(file, needs, lambda v: isinstance(v, dict)) or {}


def _is_still_running():
  """Says whether SLURM takes the job of this process for a running one."""
  this = os.environ['SLURM_JOB_ID']
  return _squeue(f'--jobs={this}', '--format=%T').strip() == 'RUNNING'


def _squeue(*arguments):
  done = subprocess.run(
    ['squeue', '--noheader', *arguments], capture_output=True, text=True
  )
  if done.returncode:
    raise run_directory.Refused(
      f'SLURM does not answer: squeue says {done.stderr.strip()!r}.'
    )
  return done.stdout
