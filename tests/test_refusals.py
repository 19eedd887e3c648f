"""What a user can fix is one message: no traceback, and nothing is written."""

import itertools
import os
import pathlib
import signal
import subprocess
import sys
import unicodedata

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import benchmarks.norm
import experiments.ioffe2015_figure1
import experiments.ioffe2015_scale_invariance
from bnresearch import command, main, paths, terminal
from bnresearch import config as configs
from bnresearch.conventions import __main__ as conventions
from bnresearch.data import (
  DamagedData,
  _folder_report,
  _sheet,
  _tfds,
  image_folder,
  mnist,
)
from bnresearch.data import __main__ as data
from bnresearch.inference import predict
from bnresearch.machine import hosts, process
from bnresearch.models import __main__ as models
from bnresearch.reports import predictions, summary
from bnresearch.selftest import __main__ as selftest
from bnresearch.sweeps import progress
from bnresearch.sweeps.points import Point, points
from bnresearch.training import stream
from configs import default
from tests import folders

ROOT = pathlib.Path(__file__).parents[1]
DEFAULT = f'--config={ROOT}/configs/default.py'
FIRST_CONFIG = min((ROOT / 'configs').glob('[!_]*.py'))
# Markup that Rich refuses, some that it takes, an emoji's name, a formula, and
# what moves a terminal's cursor.
NAME = '[/bold][red]:cat:$a_{$\x1b[2J'
SHOWN = r'[/bold][red]:cat:$a_{$\x1b[2J'


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path, monkeypatch):
  (tmp_path / 'here').mkdir()
  monkeypatch.chdir(tmp_path / 'here')


def refused(command_line, arguments, capsys, status=2):
  """Returns what a failing command says; checks that it writes nothing."""
  before = {f: f.lstat().st_mtime_ns for f in pathlib.Path().rglob('*')}
  try:
    found = command_line.main([str(a) for a in arguments])
  except SystemExit as error:  # argparse's
    found = error.code
  said = capsys.readouterr()
  assert found == status
  assert said.out == ''
  assert 'Traceback' not in said.err
  after = {f: f.lstat().st_mtime_ns for f in pathlib.Path().rglob('*')}
  assert {f for f in after if f.suffix != '.pyc'} - before.keys() <= {
    pathlib.Path('__pycache__')
  }
  return said.err


# Config files.

HEAD = 'from configs import default\n\ndef get_config(arg):\n'
BODY = f'{HEAD}  c = default.get_config()\n'


@pytest.mark.parametrize(
  ('code', 'message'),
  [
    ('def get_config():\n  return 1\n', 'its get_config() needs one argument'),
    ('get_config = 3\n', 'has no function get_config(arg)'),
    (f'{HEAD}  return None\n', 'get_config returns None; needs an ml_collec'),
    (f'{HEAD}  return {{}}\n', 'get_config returns {}; needs an ml_coll'),
    (
      f'{BODY}  c.optim.lr = 1\n',
      'mine.py, line 5: AttributeError: \'Key "lr"',
    ),
    (f'{BODY}  c.sweep = ({{}} for _ in "ab")\n', 'line 5: TypeError: Could'),
    (f'{BODY}  c.label = 5\n  return c\n', "field 'label'"),
    (
      f'{BODY}  c.sweep = ({{1: 2}},)\n  return c\n',
      'sweep: needs a tuple of {"dotted.key": value}',
    ),
    (
      f'{BODY}  c.sweep = ({{"label": 5}},)\n  return c\n',
      "label = 5: needs str, like ''",
    ),
    (
      f'{BODY}  with c.unlocked():\n    c[1] = 2\n  return c\n',
      'needs the names of knobs as keys',
    ),
    (
      f'{BODY}  with c.unlocked():\n    c.optim.lr = 2\n  return c\n',
      "optim.lr: no such knob. Did you mean 'optim.l2'?",
    ),
    ('def get_config(arg)\n', "mine.py, line 1: SyntaxError: expected ':'"),
    ('import nothing_such\n', 'mine.py, line 1: ModuleNotFoundError: No mod'),
    (
      'raise ModuleNotFoundError("No module", name="configs")',
      'No module. The folders configs/, experiments/ and benchmarks/ are in',
    ),
    (f'{HEAD}  return 1 / 0\n', 'line 4: ZeroDivisionError: division by zero'),
    (f'{HEAD}  return int("x")\n', 'line 4: ValueError: invalid literal'),
    (f'{HEAD}  raise ValueError("no " + arg)\n', 'mine.py:5: no 5'),
    (f'{HEAD}  return get_config(arg)\n', 'line 4: RecursionError'),
  ],
)
def test_a_config_file_that_fails_is_told_by_its_line(code, message, capsys):
  pathlib.Path('mine.py').write_text(code)
  arguments = ['--config=mine.py:5', '--workdir=run']
  assert message in refused(main, arguments, capsys)


