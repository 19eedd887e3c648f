"""Mirrors: other tools show what the logbook of a run has."""

import importlib.util
import itertools
import json
import logging
import pathlib
import struct
import sys
import tomllib
import types

import numpy as np
import pytest
from rich.console import Console

from bnresearch import config as configs
from bnresearch import lookup
from bnresearch.assembly import assemble
from bnresearch.mirrors import Row
from bnresearch.runs import run_directory, session
from bnresearch.runs.mirroring import Mirrors
from bnresearch.sweeps import checks
from bnresearch.sweeps.points import points
from bnresearch.sweeps.vectorized import launcher as vectorized
from configs import default

ROOT = pathlib.Path(__file__).parents[1]


def config_of(*mirrors, sweep=(), **values):
  config = default.get_config()
  small = {
    'data.name': 'synthetic',
    'model.features': (16,),
    'train.steps': 60,
    'train.log_every': 10,
    'train.batch_size': 12,
    'eval.every': 20,
    'checkpoint.every': 40,
    'probes.names': (
      'activation_histogram',
      'activation_percentiles',
      'activation_moments',
    ),
    'probes.bins': 4,
    'probes.every': 20,
    'probes.examples': 50,
    'log.mirrors': mirrors,
  }
  dotted = {key.replace('__', '.'): value for key, value in values.items()}
  assert not configs.override(config, small | dotted)
  with config.unlocked():
    config.sweep = sweep
  return config.lock()


def logged(path):
  """Returns {name: [(step, array)]} of the logbook of a run."""
  found = {}
  for line in (path / 'metrics.jsonl').read_text().splitlines():
    row = json.loads(line)
    step = row.pop('step')
    for name, value in row.items():
      found.setdefault(name, []).append((step, np.asarray(value)))
  return found


def killed_at(call):
  """Returns what ends a run at a call, as a second Ctrl-C: nothing is saved."""
  calls = itertools.count(1)

  def interrupted():
    if next(calls) == call:
      raise KeyboardInterrupt
    return False

  return interrupted


def train(path, config, killed=0):
  if not killed:
    return session.train(assemble(config), path)
  with pytest.raises(KeyboardInterrupt):
    session.train(assemble(config), path, killed_at(killed))
  return ''


# The room.


@pytest.mark.parametrize('name', lookup.names('mirrors'))
def test_a_mirror_has_a_package_which_an_extra_of_its_name_brings(name):
  entry = lookup.find('mirrors', name)
  text = (ROOT / 'pyproject.toml').read_text()
  extras = tomllib.loads(text)['project']['optional-dependencies']
  assert any(line.startswith(entry.PACKAGE) for line in extras[name])
  assert {'write', 'close'} <= set(dir(entry.Mirror))


@pytest.mark.parametrize('name', lookup.names('mirrors'))
def test_a_mirror_whose_package_is_missing_is_refused_beforehand(
  name, monkeypatch
):
  package = lookup.find('mirrors', name).PACKAGE
  monkeypatch.setitem(sys.modules, package, None)
  message = (
    rf"log\.mirrors = .*: '{name}' needs {package}, which is not installed: "
    rf"pip install 'bnresearch\[{name}\]'\."
  )
  with pytest.raises(configs.ConfigError, match=message):
    checks.check_points(points(config_of(name), {}))
  tiny = points(config_of(name, dry_run=True), {})
  checks.check_points([p._replace(config=configs.tiny(p.config)) for p in tiny])


class Broken:
  """A mirror that fails at a time of its life."""

  when = ''

  def __init__(self, path, values, *, fresh):
    self._fail('open')

  def write(self, row):
    self._fail('write')

  def close(self):
    self._fail('close')

  def _fail(self, when):
    if when == Broken.when:
      raise OSError('no space left')


@pytest.mark.parametrize('when', ['open', 'write', 'close'])
def test_a_mirror_that_fails_is_told_once_and_the_run_goes_on(
  when, tmp_path, monkeypatch, caplog
):
  entry = types.SimpleNamespace(Mirror=Broken)
  monkeypatch.setattr(lookup, 'find', lambda room, name: entry)
  monkeypatch.setattr(Broken, 'when', when)
  run = run_directory.RunDirectory(tmp_path)
  with caplog.at_level(logging.WARNING):
    mirrors = Mirrors(run, config_of('tensorboard'))
    for step in (1, 2):
      mirrors.write(step, {'loss': 1.0})
    mirrors.close()
  (record,) = caplog.records
  assert record.getMessage() == (
    f'{tmp_path}: the mirror tensorboard has failed and shows no more (no '
    'space left). The run goes on, and metrics.jsonl has all.'
  )


