"""Which points a launcher gets, how far they are, and their results as a table.

The runs here are written by hand; nothing is trained but two steps.
"""

import concurrent.futures
import contextlib
import csv
import glob
import io
import re
import signal
import sys
import threading

import numpy as np
import pyarrow.parquet
import pytest
from rich.console import Console

from bnresearch import config as configs
from bnresearch.machine import interruptions
from bnresearch.main import _conclude, main
from bnresearch.runs import run_directory
from bnresearch.runs.checkpoint import Checkpoints
from bnresearch.sweeps import launch, local, progress, slurm, slurm_queue
from bnresearch.sweeps.points import _name, directory_name, points
from configs import default
from tests.test_checkpoint import make_state, save_all

DRY = ['--config.dry_run=True']
CONFIG = """
from configs import default
def get_config(arg):
  c = default.get_config()
  c.sweep = tuple({'norm.name': n, 'model.features': f}
                  for n in ('none', 'batch') for f in ((10,), (20, 20)))
  return c
"""


@pytest.fixture
def study(tmp_path):
  """The flags of a config of four points, the points, and their workdir."""
  file, workdir = tmp_path / 'study.py', tmp_path / 'runs'
  file.write_text(CONFIG)
  flags = [f'--config={file}', f'--workdir={workdir}']
  return flags, points(configs.load(str(file)), {}), workdir


@contextlib.contextmanager
def begun(point, workdir, **status):
  """Holds a run that has logged two evaluations."""
  with run_directory.claim(point.directory(workdir), point.config) as run:
    if not run.status:
      for step, accuracy in ((100, 0.75), (200, 0.5)):
        row = {'train/loss': np.float32(step), 'train/probe': np.ones(3)}
        row['probe/gradient_norm/growth'] = np.float32(step / 1000)
        row['probe/gradient_norm/hidden_1/kernel'] = np.float32(step)
        run.logbook.write(step, row | {'test/accuracy': accuracy})
      run.begin_session(0, {'commit': 'abc', 'device': 'abacus', 'jax': '1'})
    run.update(**status)
    yield


def end(point, workdir, **status):
  with begun(point, workdir, **status):
    pass


@pytest.fixture
def launched(monkeypatch):
  """The names of the points that the local launcher would get."""
  names = []

  def run(points, workdir, console, how):
    names.extend(point.name for point in points)
    return dict.fromkeys(names, 'done')

  monkeypatch.setitem(launch.LAUNCHERS, 'local', run)
  return names


# Which points run.


def test_failed_points_are_named_and_skipped_until_asked_for(
  study, launched, capsys
):
  flags, chosen, workdir = study
  failed = chosen[1]
  end(failed, workdir, status='failed', message='OSError: disk full')
  others = [point.name for point in chosen if point is not failed]

  assert main(flags) == 1
  assert launched == others
  told = capsys.readouterr().out
  assert f'{failed.name} has failed: OSError: disk full' in told
  assert '1 failed: --retry_failed runs what has failed again.' in told

  launched.clear()
  assert main([*flags, '--retry_failed']) == 0
  assert launched == [point.name for point in chosen]
  assert 'All is done.' in capsys.readouterr().out


def test_what_failed_by_another_config_before_a_checkpoint_begins_again(
  study, launched
):
  flags, chosen, workdir = study
  end(chosen[1], workdir, status='failed', message='wrong rate')
  assert main([*flags, '--config.optim.learning_rate=0.5']) == 0
  assert launched == [point.name for point in chosen]


def test_if_all_have_failed_no_launcher_is_called(study, launched):
  flags, chosen, workdir = study
  for point in chosen:
    end(point, workdir, status='failed', message='no luck')
  assert main(flags) == 1
  assert launched == []


# How far they are.


def test_status_shows_every_point_and_starts_nothing(
  study, launched, capsys, monkeypatch
):
  monkeypatch.setenv('COLUMNS', '150')
  flags, chosen, workdir = study
  done, going, failed, _ = chosen
  end(done, workdir, status='done', step=200, steps=200, seconds=3.2)
  end(failed, workdir, status='failed', message='OSError: disk full')
  far = {'step': 200, 'steps': 5000, 'steps_per_second': 10.0}
  with begun(going, workdir, status='running', **far):
    assert main([*flags, '--status', '--target=test/accuracy=0.7']) == 0
  printed = capsys.readouterr().out.splitlines()
  for point, expected in zip(
    chosen,
    (
      'done 200 50.00% 75.00% (100) 3 s 100',
      'running 200 of 5,000 50.00% 75.00% (100) 0 s 08:00 100',
      'failed 0 50.00% 75.00% (100) 0 s 100',
      'waiting 0 - - 0 s -',
    ),
  ):
    row = next(line for line in printed if line.strip().startswith(point.name))
    assert ' '.join(row.split()) == f'{point.name} {expected}'
  assert f'{failed.name} has failed: OSError: disk full' in printed
  assert launched == []