@pytest.mark.parametrize(
  ('file', 'message'),
  [
    ('gs://bucket/mine.py', 'gs://bucket/mine.py: is no path on this machine'),
    ('~nobody-such/mine.py', 'there is no such home'),
    ('.', 'is a folder; needs a Python file'),
    ('mine.yaml', 'needs a Python file, whose name ends in .py'),
    ('run/config.json', '--mode=eval --workdir=run evaluates'),
    ('absent.py', f'no such file. Known: {FIRST_CONFIG}'),
  ],
)
def test_what_is_no_config_file_is_told(file, message, capsys):
  pathlib.Path('run').mkdir()
  for name in ('mine.yaml', 'run/config.json'):
    pathlib.Path(name).write_text('{}')
  assert message in refused(main, [f'--config={file}'], capsys)


def test_numbers_of_numpy_are_numbers(capsys):
  pathlib.Path('mine.py').write_text(
    f'import numpy as np\n{BODY}'
    '  c.optim.learning_rate = np.float64(0.5)\n'
    '  c.sweep = tuple({\n'
    "    'optim.l2': r, 'seed': np.int64(3), 'optim.nesterov': np.bool_(0),\n"
    "    'model.features': np.array([10, 20]),\n"
    "    'data.mean': (np.float32(0.5),)}\n"
    '    for r in np.logspace(-2, -1, 2))\n'
    '  return c\n'
  )
  first, _ = points(configs.load('mine.py'), {})
  assert type(first.config.optim.learning_rate) is float
  assert type(first.config.optim.l2) is float
  assert first.config.seed == 3
  assert first.config.model.features == (10, 20)
  assert first.config.data.mean == (0.5,)
  assert 'l2=0.01,seed=3' in first.name


def test_a_config_file_loads_from_any_folder(monkeypatch, tmp_path):
  pathlib.Path('mine.py').write_text(f'{BODY}  return c\n')
  for name in [n for n in sys.modules if n.split('.')[0] == 'configs']:
    monkeypatch.delitem(sys.modules, name)
  elsewhere = [p for p in sys.path if not pathlib.Path(p, 'configs').is_dir()]
  monkeypatch.setattr(sys, 'path', elsewhere)
  assert configs.load('mine.py').optim.learning_rate == 0.1
  assert configs.load(f'{ROOT}/configs/figure1.py').data.binarize
  assert sys.path == elsewhere


def test_a_config_file_imports_its_own_package_first(tmp_path):
  package = tmp_path / 'there' / 'mine'
  package.mkdir(parents=True)
  (package / '__init__.py').touch()
  (package / 'rates.py').write_text('RATE = 0.25\n')
  (package / 'study.py').write_text(
    f'from mine import rates\n{BODY}  c.optim.learning_rate = rates.RATE\n'
    '  return c\n'
  )
  before = list(sys.path)
  assert configs.load(f'{package}/study.py').optim.learning_rate == 0.25
  assert sys.path == before