def test_one_host_of_several_shows_the_run(tmp_path, monkeypatch, caplog):
  monkeypatch.setattr(lookup, 'find', None)
  run = run_directory.RunDirectory(tmp_path, writes=False)
  mirrors = Mirrors(run, config_of('tensorboard'))
  mirrors.write(1, {'loss': 1.0})
  mirrors.close()
  assert ([*tmp_path.iterdir()], caplog.records) == ([], [])


# TensorBoard.


def events(file):
  """Yields the events of a file of TensorBoard."""
  protos = pytest.importorskip('tensorboardX.proto.event_pb2')
  content = file.read_bytes()
  while content:
    (size,) = struct.unpack('<Q', content[:8])
    yield protos.Event.FromString(content[12 : 12 + size])
    content = content[16 + size :]


def shown_by_tensorboard(path):
  """Returns {tag: [(step, value)]}; of the files, the last forgets others."""
  files = sorted((path / 'tensorboard').iterdir())
  assert 1 <= len(files) <= 2
  version, start, *rest = events(files[-1])
  assert version.file_version == 'brain.Event:2'
  assert (start.step, start.session_log.status) == (0, start.session_log.START)
  found = {}
  for event in rest:
    for value in event.summary.value:
      found.setdefault(value.tag, []).append((event.step, value))
  return found


def assert_tensorboard_shows_histograms(shown, expected, name):
  """Compares, and takes the arrays that they are made of out of `expected`."""
  counts, edges = (expected.pop(f'{name}/{k}') for k in ('counts', 'edges'))
  assert [step for step, _ in shown[name]] == [step for step, _ in counts]
  for (_, value), (_, counts_CB), (_, limits) in zip(
    shown[name], counts, edges
  ):
    histogram, total_B = value.histo, counts_CB.sum(0)
    assert histogram.num == 16 * 50 == total_B.sum()
    assert [*histogram.bucket] == [*total_B]
    np.testing.assert_allclose(histogram.bucket_limit, limits[1:], 1e-6)
    ends = [histogram.min, histogram.max]
    np.testing.assert_allclose(ends, limits[[0, -1]], 1e-6)
    middles_B = (limits[1:] + limits[:-1]) / 2
    np.testing.assert_allclose(histogram.sum, total_B @ middles_B, 1e-5)
    squares = total_B @ middles_B**2
    np.testing.assert_allclose(histogram.sum_squares, squares, 1e-5)


def assert_tensorboard_shows_the_logbook(path):
  shown, expected = shown_by_tensorboard(path), logged(path)
  hparams = [tag for tag in shown if tag.startswith('_hparams_')]
  assert len(hparams) == 3
  wanted = {'probe/activation_histogram/hidden_1'}
  assert_tensorboard_shows_histograms(shown, expected, *wanted)
  for name, rows in expected.items():
    rank = rows[0][1].ndim
    for index in np.ndindex(rows[0][1].shape[: max(rank - 1, 0)]):
      tag = '/'.join([name, *map(str, index)])
      wanted.add(tag)
      assert [step for step, _ in shown[tag]] == [step for step, _ in rows]
      for (_, value), (_, array) in zip(shown[tag], rows):
        if rank:
          assert value.histo.num == array.shape[-1]
          np.testing.assert_allclose(value.histo.sum, array[index].sum(), 1e-5)
        else:
          np.testing.assert_allclose(value.simple_value, array, 1e-6)
  assert wanted | {*hparams} == shown.keys()