def test_status_shows_what_the_probes_measured_and_cost(study, capsys):
  flags, chosen, workdir = study
  seconds = {'probe_seconds': 0.5, 'steps_per_second': 10.0}
  end(chosen[0], workdir, status='done', **seconds)
  assert main([*flags, '--status']) == 0
  told = capsys.readouterr().out
  assert 'a record of the probes takes 0.5 s, as long as 5 steps' in told
  table = told.partition('probes, last record')[2]
  assert 'growth' in table
  assert '0.2' in table
  assert 'kernel' not in table  # of one layer


def test_status_refuses_the_runs_of_another_config(study, capsys):
  flags, chosen, workdir = study
  end(chosen[0], workdir, status='done')
  assert main([*flags, '--status', '--config.optim.learning_rate=0.5']) == 2
  assert 'optim.learning_rate: 0.1 -> 0.5' in capsys.readouterr().err


# Their results as a table.


@pytest.mark.parametrize('ending', ['csv', 'parquet'])
def test_collected_results_have_a_row_for_each_point(study, ending, tmp_path):
  flags, chosen, workdir = study
  end(chosen[0], workdir, status='done', step=200, steps=200, seconds=3.5)
  file = tmp_path / 'new' / f'table.{ending}'
  flags = [*flags, '--target=test/accuracy=0.7']
  assert main([*flags, f'--collect={file}']) == 0
  if ending == 'csv':
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
  else:
    rows = pyarrow.parquet.read_table(file).to_pylist()
  expected = {
    'run': chosen[0].name,
    'model.features': '(10,)',
    'norm.name': 'none',
    'status': 'done',
    'step': 200,
    'steps': 200,
    'seconds': 3.5,
    'chosen_by': 'test',
    'chosen_step': 100,
    'chosen/test/accuracy': 0.75,
    'steps_to/test/accuracy=0.7': 100.0,
    'final/train/loss': 200.0,
    'best/train/loss': 100.0,
    'best_step/train/loss': 100,
    'final/test/accuracy': 0.5,
    'best/test/accuracy': 0.75,
    'best_step/test/accuracy': 100,
    'final/probe/gradient_norm/growth': 0.2,
    'commit': 'abc',
    'device': 'abacus',
    'jax': '1',
  }
  as_read = str if ending == 'csv' else lambda value: value
  assert rows[0] == {key: as_read(value) for key, value in expected.items()}
  assert [row['run'] for row in rows] == [point.name for point in chosen]
  assert [row['status'] for row in rows[1:]] == ['waiting'] * 3
  assert [row['commit'] or '' for row in rows[1:]] == [''] * 3
  assert list(file.parent.iterdir()) == [file]


def test_a_diverged_run_is_collected_with_its_best_finite_value(
  study, tmp_path
):
  flags, chosen, workdir = study
  with run_directory.claim(chosen[0].directory(workdir), chosen[0].config) as r:
    for step, loss in ((1, 2.0), (2, np.nan)):
      r.logbook.write(step, {'train/loss': loss, 'test/loss': np.nan})
    r.update(status='diverged')
  file = tmp_path / 'table.parquet'
  assert main([*flags, f'--collect={file}']) == 0
  row = pyarrow.parquet.read_table(file).to_pylist()[0]
  assert np.isnan(row['final/train/loss'])
  assert row['best/train/loss'] == 2.0
  assert 'best/test/loss' not in row