@pytest.mark.parametrize(
  ('knob', 'message'),
  [
    ('model.features=' + '(' * 300 + ')' * 300, 'model.features = '),
    ('optim.l2=' + '-' * 100_000 + '1', 'optim.l2 = '),
    ('optim.l2=' + '+'.join(['1'] * 100_000), 'optim.l2 = '),
    ('seed=' + '9' * 5000, 'seed = '),
    (
      'optim.learning_rate=1e39',
      'optim.learning_rate = 1e+39: is infinite in float32, whose numbers are '
      'at most 3.403e+38',
    ),
    ('norm.epsilon=1e-50', 'norm.epsilon = 1e-50: is 0 in float32'),
    ('data.mean=(0.5, 1e39)', 'data.mean = (0.5, 1e+39): is infinite'),
    (f'train.steps={10**400}', 'does not fit into 32 bits'),
    (f'model.features=(9, {2**32})', 'does not fit into 32 bits'),
    ('data.folder=gs://bucket/a', 'data.folder = '),
    ('start.path=s3://bucket/a', 'needs a path on this machine'),
    ('start.path=~nobody-such/run', 'there is no such home'),
    ('start.path=~/nothing-such', "nothing-such': there is nothing"),
  ],
)
def test_a_value_that_cannot_be_is_refused_by_name(knob, message, capsys):
  said = refused(main, [DEFAULT, f'--config.{knob}', '--workdir=r'], capsys)
  assert message in said
  assert len(said) < 600


# Paths.


@pytest.mark.parametrize(
  ('flags', 'message'),
  [
    (
      ['--workdir=gs://bucket/run'],
      'gs://bucket/run: is no path on this machine',
    ),
    (['--workdir=file/run'], 'Not a directory'),
    (['--workdir=file'], 'file is a file, not a directory'),
    (['--workdir=new', '--collect=file/a.csv'], 'takes no file (Not a direct'),
    (['--workdir=/proc/none'], '/proc takes no file (No such file or direct'),
    (['--workdir=link'], 'link takes no file (No such file or directory)'),
    (['--workdir=' + 'a' * 300], 'File name too long'),
    (['--collect=folder.csv'], '--collect=folder.csv: is a folder'),
    (['--collect=file/a.csv'], '--collect=file/a.csv: cannot be written'),
    (['--collect=/proc/a.csv'], '--collect=/proc/a.csv: cannot be written'),
    (['--mode=eval', '--figure=/proc/a.png'], '--figure=/proc/a.png: cannot'),
    (['--mode=eval', '--predictions=folder.csv'], 'folder.csv: is a folder'),
    (['--mode=eval', '--workdir=~nobody-such'], 'there is no such home'),
    (['--mode=predict', '--workdir=.'], 'is no run directory'),
  ],
)
def test_a_path_that_cannot_be_is_refused_before_the_work(
  flags, message, capsys
):
  pathlib.Path('file').touch()
  pathlib.Path('folder.csv').mkdir()
  pathlib.Path('link').symlink_to('nowhere')
  config = [] if '--mode' in flags[0] else [DEFAULT]
  assert message in refused(main, [*config, *flags], capsys)


def test_a_home_is_expanded_in_every_path(monkeypatch, tmp_path, capsys):
  monkeypatch.setenv('HOME', str(tmp_path))
  (tmp_path / 'mine.py').write_text(f'{BODY}  return c\n')
  assert main.main(['--config=~/mine.py', '--list']) == 0
  status = main.main(['--config=~/mine.py', '--status', '--workdir=~/runs/a'])
  assert status == 0
  assert f'{tmp_path}/runs/a' in capsys.readouterr().out.replace('\n', '')
  said = refused(main, ['--mode=eval', '--workdir=~/none'], capsys)
  assert f'{tmp_path}/none is no run directory' in said
  said = refused(data, ['--prepare=cifar10', '--from=~/none'], capsys)
  assert f'{tmp_path}/none lacks' in said
  with pytest.raises(image_folder.MissingData, match=f'{tmp_path}/photos'):
    image_folder.spec(folder='~/photos')


