"""What a run leaves on disk: the logbook, and a directory one process holds."""

import fcntl
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import bnresearch
from bnresearch.runs import logbook, provenance, run_directory
from configs import default

ROOT = pathlib.Path(__file__).parents[1]


def config(**changed):
  """Returns the defaults but for some top-level leaves."""
  result = default.get_config()
  with result.unlocked():
    result.update(changed)
  return result


def snapshot(path):
  """Returns every file and folder below a path, with size and times."""
  return {
    f: (f.stat().st_size, f.stat().st_mtime_ns, f.stat().st_ctime_ns)
    for f in [path, *path.rglob('*')]
  }


# The logbook.


@pytest.fixture
def book(tmp_path):
  return logbook.Logbook(tmp_path / 'metrics.jsonl')


def test_float32_comes_back_bit_for_bit_and_short(book, tmp_path):
  bits = np.random.RandomState(0).randint(0, 2**32, 500, dtype=np.uint32)
  values = bits.view(np.float32)
  values = values[np.isfinite(values)]
  for step, value in enumerate([*values, np.float32(0.1), jnp.float32(0.1)]):
    book.write(step, {'loss': value})
  steps, read = logbook.read(tmp_path / 'metrics.jsonl')['loss']
  np.testing.assert_array_equal(steps, np.arange(len(values) + 2))
  written = np.append(values, np.float32([0.1, 0.1]))
  assert read.astype(np.float32).tobytes() == written.tobytes()
  last = (tmp_path / 'metrics.jsonl').read_text().splitlines()[-1]
  assert last == f'{{"step":{len(values) + 1},"loss":0.1}}'


def test_python_numbers_and_float64_come_back_as_they_were(book, tmp_path):
  row = {'examples': 355, 'accuracy': 1 / 3, 'double': np.float64(2 / 3)}
  book.write(10, row)
  metrics = logbook.read(tmp_path / 'metrics.jsonl')
  assert {name: s.values.tolist() for name, s in metrics.items()} == {
    name: [value] for name, value in row.items()
  }
  assert metrics['examples'].values.dtype.kind == 'i'


def test_arrays_come_back_with_a_leading_axis_of_time(book, tmp_path):
  values = np.random.RandomState(0).normal(size=(4, 3, 5)).astype(np.float32)
  for t, value in enumerate(values):
    book.write(10 * t, {'probe': jnp.asarray(value) if t % 2 else value})
  steps, read = logbook.read(tmp_path / 'metrics.jsonl')['probe']
  np.testing.assert_array_equal(steps, [0, 10, 20, 30])
  np.testing.assert_array_equal(read.astype(np.float32), values)


def test_a_diverged_loss_comes_back(book, tmp_path):
  values = [np.float32('nan'), np.float32('inf'), np.float32('-inf')]
  for step, value in enumerate(values):
    book.write(step, {'loss': value})
  read = logbook.read(tmp_path / 'metrics.jsonl')['loss'].values
  np.testing.assert_array_equal(read, values)


def no_json(word):
  raise ValueError(f'{word} is no JSON')


def test_what_is_no_number_is_written_in_words_of_json(book, tmp_path):
  file = tmp_path / 'metrics.jsonl'
  values = np.float32([[np.nan, np.inf], [-np.inf, 0.5]])
  book.write(1, {'loss': np.nan, 'probe': values, 'double': -np.inf})
  (line,) = file.read_text().splitlines()
  row = json.loads(line, parse_constant=no_json)
  assert row['probe'] == [['NaN', 'Infinity'], ['-Infinity', 0.5]]
  read = logbook.read(file)
  np.testing.assert_array_equal(read['probe'].values, values[None])
  np.testing.assert_array_equal(read['loss'].values, [np.nan])
  np.testing.assert_array_equal(read['double'].values, [-np.inf])


def test_the_bare_words_of_older_runs_are_read(tmp_path):
  file = tmp_path / 'metrics.jsonl'
  file.write_text('{"step": 1, "loss": NaN, "probe": [Infinity, -Infinity]}\n')
  read = logbook.read(file)
  np.testing.assert_array_equal(read['loss'].values, [np.nan])
  np.testing.assert_array_equal(read['probe'].values, [[np.inf, -np.inf]])