def test_the_best_of_tables_is_the_one_that_is_restored(
  study, capsys, monkeypatch, tmp_path
):
  """Of equal ones the last; and of those at which there is a checkpoint."""
  monkeypatch.setenv('COLUMNS', '150')
  flags, chosen, workdir = study
  path = chosen[0].directory(workdir)
  accuracies = {1: 0.9, 2: 0.75, 3: 0.75, 4: 0.5}
  with run_directory.claim(path, chosen[0].config) as run:
    for step, accuracy in accuracies.items():
      row = {'test/accuracy': accuracy, 'test/loss': 1.0}
      run.logbook.write(step, row)
    run.update(status='done', logbook=run.logbook.mark)
  saved = {step: accuracies[step] for step in (2, 3, 4)}
  save_all(path / 'checkpoints', saved)
  restored = Checkpoints(path / 'checkpoints', None).restore(
    make_state(), 'best'
  )
  assert int(restored.step) == 3
  assert main([*flags, '--status']) == 0
  printed = ' '.join(capsys.readouterr().out.split())
  assert ' 50.00% 75.00% (3) ' in printed
  file = tmp_path / 'table.parquet'
  assert main([*flags, f'--collect={file}']) == 0
  row = pyarrow.parquet.read_table(file).to_pylist()[0]
  assert (row['chosen/test/accuracy'], row['chosen_step']) == (0.75, 3)
  assert (row['best/test/loss'], row['best_step/test/loss']) == (1.0, 4)


def test_no_number_of_a_logbook_that_was_changed_is_printed(
  study, capsys, monkeypatch, tmp_path, caplog
):
  monkeypatch.setenv('COLUMNS', '150')
  flags, chosen, workdir = study
  with begun(chosen[0], workdir, status='running'):
    pass
  path = chosen[0].directory(workdir)
  with run_directory.claim(path, chosen[0].config) as run:
    run.update(status='done', logbook=run.logbook.mark)
  file = path / 'metrics.jsonl'
  file.write_text(file.read_text().replace('0.75', '1.15'))
  assert main([*flags, '--status']) == 0
  printed = ' '.join(capsys.readouterr().out.split())
  assert f'{chosen[0].name} done 0 ? ? ' in printed
  table = tmp_path / 'table.parquet'
  assert main([*flags, f'--collect={table}']) == 0
  columns = pyarrow.parquet.read_table(table).column_names
  assert not [name for name in columns if 'accuracy' in name]
  assert f'{file} is not what the run wrote' in caplog.text


# Wrong use.


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (
      ['--collect=table.xlsx'],
      '--collect=table.xlsx: needs a name that ends in .csv or .parquet.',
    ),
    (['--wait'], '--wait: only with --launcher=slurm.'),
    (
      ['--launcher=slurm', '--processes=2'],
      '--processes: only with --launcher=local.',
    ),
    (['--mode=eval', '--status'], '--status: only for --mode=train.'),
    (
      ['--list', '--target=test/loss=1'],
      '--target: has no effect with --list. Leave one of the two out.',
    ),
    (
      ['--launcher=slurm', *DRY],
      '--launcher: has no effect on a dry run, which is made here, point after '
      'point, and kept nowhere. Leave it out, or --config.dry_run=True.',
    ),
    (['--processes=2', *DRY], '--processes: has no effect on a dry run'),
    (['--retry_failed', *DRY], '--retry_failed: has no effect on a dry run'),
    (['--status', *DRY], '--status: has no effect on a dry run'),
    (['--target=test/loss=1', *DRY], '--target: has no effect on a dry run'),
    (
      ['--launcher=vectorized', '--at_once=2', *DRY],
      '--at_once: has no effect on a dry run',
    ),
  ],
)
def test_flags_that_do_not_go_together_are_refused(
  study, flags, message, capsys
):
  assert main([*study[0], *flags]) == 2
  assert message in capsys.readouterr().err


@pytest.mark.parametrize(
  ('lacking', 'message'),
  [
    ('submitit', r"needs submitit.*: pip install 'bnresearch\[slurm\]'"),
    ('sbatch', 'there is no sbatch here.*--launcher=local'),
  ],
)
def test_what_slurm_needs_is_said(study, lacking, message, monkeypatch):
  _, chosen, workdir = study
  if lacking == 'submitit':
    monkeypatch.setitem(sys.modules, 'submitit', None)
  else:
    monkeypatch.setenv('PATH', '')
    monkeypatch.setitem(sys.modules, 'submitit', sys)
  with pytest.raises(run_directory.Refused, match=message):
    slurm.run(chosen, workdir, Console(quiet=True))
  assert not workdir.exists()