@pytest.mark.parametrize(
  ('command_line', 'arguments', 'message'),
  [
    (data, ['--inspect=digits', '--output=file/a.png'], 'file/a.png: cannot'),
    (
      data,
      ['--inspect=digits', '--output=gs://b/a.png'],
      'no path on this mach',
    ),
    (data, ['--inspect=digits', '--config=absent.py'], 'absent.py: no such'),
    (data, ['--prepare=mnist', '--from=gs://b'], 'is no path on this machine'),
    (models, ['--model=mlp_such'], 'No published network'),
    (models, ['--model=lenet_5', '--size=1'], '1'),
    (models, ['--model=lenet_5', '--size=-3'], '-3'),
    (models, ['--model=lenet_5', '--size=99999999'], 'needs 65,536 pixels or'),
    (models, ['--model=lenet_5', '--classes=0'], '0'),
    (conventions, ['--from=pytorch', '--to=flux'], "Did you mean 'flax'"),
    (conventions, ['--from=pytorch', '--to=flax', '--momentum=nan'], 'nan'),
    (conventions, ['--from=pytorch', '--to=flax', '--steps=-1'], '-1'),
    (selftest, ['--cpu_devices=0'], 'needs 1 or more'),
    (experiments.ioffe2015_figure1, ['--output=file/a'], 'file/a.png: cannot'),
    (
      experiments.ioffe2015_figure1,
      ['--workdir=gs://b/a'],
      'no path on this mach',
    ),
    (experiments.ioffe2015_scale_invariance, ['--output=file/a'], 'cannot be'),
    (benchmarks.norm, ['--output=file/a.json'], 'file/a.json: cannot'),
  ],
)
def test_every_command_line_refuses_alike(
  command_line, arguments, message, capsys
):
  pathlib.Path('file').touch()
  assert message in refused(command_line, arguments, capsys)


def test_a_run_that_is_done_may_lie_where_nothing_can_be_written():
  assert paths.unwritable_folder(pathlib.Path('new/deep')) == ''
  assert paths.unwritable(pathlib.Path('new/a.png')) == ''
  assert not pathlib.Path('new').exists()


# Memory, interruptions, pipes, and faults of this code.


@pytest.mark.parametrize(
  ('fails', 'message'),
  [
    (lambda: np.empty(2**60, np.uint8), 'Out of memory (Unable to allocate'),
    (lambda: jnp.zeros(2**44), 'Out of memory (RESOURCE_EXHAUSTED'),
    (
      lambda: pathlib.Path('none').read_text(),
      'none: No such file or directory.',
    ),
    (lambda: os.close(-1), 'Bad file descriptor.'),
    (lambda: pathlib.Path('a\x1b[2J').read_text(), r'a\x1b[2J: No such file'),
  ],
)
def test_what_the_machine_refuses_is_one_message(fails, message, capsys):
  @command.line()
  def fail(argv):
    fails()

  assert fail([]) == 2
  assert capsys.readouterr().err.startswith(message)


def test_a_fault_of_this_code_keeps_its_traceback(capsys):
  @command.line()
  def fail(argv):
    raise KeyError('x')

  with pytest.raises(KeyError):
    fail([])

  @command.line()
  def interrupted(argv):
    signal.raise_signal(signal.SIGINT)

  assert interrupted([]) == 1
  assert capsys.readouterr().err == 'Interrupted.\n'