def test_tensorboard_shows_each_row_once_however_often_a_run_is_killed(
  tmp_path,
):
  pytest.importorskip('tensorboardX')
  config, path, last = config_of('tensorboard'), tmp_path / 'run', []
  for calls in (1, 6, 1):  # before a checkpoint, after one, after the same one
    train(path, config, killed=calls)
    assert_tensorboard_shows_the_logbook(path)
    last.append(max(s for rows in logged(path).values() for s, _ in rows))
  assert last == [0, 50, 40]
  assert train(path, config) == 'done'
  assert_tensorboard_shows_the_logbook(path)
  assert [step for step, _ in logged(path)['train/loss']] == [
    *range(10, 70, 10)
  ]


def test_a_mirror_may_be_had_by_a_run_that_has_begun(tmp_path):
  pytest.importorskip('tensorboardX')
  train(tmp_path / 'run', config_of(), killed=6)
  assert not (tmp_path / 'run' / 'tensorboard').exists()
  assert train(tmp_path / 'run', config_of('tensorboard')) == 'done'
  assert_tensorboard_shows_the_logbook(tmp_path / 'run')


def test_each_member_of_a_program_has_mirrors_of_its_own(tmp_path):
  pytest.importorskip('tensorboardX')
  config = config_of('tensorboard', sweep=({'seed': 0}, {'seed': 1}))
  chosen = points(config, {})
  statuses = vectorized.run(chosen, tmp_path, Console(quiet=True))
  assert {*statuses.values()} == {'done'}
  for point in chosen:
    assert_tensorboard_shows_the_logbook(point.directory(tmp_path))


def test_tensorboard_is_shown_numbers_that_are_not_finite(tmp_path):
  pytest.importorskip('tensorboardX')
  mirror = lookup.find('mirrors', 'tensorboard').Mirror(
    tmp_path, {'seed': 0, 'model.blocks': (1, 2)}, fresh=True
  )
  odd = np.array([np.nan, 1.0, np.inf])
  mirror.write(Row(5, {'loss': np.nan}, {'some': odd, 'none': odd[::2]}))
  mirror.close()
  shown = shown_by_tensorboard(tmp_path)
  assert np.isnan(shown['loss'][0][1].simple_value)
  assert shown['some'][0][1].histo.num == 1
  assert 'none' not in shown


def test_a_histogram_without_edges_is_not_shown(tmp_path):
  run = run_directory.RunDirectory(tmp_path)
  rows, mirrors = [], Mirrors(run, config_of())
  mirrors._open['seen'] = types.SimpleNamespace(write=rows.append)
  counts_CB = np.array([[1, 2], [3, 4]])
  for edges in (np.array([0.0, 0.5, 1.0]), np.full(3, np.nan)):
    mirrors.write(1, {'a/counts': counts_CB, 'a/edges': edges, 'loss': 1.0})
  mirrors.write(1, {'b/counts': counts_CB})
  assert [{*row.histograms} for row in rows] == [{'a'}, set(), set()]
  assert [{*row.channels} for row in rows] == [
    set(),
    set(),
    {'b/counts/0', 'b/counts/1'},
  ]
  assert [*rows[0].histograms['a'].counts_B] == [4, 6]


# W&B.


class WandB(types.ModuleType):
  """The part of W&B that the mirror uses; `begun` has its runs."""

  class Error(Exception):
    """That of W&B."""

  def __init__(self, seen=0, online=True):
    super().__init__('wandb')
    self.begun, self.finished, self.seen = [], 0, seen
    self.errors = types.SimpleNamespace(Error=self.Error)
    self._online = online
    self.__spec__ = importlib.util.spec_from_loader('wandb', None)

  Settings = dict

  @staticmethod
  def Histogram(values=None, np_histogram=None):
    return [*values] if np_histogram is None else np_histogram

  def setup(self, settings):
    assert settings['silent']

  def teardown(self):
    pass

  def init(self, **options):
    self.begun.append((options, {}))
    if options['mode'] != 'offline' and not self._online:
      raise self.Error('no network.')
    rows = self.begun[-1][1]

    def log(row, step):
      rows.setdefault(step, {}).update(row)

    def finish():
      self.finished += 1

    return types.SimpleNamespace(log=log, finish=finish, step=self.seen)


@pytest.fixture
def wandb(monkeypatch):
  """Returns a function that puts a W&B in place of the real one."""

  def make(**options):
    fake = WandB(**options)
    monkeypatch.setitem(sys.modules, 'wandb', fake)
    return fake

  for name in ('WANDB_MODE', 'WANDB_PROJECT'):
    monkeypatch.setenv(name, '')  # it may be set by the mirror
    monkeypatch.delenv(name)
  return make