def test_rows_that_cannot_be_read_are_left_out_and_named(
  book, tmp_path, caplog
):
  file = tmp_path / 'metrics.jsonl'
  book.write(1, {'loss': 1.0, 'probe': np.ones((2, 2))})
  for line in (
    b'{"step": 2, "loss": 2.',
    b'',
    b'\xff\xfe',
    b'[1, 2]',
    b'{"loss": 2.0}',
    b'{"step": "2", "loss": 2.0}',
    b'{"step": 2, "loss": "2"}',
    b'{"step": 2, "loss": null}',
    b'{"step": 2, "loss": {"a": 1}}',
    b'{"step": 2, "loss": 2.0, "probe": [[1.0, 1.0], [1.0]]}',
    b'{"step": 2, "loss": 2.0, "probe": [[1.0, 1.0]]}',
    b'[' * 100_000,
  ):
    with file.open('ab') as handle:
      handle.write(line + b'\n')
  book.write(3, {'loss': 3.0})
  read = logbook.read(file)
  assert read['loss'].steps.tolist() == [1, 3]
  assert read['loss'].values.tolist() == [1.0, 3.0]
  assert caplog.messages == [
    f'{file}: line 2, 3, 4, 5, 6, 7, 8, 9, 10, 11 and 2 more cannot be read, '
    'and is left out.'
  ]
  book.keep_until(3)  # who continues a run drops what has no step
  assert b'[1, 2]' not in file.read_bytes()


def test_a_changed_logbook_is_told_from_one_that_has_grown(
  book, tmp_path, caplog
):
  file = tmp_path / 'metrics.jsonl'
  book.write(1, {'test/accuracy': 0.15})
  status = json.loads(json.dumps({'logbook': book.mark}))
  book.write(2, {'test/accuracy': 0.25})
  assert logbook.is_whole(file, status)
  assert logbook.is_whole(file, {})  # of an older run
  file.write_text(file.read_text().replace('0.15', '1.15'))
  assert not logbook.is_whole(file, status)
  file.unlink()
  assert not logbook.is_whole(file, status)
  message = (
    f'{file} is not what the run wrote: rows were lost or changed since.'
  )
  assert caplog.messages == [message] * 2


def test_of_equal_values_the_later_is_the_better():
  assert logbook.ranked([0.1, 0.9, np.nan, 0.9, 0.2]) == [3, 1, 4, 0]
  assert logbook.ranked(np.array([np.nan])) == []


def test_metrics_are_read_each_with_its_own_steps(book, tmp_path):
  book.write(0, {'test/accuracy': 0.1})
  book.write(100, {'train/loss': 2.0})
  book.write(100, {'test/accuracy': 0.2})
  metrics = logbook.read(tmp_path / 'metrics.jsonl')
  assert metrics['test/accuracy'].steps.tolist() == [0, 100]
  assert metrics['train/loss'].steps.tolist() == [100]


def test_no_logbook_reads_as_no_metrics(tmp_path):
  assert logbook.read(tmp_path / 'metrics.jsonl') == {}


def test_keep_until_drops_later_rows_and_a_last_line_cut_off(book, tmp_path):
  file = tmp_path / 'metrics.jsonl'
  for step in (0, 100, 200, 300):
    book.write(step, {'loss': np.float32(step) / 3})
  whole = file.read_bytes()
  file.write_bytes(whole + b'{"step": 100, "lo')
  assert logbook.read(file)['loss'].steps.tolist() == [0, 100, 200, 300]
  book.keep_until(200)
  assert file.read_bytes() == b''.join(whole.splitlines(keepends=True)[:3])
  book.write(300, {'loss': np.float32(300) / 3})
  assert file.read_bytes() == whole, 'continued is not as if never stopped'
  book.keep_until(-1)
  assert file.read_bytes() == b''


def test_keep_until_makes_no_file(book, tmp_path):
  book.keep_until(100)
  assert list(tmp_path.iterdir()) == []


# The run directory.

HOLDER = """
import pathlib, sys
from bnresearch.runs import config_file, run_directory

config = config_file.from_json(sys.stdin.readline())
with run_directory.claim(pathlib.Path(sys.argv[1]), config) as run:
  run.update(status='running', **run_directory.this_process())
  print('held', flush=True)
  sys.stdin.readline()
"""


@pytest.fixture
def holder(tmp_path):
  """Another process that holds the directory tmp_path/run, and trains."""
  process = subprocess.Popen(
    [sys.executable, '-c', HOLDER, str(tmp_path / 'run')],
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
    cwd=ROOT,
  )
  with process:
    text = json.dumps(config().to_dict())
    process.stdin.write(f'{text}\n')
    process.stdin.flush()
    assert process.stdout.readline() == 'held\n'
    yield process
    process.kill()


