"""The SLURM launcher: the points of a sweep as one job array, by submitit.

A job trains one point. SLURM warns it, by SIGUSR2 before its time is over and
by SIGTERM before a preemption: the run saves itself at the end of its call,
and the job is queued again, to continue bit for bit. WORKDIR/slurm has
submitit's files, with the logs, and which job has which point.
"""

import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import filelock

from bnresearch.assembly import assemble
from bnresearch.config import ConfigError
from bnresearch.machine import process
from bnresearch.preflight import Machine
from bnresearch.runs import config_file, run_directory, session
from bnresearch.sweeps import checks, notes, progress, slurm_queue, statuses
from bnresearch.sweeps.points import Point
from bnresearch.terminal import Console

_POLL_SECONDS = 5


class Job(NamedTuple):
  """What a job does; submitit pickles it, and calls it on the node.

  Attributes:
    config_json: of the point.
    path: its run directory.
  """

  config_json: str
  path: Path

  def __call__(self) -> str:
    """Trains the run, or continues it; returns its status.

    While the run trains, it catches the signals itself, and saves. Before and
    after, submitit catches them: it queues the job again at SIGUSR2, and
    ignores SIGTERM. So a run that has stopped passes SIGUSR2 on; otherwise one
    that stops in the grace period of a preemption would count as completed. It
    does not if SLURM has ended the job: after `scancel` the job must not come
    back, and after `scontrol requeue` it does so by itself.
    """
    config = config_file.from_json(self.config_json)
    process.prepare(config.slurm.cpus)
    status = session.train(assemble(config), self.path)
    if status == 'preempted' and slurm_queue.is_running():
      signal.raise_signal(signal.SIGUSR2)
    return status

  def checkpoint(self) -> Any:
    """Returns what submitit queues again: the same job, as all is on disk.

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
  """Submits the points that have not ended and are not queued or running.

  Args:
    points: of a sweep; the first one's config.slurm has the resources.
    workdir: made if it is not there; the nodes must see it at the same path.
    console: where jobs, progress and failures are printed.
    wait: whether to follow the jobs until all have ended. Ctrl-C stops
      following; the jobs go on.

  Returns:
    {name: status}; 'queued' for a point whose job has not begun.

  Raises:
    Refused: there is no SLURM, it refuses the job, or a directory was made by
      another config.
    ConfigError: the sweep varies resources.
  """
  _check(points)
  workdir = workdir.absolute()
  result = statuses.of_points(points, workdir)
  left = [p for p in points if result[p.name] not in run_directory.ENDED]
  folder = workdir / run_directory.SLURM
  if left:
    parts = checks.check_points(left, _of_a_job(left[0].config.slurm))
    folder.mkdir(parents=True, exist_ok=True)
    with filelock.FileLock(folder / '.lock'):
      jobs = slurm_queue.active(workdir)
      todo = [
        p for p in left if p.name not in jobs and result[p.name] != 'running'
      ]
      if len(todo) < len(left):
        there = f'{len(left) - len(todo)} of {len(left)} points'
        console.print(f'{there}: queued or running already.')
      if todo:
        notes.tell({p.name: parts[p.name] for p in todo}, console)
        _tell(console, _submit(todo, workdir), folder)
  if left and wait:
    _follow(left, workdir, console)
  return slurm_queue.with_queue(statuses.of_points(points, workdir), workdir)


def _of_a_job(resources):
  """Returns the machine of a job; a GPU's memory is known only on its node.

  Each core of a job without a GPU is a device, see `process.prepare`.
  """
  if resources.gpus:
    return Machine(resources.gpus, 'gpu', 0)
  return Machine(resources.cpus, 'cpu', resources.memory * 2**30)


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
  if varied := [k for k in points[0].swept if k.startswith('slurm.')]:
    raise ConfigError(
      f'{k}: the jobs of an array are alike, no sweep varies it.'
      for k in varied
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
  slurm_queue.note(ids, workdir)
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
    # Since SLURM 22.05 a step does not inherit its job's.
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
      while _left(points, workdir):
        if not names & slurm_queue.active(workdir).keys():
          break
        time.sleep(_POLL_SECONDS)
  except KeyboardInterrupt:
    console.print('Following no longer: the jobs go on.')
    return
  jobs = slurm_queue.noted(workdir)
  for point in _left(points, workdir):
    status = run_directory.read_status(point.directory(workdir))
    log = workdir / run_directory.SLURM / f'{jobs.get(point.name)}_0_log.err'
    why = status.get('message') or 'its job ended before it did'
    text = f'{point.name} {status.get("status", "waiting")}: {why} ({log})'
    console.print(text, soft_wrap=True)


def _left(points, workdir):
  return [
    p
    for p in points
    if statuses.of_run(p.directory(workdir)) not in run_directory.ENDED
  ]