def test_wandb_gets_the_config_and_every_row(tmp_path, wandb, monkeypatch):
  fake, path = wandb(), tmp_path / 'sweep' / 'seed=0'
  monkeypatch.setenv('WANDB_PROJECT', 'norms')
  assert train(path, config_of('wandb')) == 'done'
  ((options, rows),) = fake.begun
  assert options['id'] == (path / 'wandb' / 'id').read_text()
  names = options['project'], options['group'], options['name']
  assert names == ('norms', 'sweep', 'seed=0')
  assert options['config']['norm.name'] == 'batch'
  assert options['dir'] == path
  assert [*rows] == [*range(0, 70, 10)]
  expected, histogram = logged(path), 'probe/activation_histogram/hidden_1'
  counts, edges = (
    expected.pop(f'{histogram}/{k}') for k in ('counts', 'edges')
  )
  assert [step for step, _ in counts] == [0, 20, 40, 60]
  for (step, counts_CB), (_, limits) in zip(counts, edges):
    shown = rows[step][histogram]
    np.testing.assert_array_equal(shown[0], counts_CB.sum(0))
    np.testing.assert_allclose(shown[1], limits, 1e-6)
  assert not any(
    k.startswith(f'{histogram}/') for row in rows.values() for k in row
  )
  for name, values in expected.items():
    for step, array in values:
      if array.ndim == 2:
        got = [rows[step][f'{name}/{k}'] for k in range(len(array))]
      else:
        got = rows[step][name]
      np.testing.assert_allclose(got, array, 1e-6)
  assert fake.finished == 1


def test_a_continued_run_is_the_same_of_wandb_and_nothing_comes_twice(
  tmp_path, wandb
):
  first = wandb()
  train(tmp_path / 'run', config_of('wandb'), killed=6)
  assert [*first.begun[0][1]] == [*range(0, 60, 10)]
  assert first.finished == 1
  second = wandb(seen=51)  # W&B has what came before
  assert train(tmp_path / 'run', config_of('wandb')) == 'done'
  (before, _), (now, rows) = first.begun[0], second.begun[0]
  assert (now['id'], now['resume']) == (before['id'], 'allow')
  assert [*rows] == [60]


def test_a_run_that_begins_again_is_a_new_one_of_wandb(tmp_path, wandb):
  fake = wandb()
  train(tmp_path / 'run', config_of('wandb'), killed=1)
  train(tmp_path / 'run', config_of('wandb'), killed=1)
  (one, _), (other, _) = fake.begun
  assert one['id'] != other['id']


def test_without_a_network_wandb_keeps_the_run_here(tmp_path, wandb, caplog):
  fake = wandb(online=False)
  with caplog.at_level(logging.WARNING):
    for name in ('a', 'b'):
      run = run_directory.RunDirectory(tmp_path / name)
      mirrors = Mirrors(run, config_of('wandb'))
      mirrors.write(1, {'loss': 1.0})
      mirrors.close()
  assert [options['mode'] for options, _ in fake.begun] == [
    None,
    'offline',
    'offline',
  ]
  assert [rows for _, rows in fake.begun[1:]] == [{1: {'loss': 1.0}}] * 2
  (record,) = caplog.records
  assert record.getMessage() == (
    f'W&B: no network. The run goes on, and is kept in {tmp_path}/a/wandb: '
    '`wandb sync` uploads it.'
  )


def test_wandb_itself_keeps_a_run_that_is_offline(tmp_path, monkeypatch):
  pytest.importorskip('wandb')
  monkeypatch.setenv('WANDB_MODE', 'offline')
  train(tmp_path / 'run', config_of('wandb'), killed=6)
  assert train(tmp_path / 'run', config_of('wandb')) == 'done'
  folder = tmp_path / 'run' / 'wandb'
  identity = (folder / 'id').read_text()
  kept = [*folder.glob(f'offline-run-*-{identity}*/run-{identity}.wandb')]
  assert len(kept) == 2
  assert all(file.stat().st_size > 1000 for file in kept)