@pytest.mark.parametrize(
  'arguments',
  [
    ['bnresearch.main', '--config=../mine.py', '--list'],
    ['bnresearch.conventions'],
  ],
)
def test_without_a_home_or_a_reader_it_ends_quietly(arguments, tmp_path):
  """As `| head` does."""
  (tmp_path / 'mine.py').write_text(f'{BODY}  return c\n')
  hidden = {'HOME', 'XDG_CACHE_HOME', 'PYTHONPATH'}
  reader, writer = os.pipe()
  os.close(reader)
  done = subprocess.run(
    [sys.executable, '-m', *arguments],
    cwd=pathlib.Path(),
    env={k: v for k, v in os.environ.items() if k not in hidden}
    | {'PYTHONPATH': str(ROOT)},
    stdout=writer,
    stderr=subprocess.PIPE,
    text=True,
  )
  os.close(writer)
  assert (done.returncode, done.stderr) == (1, '')


# Names.


@pytest.fixture
def console(capsys):
  """A console, and what it has printed."""
  shown = terminal.Console(width=100)
  return shown, lambda: capsys.readouterr().out


def test_names_are_shown_as_they_are(console, capsys):
  shown, printed = console
  point = Point(NAME, default.get_config())
  shown.print(summary.table([point], pathlib.Path(f'runs{NAME}')))
  assert printed().count(SHOWN) == 2
  (found,) = [predict.Prediction(f'\udcff{NAME}', np.array([0.75, 0.25]))]
  shown.print(predictions._table([found], [NAME, 'b']))
  text = printed().replace('\n', '')
  assert r'\udcff' in text
  assert SHOWN in text
  terminal.say(f'\udcff{NAME}')
  assert printed() == rf'\udcff{SHOWN}' + '\n'


def test_a_progress_bar_shows_names_as_they_are(recorded, capsys):
  run = recorded('a[red]b', status='running')
  (run.path / 'status.json').write_text(
    '{"status": "done", "step": 1, "steps": 2, "steps_per_second": 1}'
  )
  console = terminal.Console(force_terminal=True, width=100)
  point = Point(run.path.name, default.get_config())
  with progress.shown([point], run.path.parent, console):
    pass
  assert 'a[red]b' in capsys.readouterr().out


def test_class_names_are_no_formulas(tmp_path):
  image_HWC = np.zeros((4, 4, 3), np.uint8)
  half = [(image_HWC, 'cost $a_{$ $')]
  _sheet.draw({'a': half, 'b': half}, tmp_path / 'a.png')
  with Image.open(tmp_path / 'a.png') as drawn:
    drawn.verify()


def test_a_class_in_two_unicode_forms_is_told_as_such(tmp_path):
  nfc, nfd = (unicodedata.normalize(f, 'café') for f in ('NFC', 'NFD'))
  for split, name in itertools.product(('train', 'val'), ('tea', nfc)):
    if (split, name) == ('val', nfc):
      name = nfd
    folders.save(tmp_path / split / name / '0.jpg', folders.photo(0, 60))
  with pytest.raises(DamagedData) as caught:
    image_folder.spec(folder=str(tmp_path))
  assert 'another Unicode form' in str(caught.value)
  assert r"train/'caf\xe9', val/'cafe\u0301'" in str(caught.value)


def test_what_cannot_be_followed_in_a_folder_is_named(tmp_path):
  folder = tmp_path / 'in'
  folders.save(folder / 'sub' / 'a.jpg', folders.photo(0, 60))
  (tmp_path / 'other').mkdir()
  (folder / 'linked').symlink_to(tmp_path / 'other')
  (folder / 'broken.jpg').symlink_to('nowhere.jpg')
  os.mkfifo(folder / 'pipe.jpg')
  found = predict.files([folder])
  names = [pathlib.Path(f).name for f in found]
  assert names == ['broken.jpg', 'linked', 'pipe.jpg', 'a.jpg']
  problems = dict(zip(names, map(predict._problem, found)))
  assert problems == {
    'broken.jpg': 'a broken link',
    'linked': 'a link to a folder, not followed: name it beside the others',
    'pipe.jpg': 'neither a file nor a folder that can be read',
    'a.jpg': '',
  }


