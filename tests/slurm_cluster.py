"""A real SLURM of one node, this machine, as plain processes.

  with slurm_cluster.running(folder) as cluster:
    cluster.run('srun', '-n', '2', 'hostname')
    main = cluster.run(sys.executable, '-m', 'bnresearch.main', ...)

munged, slurmctld and slurmd run in the foreground, on ports and sockets of
their own, and keep all their files in the folder, so they disturb neither each
other nor a SLURM that this machine belongs to. Debian's packages slurm-wlm and
munge have all that this needs.

`python -m tests.slurm_cluster COMMAND...` runs one command on it, then stops.
"""

import contextlib
import getpass
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence

DAEMONS = ('munged', 'slurmctld', 'slurmd')
# Daemons lie where the path of a user may not lead.
_PATH = os.pathsep.join([os.environ.get('PATH', ''), '/usr/sbin', '/sbin'])

_CONF = """
ClusterName=bnresearch
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmdPort={ports[1]}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
CryptoType=crypto/munge
# A requeued job waits until the credential of its last start has expired.
AuthInfo=socket={folder}/munge.socket,cred_expire=5
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SlurmdParameters=config_overrides
SchedulerParameters=sched_interval=1,batch_sched_delay=0
JobRequeue=1
KillWait=30
# Jobs of the partition `urgent` take the place of others, which are warned,
# have a moment to save themselves, and are queued again.
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
NodeName={host} NodeAddr=127.0.0.1 CPUs={cpus} RealMemory=65536 State=UNKNOWN
PartitionName=usual Nodes={host} Default=YES State=UP PriorityTier=1 \
GraceTime=30
PartitionName=urgent Nodes={host} State=UP PriorityTier=2
"""


class Cluster:
  """A running cluster.

  Attributes:
    environment: with it, SLURM's commands speak to this cluster.
    cpus: of its node; as many jobs of one CPU run side by side.
  """

  def __init__(self, environment: dict[str, str], cpus: int):
    self.environment = environment
    self.cpus = cpus

  def run(
    self, *command: str, **environment: str
  ) -> subprocess.CompletedProcess:
    """Runs a command to its end; it may be SLURM's, or use SLURM's."""
    return subprocess.run(
      [*map(str, command)],
      env=self.environment | environment,
      capture_output=True,
      text=True,
      timeout=300,
    )


def missing() -> str:
  """Says which program is missing, '' if none is."""
  needed = (*DAEMONS, 'sinfo', 'srun', 'sbatch')
  lacking = [name for name in needed if not shutil.which(name, path=_PATH)]
  return (
    f'needs {", ".join(lacking)}, of the Debian packages slurm-wlm and munge'
    if lacking
    else ''
  )


@contextlib.contextmanager
def running(folder: pathlib.Path, cpus: int = 4) -> Iterator[Cluster]:
  """Starts the daemons; at the end stops them, with all that they run.

  Args:
    folder: an empty one for all their files; its path must be short, because
      it holds a socket.
    cpus: of the node, which may be more than the machine has.

  Raises:
    RuntimeError: the node did not come up; has the ends of the logs.
  """
  conf = _configure(folder, cpus)
  environment = os.environ | {'PATH': _PATH, 'SLURM_CONF': str(conf)}
  cluster = Cluster(environment, cpus)
  with contextlib.ExitStack() as stack:
    for command in (
      ['munged', '--foreground', '--force', *_munge_files(folder)],
      ['slurmctld', '-D', '-c', '-f', str(conf)],
      ['slurmd', '-D', '-c', '-f', str(conf)],
    ):
      stack.enter_context(_daemon(command, environment, folder))
      if command[0] == 'munged':
        _wait(lambda: (folder / 'munge.socket').exists(), folder)
    stack.callback(_end_jobs, cluster)
    _wait(lambda: 'idle' in _node_state(cluster), folder)
    yield cluster


def _configure(folder, cpus):
  """Writes slurm.conf and the key; returns the former."""
  for name in ('state', 'spool'):
    (folder / name).mkdir()
  folder.chmod(0o700)
  key = folder / 'munge.key'
  key.write_bytes(os.urandom(64))
  key.chmod(0o600)
  conf = folder / 'slurm.conf'
  conf.write_text(
    _CONF.format(
      folder=folder,
      cpus=cpus,
      user=getpass.getuser(),
      host=socket.gethostname().partition('.')[0],
      ports=_free_ports(2),
    )
  )
  return conf


def _munge_files(folder):
  names = {'socket': 'socket', 'key-file': 'key', 'seed-file': 'seed'}
  names |= {'pid-file': 'pid'}
  return [f'--{flag}={folder}/munge.{name}' for flag, name in names.items()]


def _free_ports(count):
  with contextlib.ExitStack() as stack:
    sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
    for one in sockets:
      one.bind(('127.0.0.1', 0))
    return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def _daemon(command, environment, folder):
  with (folder / f'{command[0]}.log').open('w') as log:
    process = subprocess.Popen(
      command,
      env=environment,
      stdin=subprocess.DEVNULL,
      stdout=log,
      stderr=subprocess.STDOUT,
      start_new_session=True,  # a terminal's Ctrl-C is not for it
    )
  try:
    yield
  finally:
    process.terminate()
    try:
      process.wait(timeout=10)
    except subprocess.TimeoutExpired:
      process.kill()
      process.wait()


def _node_state(cluster):
  return cluster.run('sinfo', '--noheader', '--format=%T').stdout


def _end_jobs(cluster):
  """Cancels what is left, so that no job outlives the cluster."""
  user = getpass.getuser()
  cluster.run('scancel', f'--user={user}', '--signal=KILL')
  cluster.run('scancel', f'--user={user}')
  deadline = time.monotonic() + 10
  while cluster.run('squeue', '--noheader').stdout:
    if time.monotonic() > deadline:
      return
    time.sleep(0.1)


def _wait(condition, folder, seconds=30):
  deadline = time.monotonic() + seconds
  while not condition():
    if time.monotonic() > deadline:
      logs = [
        f'{log.name}:\n{log.read_text()[-2000:]}'
        for log in sorted(folder.glob('*.log'))
      ]
      raise RuntimeError(
        '\n'.join([f'SLURM did not come up in {seconds} s.', *logs])
      )
    time.sleep(0.05)


def main(command: Sequence[str]) -> int:
  """Runs one command on a cluster of its own; returns its exit status."""
  if why := missing():
    print(f'This {why}.', file=sys.stderr)
    return 2
  with (
    tempfile.TemporaryDirectory(prefix='slurm-') as folder,
    running(pathlib.Path(folder)) as cluster,
  ):
    return subprocess.run(command, env=cluster.environment).returncode


if __name__ == '__main__':
  signal.signal(signal.SIGTERM, lambda number, frame: sys.exit(1))
  sys.exit(main(sys.argv[1:]))