def test_a_claimed_directory_holds_its_config(tmp_path):
  path = tmp_path / 'a' / 'run'
  with run_directory.claim(path, config(seed=3)) as run:
    assert run.path == path
    assert run.status == {}
  assert run_directory.read_config(path) == config(seed=3)
  assert run_directory.read_config(path).is_locked
  with run_directory.claim(path, config(seed=3)) as run:
    run.update(status='done', step=7)
  assert run_directory.read_status(path) == {'status': 'done', 'step': 7}


def test_another_config_is_refused_key_by_key_and_nothing_is_touched(tmp_path):
  with run_directory.claim(tmp_path, config()) as run:
    run.update(status='done')
    run.logbook.write(1, {'loss': 1.0})
  other = config(seed=3)
  with other.unlocked():
    other.norm.name = 'none'
  before = snapshot(tmp_path)
  message = (
    'was made by a different config:\n'
    "  norm.name: 'batch' -> 'none'\n"
    '  seed: 0 -> 3\n'
    'Use another --workdir'
  )
  with (
    pytest.raises(run_directory.Refused, match=message),
    run_directory.claim(tmp_path, other),
  ):
    pass
  assert snapshot(tmp_path) == before


def test_a_directory_of_other_files_is_refused_and_not_touched(tmp_path):
  (tmp_path / 'thesis.tex').write_text('Chapter 1')
  before = snapshot(tmp_path)
  message = 'holds files but no config.json, so it is no run directory'
  with (
    pytest.raises(run_directory.Refused, match=message),
    run_directory.claim(tmp_path, config()),
  ):
    pass
  assert snapshot(tmp_path) == before


def test_a_file_is_refused_as_a_directory(tmp_path):
  file = tmp_path / 'notes.txt'
  file.write_text('something')
  with (
    pytest.raises(run_directory.Refused, match='notes'),
    run_directory.claim(file, config()),
  ):
    pass
  assert file.read_text() == 'something'


def test_an_empty_directory_can_be_claimed(tmp_path):
  with run_directory.claim(tmp_path, config()):
    pass
  assert run_directory.read_config(tmp_path) == config()


def test_what_a_kill_at_the_very_start_leaves_can_be_claimed(tmp_path):
  (tmp_path / '.lock').touch()
  (tmp_path / 'config.partial').write_text('{"seed"')
  with run_directory.claim(tmp_path, config()):
    pass
  assert run_directory.read_config(tmp_path) == config()


def test_the_jobs_of_a_run_that_has_not_begun_may_lie_in_its_directory(
  tmp_path,
):
  (tmp_path / 'slurm').mkdir()
  with run_directory.claim(tmp_path, config()):
    pass
  assert run_directory.read_config(tmp_path) == config()


def test_the_resources_of_a_job_may_change_while_a_run_is_made():
  group = {f'slurm.{key}' for key in default.get_config().slurm}
  assert group == {k for k in run_directory.FREE if k.startswith('slurm.')}


def test_check_makes_no_directory(tmp_path):
  run_directory.check(tmp_path / 'run', config())
  assert list(tmp_path.iterdir()) == []


def test_a_second_process_is_refused_and_told_which_is_the_first(
  tmp_path, holder
):
  path = tmp_path / 'run'
  before = snapshot(path)
  message = f'belongs to process {holder.pid} on .*, which is running'
  with (
    pytest.raises(run_directory.Refused, match=message),
    run_directory.claim(path, config()),
  ):
    pass
  assert snapshot(path) == before
  assert run_directory.read_status(path)['status'] == 'running'


@pytest.mark.parametrize('number', [signal.SIGKILL, signal.SIGABRT])
def test_a_run_whose_process_is_gone_is_interrupted(number, tmp_path, holder):
  path = tmp_path / 'run'
  assert run_directory.read_status(path)['status'] == 'running'
  holder.send_signal(number)
  assert holder.wait() == -number
  status = run_directory.read_status(path)
  assert status['status'] == 'interrupted'
  assert status['pid'] == holder.pid
  with run_directory.claim(path, config()) as run:  # it can be continued
    assert run.status['pid'] == holder.pid


def test_this_process_does_not_take_its_own_run_for_interrupted(tmp_path):
  with run_directory.claim(tmp_path, config()) as run:
    run.update(status='running', **run_directory.this_process())
    assert run_directory.read_status(tmp_path)['status'] == 'running'