# The machine.


def test_without_a_cache_all_works(monkeypatch, tmp_path):
  (tmp_path / 'file').touch()
  monkeypatch.setenv('XDG_CACHE_HOME', str(tmp_path / 'file'))
  assert paths.cache() is None
  folder = folders.in_order(tmp_path / 'photos')
  assert image_folder.spec(folder=str(folder)).examples['train'] == 10
  assert _folder_report._kept({'reason': ['a'] * 30}) == ''


def test_a_file_is_replaced_as_a_whole_or_not_at_all(tmp_path):
  file = tmp_path / 'new' / 'a.csv'
  for text in ('first', 'second'):
    with paths.replacing(file) as partial:
      partial.write_text(text)
    assert file.read_text() == text

  def write_half():
    with paths.replacing(file) as partial:
      partial.write_text('half')
      raise OSError('the disk is full')

  with pytest.raises(OSError, match='full'):
    write_half()
  assert [f.name for f in file.parent.iterdir()] == ['a.csv']
  assert file.read_text() == 'second'


def test_a_cache_that_is_cut_off_is_made_again(originals, tmp_path):
  originals('mnist')
  whole = mnist.load('test')
  (file,) = paths.cache().glob('mnist-*-test-*.npz')
  file.write_bytes(file.read_bytes()[:100_000])
  again = mnist.load('test')
  np.testing.assert_array_equal(again.images_NHWC, whole.images_NHWC)
  assert _tfds._kept(file) is not None


def test_a_users_own_compilation_cache_is_kept(monkeypatch):
  monkeypatch.setenv('JAX_COMPILATION_CACHE_DIR', '/mine')
  before = jax.config.jax_compilation_cache_dir
  process._keep_programs()
  assert jax.config.jax_compilation_cache_dir == before
  monkeypatch.delenv('JAX_COMPILATION_CACHE_DIR')
  try:
    process._keep_programs()
    assert jax.config.jax_compilation_cache_dir == f'{paths.cache()}/xla'
  finally:
    jax.config.update('jax_compilation_cache_dir', before)


@pytest.mark.parametrize(
  ('variables', 'count'),
  [
    ({}, 1),
    ({'SLURM_NTASKS': '4'}, 1),
    ({'SLURM_STEP_NODELIST': 'a', 'SLURM_NTASKS': '4'}, 4),
    (
      {
        'SLURM_STEP_NODELIST': 'a',
        'SLURM_NTASKS': '4',
        'SLURM_STEP_NUM_TASKS': '1',
      },
      1,
    ),
  ],
)
def test_an_interactive_shell_of_slurm_is_alone(monkeypatch, variables, count):
  for name in ('SLURM_STEP_NODELIST', 'SLURM_NTASKS', 'SLURM_STEP_NUM_TASKS'):
    monkeypatch.delenv(name, raising=False)
  for name, value in variables.items():
    monkeypatch.setenv(name, value)
  assert hosts._tasks_of_slurm() == count
  if count == 1:
    assert hosts.join() is False


@pytest.mark.skipif(not pathlib.Path('/dev/shm').is_dir(), reason='no /dev/shm')
def test_workers_need_shared_memory(tmp_path):
  source = image_folder.load('train', folder=str(folders.in_order(tmp_path)))
  stream.check_shared_memory(source, 2, 60, (224, 224, 3))
  message = r'data\.workers = 2: needs 602,\d+,\d+\.\d MB in /dev/shm, .*--shm-'
  with pytest.raises(configs.ConfigError, match=message):
    stream.check_shared_memory(source, 2, 10**9, (224, 224, 3))
  # What Grain says of a worker that the system has killed for want of it.
  with (
    pytest.raises(configs.ConfigError, match='no room in /dev/shm'),
    stream._told(2),
  ):
    raise RuntimeError('Worker process was terminated with exit code -7.')