def test_a_damaged_list_of_jobs_is_named(tmp_path):
  (tmp_path / 'slurm').mkdir()
  (tmp_path / 'slurm' / 'jobs.json').write_text('["1_0"]')
  message = r'jobs\.json is damaged: it needs a dict of the job of each point'
  with pytest.raises(run_directory.Refused, match=message):
    slurm_queue.active(tmp_path)


def test_a_sweep_over_resources_is_no_array(study, monkeypatch):
  _, chosen, workdir = study
  monkeypatch.setitem(sys.modules, 'submitit', sys)
  monkeypatch.setattr(slurm.shutil, 'which', lambda name: name)
  varied = [p._replace(swept=('seed', 'slurm.minutes')) for p in chosen]
  with pytest.raises(configs.ConfigError, match=r'slurm\.minutes: the jobs'):
    slurm.run(varied, workdir, Console(quiet=True))


# Names of points.


@pytest.mark.parametrize(
  'text',
  [
    'init_std=0.01,norm=none,seed=0',
    'features=(20, 20)',
    "sites=('stem=none',)",
    'bn_x5,seed=0',
    'tfds_name=name:1.0.0',
    'name=größe 5% {a} & $b; ~x',
    'x' * 255,
  ],
)
def test_a_safe_name_stays_as_it_is(text):
  assert directory_name(text) == text


UNSAFE = {
  'path=../..': 'path=.._..',
  'path=/etc/passwd': 'path=_etc_passwd',
  'sites=[stem*=none]': 'sites=_stem_=none_',
  'a?b': 'a_b',
  'C:\\runs': 'C:_runs',
  'two\nlines\t\x1b[31m': 'two_lines___31m',
  'null\0': 'null_',
  'not UTF-8 \udcff': 'not UTF-8 _',
  'line\u2028separator': 'line_separator',
  '': '_',
  '.': '_.',
  '..': '_..',
  '.hidden': '_.hidden',
  'slurm': '_slurm',
  'x' * 256: 'x' * 200,
  'é' * 150: 'é' * 100,
  'x' + 'é' * 150: 'x' + 'é' * 99,
}


def test_any_text_makes_a_folder_of_its_own_that_tells_it(tmp_path):
  made = {text: directory_name(text) for text in UNSAFE}
  for text, name in made.items():
    assert re.fullmatch(re.escape(UNSAFE[text]) + '~[0-9a-f]{12}', name)
    path = tmp_path / name
    (path / 'checkpoints').mkdir(parents=True)
    assert path.resolve() == tmp_path.resolve() / name
    found = glob.glob(f'{path}/*')
    assert found == [f'{path}/checkpoints']
    assert directory_name(name) == name
  assert len(set(made.values())) == len(UNSAFE)
  assert sorted(made.values()) == sorted(f.name for f in tmp_path.iterdir())
  assert made[''] != directory_name('_')
  assert directory_name('a[') != directory_name('a]')


def names_of(*sweep):
  config = default.get_config()
  with config.unlocked():
    config.sweep = sweep
  return [point.name for point in points(config, {})]


def test_points_are_named_by_values_as_the_config_has_them():
  assert names_of() == names_of({}) == ['.']
  assert names_of({}, {'seed': 1}) == ['defaults', 'seed=1']
  lists = [{'model.features': [10]}, {'model.features': (20, 20)}]
  assert names_of(*lists) == ['features=(10,)', 'features=(20, 20)']
  rates = {
    'mean': tuple(np.logspace(-1, 0, 2)),
    'rate': np.logspace(0, 1, 2)[0],
  }
  assert _name(rates, {key: key for key in rates}) == 'mean=(0.1, 1.0),rate=1.0'
  twice = "'features=(10,)' stands in it twice"
  with pytest.raises(configs.ConfigError, match=re.escape(twice)):
    names_of({'model.features': [10]}, {'model.features': (10,)})
  path, pattern = names_of(
    {'start.path': '../..'}, {'norm.sites': ('*[0-9]=none',)}
  )
  assert re.fullmatch(r'path=\.\._\.\.~\w{12}', path)
  assert re.fullmatch(r"sites=\('__0-9_=none',\)~\w{12}", pattern)


# Points that another process has.