OF_ANOTHER_USER = """
import os, pathlib, sys
from bnresearch.runs import run_directory
from configs import default

path, config = pathlib.Path(sys.argv[1], 'run'), default.get_config()
with run_directory.claim(path, config) as run:
  run.update(status='running')
  if os.getuid():
    (path / '.lock').chmod(0o444)  # nobody may write it
  else:
    os.setuid(65534)  # nobody
  print(run_directory.read_status(path)['status'])
print(run_directory.read_status(path)['status'])
try:
  with run_directory.claim(path, config):
    print('held')
except run_directory.Refused as error:
  print(error)
"""


def test_a_run_of_another_user_can_be_looked_at_and_is_not_held():
  with tempfile.TemporaryDirectory() as folder:
    pathlib.Path(folder).chmod(0o755)
    done = subprocess.run(
      [sys.executable, '-c', OF_ANOTHER_USER, folder],
      capture_output=True,
      text=True,
      cwd=ROOT,
    )
    assert not done.returncode, done.stderr
    during, after, refused = done.stdout.splitlines()
    assert (during, after) == ('running', 'interrupted')
    run = re.escape(f'{folder}/run')
    assert re.fullmatch(
      rf'{run} cannot be written: Permission denied \({run}/\.lock of user \w+'
      r'\)\. Use another --workdir, or make it one that you may write\.',
      refused,
    )


def test_a_place_that_cannot_be_written_is_refused(tmp_path):
  (tmp_path / 'file').touch()
  with (
    pytest.raises(
      run_directory.Refused, match='run cannot be written: Not a d'
    ),
    run_directory.claim(tmp_path / 'file' / 'run', config()),
  ):
    pass


def test_a_process_id_used_again_does_not_bring_a_dead_run_to_life(tmp_path):
  # In a container, the run that continues a killed one has its number.
  with run_directory.claim(tmp_path, config()) as run:
    run.update(status='running', **run_directory.this_process())
  assert run_directory.read_status(tmp_path)['status'] == 'interrupted'


def test_it_is_the_lock_that_says_whether_a_run_of_another_host_goes_on(
  tmp_path,
):
  with run_directory.claim(tmp_path, config()) as run:
    run.update(status='running', pid=1, host='elsewhere')
    assert run_directory.read_status(tmp_path)['status'] == 'running'
  assert run_directory.read_status(tmp_path)['status'] == 'interrupted'
  (tmp_path / '.lock').unlink()  # a copy
  assert run_directory.read_status(tmp_path)['status'] == 'interrupted'


def test_two_who_look_do_not_take_each_other_for_the_run(tmp_path):
  with run_directory.claim(tmp_path, config()) as run:
    run.update(status='running')
  with (tmp_path / '.lock').open('rb') as looking:
    fcntl.flock(looking, fcntl.LOCK_SH | fcntl.LOCK_NB)
    assert run_directory.read_status(tmp_path)['status'] == 'interrupted'


def test_a_directory_is_free_again_after_an_error(tmp_path):
  def fail():
    with run_directory.claim(tmp_path, config()):
      raise ArithmeticError('diverged')

  with pytest.raises(ArithmeticError, match='diverged'):
    fail()
  with run_directory.claim(tmp_path, config()) as run:
    assert run.path == tmp_path


def test_updates_are_throttled_and_none_is_forgotten(tmp_path):
  with run_directory.claim(tmp_path, config()) as run:
    run.update(status='running', step=1, pid=os.getpid())
    run.update(throttle=1000, step=2)
    assert run_directory.read_status(tmp_path)['step'] == 1
    run.update(loss=0.5)
  status = run_directory.read_status(tmp_path)
  assert (status['step'], status['loss']) == (2, 0.5)


def test_a_directory_without_config_is_answered_by_the_runs_inside(tmp_path):
  for seed in (1, 2):
    with run_directory.claim(tmp_path / f'seed={seed}', config(seed=seed)):
      pass
  inside = f'{tmp_path / "seed=1"}, {tmp_path / "seed=2"}'
  with pytest.raises(FileNotFoundError, match=f'no config.json.*: {inside}'):
    run_directory.read_config(tmp_path)


def test_every_session_is_noted(tmp_path):
  with run_directory.claim(tmp_path, config()) as run:
    run.begin_session(0, {'jax': '1'})
    run.begin_session(500, {'jax': '2'})
  assert json.loads((tmp_path / 'provenance.json').read_text()) == [
    {'from_step': 0, 'jax': '1'},
    {'from_step': 500, 'jax': '2'},
  ]


