"""The jobs of a sweep in SLURM's queue, noted in WORKDIR/slurm."""

import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from bnresearch.runs import json_file, run_directory

_JOBS = 'jobs.json'


def with_queue(statuses: Mapping[str, str], workdir: Path) -> dict[str, str]:
  """Returns {name: status}, 'queued' if a job has a run that stands still.

  Raises:
    Refused: SLURM does not answer.
  """
  jobs = active(workdir)
  going = (*run_directory.ENDED, 'running')
  return {
    name: 'queued' if name in jobs and status not in going else status
    for name, status in statuses.items()
  }


def active(workdir: Path) -> dict[str, str]:
  """Returns {point name: job id} of the jobs that are queued or running.

  {} if nothing was submitted, or SLURM is not installed.

  Raises:
    Refused: SLURM does not answer.
  """
  jobs = noted(workdir)
  if not jobs or not shutil.which('squeue'):
    return {}
  there = set(_squeue('--me', '--array', '--format=%i').split())
  return {name: job for name, job in jobs.items() if job in there}


def note(jobs: Mapping[str, str], workdir: Path) -> None:
  """Adds {point name: job id} to the noted ones."""
  file = workdir / run_directory.SLURM / _JOBS
  json_file.write(file, noted(workdir) | jobs)


def noted(workdir: Path) -> dict[str, str]:
  """Returns {point name: job id} of the last job of each point."""
  file = workdir / run_directory.SLURM / _JOBS
  needs = 'a dict of the job of each point'
  return json_file.read(file, needs, lambda v: isinstance(v, dict)) or {}


def is_running() -> bool:
  """Says whether SLURM counts this process's job as running."""
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