@pytest.mark.parametrize('processes', [1, 2])
def test_a_point_whose_directory_is_taken_meanwhile_is_refused_not_done(
  processes, tmp_path
):
  config = default.get_config()
  few = {'data.name': 'synthetic', 'model.features': (2,), 'train.steps': 1}
  every = dict.fromkeys(('train.log_every', 'eval.every'), 1)
  configs.override(config, few | every)
  with config.unlocked():
    config.sweep = ({'seed': 0}, {'seed': 1})
  chosen = points(config, {})
  # Both are one directory: who comes second finds the other's.
  chosen[0].directory(tmp_path).mkdir()
  chosen[1].directory(tmp_path).symlink_to('seed=0')
  console = Console(file=io.StringIO(), width=1000)
  result = local.run(chosen, tmp_path, processes, console)
  assert sorted(result.values()) == ['done', 'refused']
  (refused,) = (name for name, s in result.items() if s == 'refused')
  why = r'was made by a different config:|belongs to process \d+ on '
  told = rf'{refused}: {tmp_path}/{refused} ({why})'
  assert re.search(told, console.file.getvalue())
  if processes == 1:
    assert result['seed=0'] == 'done'


@pytest.mark.parametrize(
  ('statuses', 'status', 'lines'),
  [
    (['done', 'diverged'], 0, ['All is done.']),
    (
      ['done', 'refused'],
      1,
      ['1 refused: their directories are not theirs, see above.'],
    ),
    (
      ['failed', 'refused', 'waiting'],
      1,
      [
        '1 failed: --retry_failed runs what has failed again.',
        '1 refused: their directories are not theirs, see above.',
        'The same command again continues.',
      ],
    ),
  ],
)
def test_the_end_says_what_is_to_be_done_next(statuses, status, lines):
  console = Console(file=io.StringIO(), width=1000)
  result = dict(enumerate(statuses))
  assert _conclude(result, launch.Options(), console) == status
  assert console.file.getvalue().splitlines() == lines


# Signals.


@pytest.mark.parametrize('number', interruptions.ASKED)
def test_a_request_is_noted_and_the_next_has_its_usual_effect(number):
  came = []
  usual = signal.signal(number, lambda *_: came.append(number))
  try:
    with interruptions.noted() as interrupted:
      signal.raise_signal(number)
      assert interrupted()
      assert not came
      signal.raise_signal(number)
      assert came == [number]
  finally:
    signal.signal(number, usual)


def test_the_end_of_the_terminal_is_none_of_a_run_under_nohup():
  usual = signal.signal(signal.SIGHUP, signal.SIG_IGN)
  try:
    with interruptions.noted() as interrupted:
      signal.raise_signal(signal.SIGHUP)
      assert not interrupted()
      assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
      signal.raise_signal(signal.SIGTERM)
      assert interrupted()
  finally:
    signal.signal(signal.SIGHUP, usual)


@pytest.mark.parametrize('number', interruptions.WARNED)
def test_a_warning_of_slurm_is_noted_as_often_as_it_comes(number):
  usual = signal.getsignal(number)
  with interruptions.noted() as interrupted:
    assert not interrupted()
    signal.raise_signal(number)
    assert interrupted()
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(number)
  assert signal.getsignal(number) == usual


def test_a_second_request_has_its_usual_effect():
  with interruptions.noted() as interrupted:
    signal.raise_signal(signal.SIGTERM)
    assert interrupted()
    with pytest.raises(KeyboardInterrupt):
      signal.raise_signal(signal.SIGINT)


def test_points_that_a_stopped_sweep_never_begins_are_not_waited_for():
  begun, go_on = threading.Event(), threading.Event()

  def train():
    begun.set()
    return go_on.wait(10)

  pool = concurrent.futures.ThreadPoolExecutor(1)
  futures = [pool.submit(train) for _ in range(3)]
  assert begun.wait(10)
  pool.shutdown(wait=False, cancel_futures=True)  # as a signal's handler does
  go_on.set()
  ended = [*local._as_ended(futures)]
  assert {*ended} == {*futures}
  assert [future.cancelled() for future in futures] == [False, True, True]


@pytest.mark.parametrize(
  ('left', 'text'),
  [
    (59.9, '00:59'),
    (3_600, '01:00:00'),
    (86_399, '23:59:59'),
    (86_400, '1d 00:00:00'),
    (3 * 86_400 + 7_384, '3d 02:03:04'),
  ],
)
def test_how_long_it_takes_has_days(left, text):
  status = {'steps_per_second': 0.5, 'steps': 10 + left / 2, 'step': 10}
  assert progress.eta(status) == text