def test_provenance_names_versions_and_device_and_fits_into_json():
  collected = provenance.collect()
  assert json.loads(json.dumps(collected)) == collected
  assert set(provenance.PACKAGES) < set(collected)
  assert collected['device']
  assert collected['threads'] >= 1
  assert collected['bnresearch'] == bnresearch.__version__


def git(folder, *arguments):
  me = ['-c', 'user.name=me', '-c', 'user.email=me@example.com']
  done = subprocess.run(
    ['git', '-C', str(folder), *me, *arguments],
    capture_output=True,
    text=True,
    check=True,
  )
  return done.stdout.strip()


def commit_all(folder):
  git(folder, 'init', '-q')
  git(folder, 'add', '-A')
  git(folder, 'commit', '-q', '-m', 'All')
  return git(folder, 'rev-parse', '--short', 'HEAD')


@pytest.fixture
def package(tmp_path):
  """A folder of another repository that is as site-packages."""
  folder = tmp_path / 'thesis' / 'site-packages'
  runs = folder / 'bnresearch' / 'runs'
  runs.mkdir(parents=True)
  shutil.copy(provenance.__file__, runs)
  return folder


def test_the_commit_of_a_checkout_says_whether_it_is_changed(package):
  (package / 'pyproject.toml').write_text(
    '[project]\nname = "bnresearch"\nkeywords = ["x"]\n'
  )
  assert provenance.commit(package) == ''
  short = commit_all(package)
  assert provenance.commit(package) == short
  (package / 'pyproject.toml').write_text('[project]\nname = "bnresearch"\n')
  assert provenance.commit(package) == f'{short}+'


@pytest.mark.parametrize('tracked', [False, True])
@pytest.mark.parametrize('depth', [0, 1])
def test_the_commit_of_an_enclosing_repository_is_not_ours(
  depth, tracked, package, monkeypatch
):
  top = package.parents[depth - 1] if depth else package
  (top / 'pyproject.toml').write_text('[project]\nname = "thesis"\n')
  if not tracked:
    (top / '.gitignore').write_text('bnresearch\n')
  short = commit_all(top)
  assert provenance.commit(package) == ''
  monkeypatch.setenv('GIT_DIR', str(top / '.git'))  # as in a hook of git
  assert provenance.commit(package) == ''
  assert provenance.commit(ROOT) != short


def test_an_installed_package_has_the_commit_that_pip_noted(package):
  commit_all(package)
  info = package / 'bnresearch-4.5.6.dist-info'
  info.mkdir()
  (info / 'METADATA').write_text('Name: bnresearch\nVersion: 4.5.6\n')
  assert provenance.commit(package) == ''
  noted = {'url': 'x', 'vcs_info': {'vcs': 'git', 'commit_id': 'abc123'}}
  (info / 'direct_url.json').write_text(json.dumps(noted))
  assert provenance.commit(package) == 'abc123'


# Random numbers.


def test_a_run_with_a_checkpoint_goes_on_by_its_random_numbers_only(tmp_path):
  noted = {'jax_threefry_partitionable': False}
  with run_directory.claim(tmp_path, config()) as run:
    run.update(status='preempted')
    run.begin_session(0, provenance.collect() | noted)
  with run_directory.claim(tmp_path, config()):
    pass  # there is no number that it has drawn and keeps
  (tmp_path / 'checkpoints' / '100').mkdir(parents=True)
  before = snapshot(tmp_path)
  message = (
    'jax_threefry_partitionable = False; now it is True.*'
    'JAX_THREEFRY_PARTITIONABLE=false, or use another --workdir'
  )
  with (
    pytest.raises(run_directory.Refused, match=message),
    run_directory.claim(tmp_path, config()),
  ):
    pass
  after = snapshot(tmp_path)
  del before[tmp_path / '.lock'], after[tmp_path / '.lock']
  assert after == before
  with (
    jax.threefry_partitionable(False),
    run_directory.claim(tmp_path, config()) as run,
  ):
    run.begin_session(100, provenance.collect())
    run.update(status='done')
  with run_directory.claim(tmp_path, config()):
    pass  # it is done


def test_no_unfinished_file_is_left(tmp_path):
  with run_directory.claim(tmp_path, config()) as run:
    run.update(status='done')
    run.begin_session(0, {})
    run.logbook.write(1, {'loss': 1.0})
    run.logbook.keep_until(1)
  assert {f.name for f in tmp_path.iterdir()} == {
    '.lock',
    'config.json',
    'metrics.jsonl',
    'provenance.json',
    'status.json',
  }
