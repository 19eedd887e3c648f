"""Many runs as one program, compared with the same runs one by one."""

import io
import json
import shutil

import jax
import numpy as np
import pytest
from rich.console import Console

import bnresearch as bnr
from bnresearch import config as configs
from bnresearch.assembly import assemble
from bnresearch.reports import results, summary
from bnresearch.runs import run_directory, session
from bnresearch.sweeps.points import points
from bnresearch.sweeps.vectorized import launcher as vectorized
from bnresearch.sweeps.vectorized import rounds, traced
from bnresearch.sweeps.vectorized.program import Program
from configs import default

CONSOLE = Console(quiet=True)
# Each member differs from the first one in one of the traced numbers.
SWEEP = (
  {'seed': 0},
  {'seed': 1},
  {'optim.learning_rate': 0.3},
  {'optim.momentum': 0.5},
  {'optim.l2': 0.01},
  {'model.init_std': 0.3},
  {'norm.epsilon': 0.1},
  {'norm.momentum': 0.5},
)
UNPROBED = {
  'probes__names': (),
  'probes__every': 500,
  'probes__examples': 1000,
}
KEYS = tuple({key: None for point in SWEEP for key in point})


def config_of(sweep=SWEEP, **values):
  config = default.get_config()
  first = {
    'optim.momentum': 0.9,
    'optim.l2': 1e-4,
    'data.name': 'synthetic',
    'data.held_out': 0.1,
    'model.features': (16, 16),
    'train.steps': 40,
    'train.log_every': 10,
    'train.batch_size': 12,
    'eval.every': 20,
    'checkpoint.every': 20,
    'probes.names': ('activation_percentiles', 'parameter_norm'),
    'probes.every': 20,
    'probes.examples': 50,
  }
  dotted = {key.replace('__', '.'): value for key, value in values.items()}
  assert not configs.override(config, first | dotted)
  with config.unlocked():
    config.sweep = sweep
  return config


def rows(path):
  text = (path / 'metrics.jsonl').read_text()
  return [json.loads(line) for line in text.splitlines()]


def arrays(row):
  """Returns a row whose lists are arrays: of these, some numbers are near 0."""
  return {name: np.asarray(value) for name, value in row.items()}


def trained(workdir, config, **options):
  chosen = points(config, {})
  assert set(
    vectorized.run(chosen, workdir, CONSOLE, **options).values()
  ) <= set(run_directory.ENDED)
  return {p.name: p.directory(workdir) for p in chosen}


@pytest.fixture(scope='module')
def together(tmp_path_factory):
  return trained(tmp_path_factory.mktemp('together'), config_of())


def test_members_have_the_numbers_and_records_of_single_runs(
  together, tmp_path, assert_close
):
  for point in points(config_of(), {}):
    path = tmp_path / point.name
    assert session.train(assemble(point.config), path) == 'done'
    own = together[point.name]
    assert {f.name for f in own.iterdir()} == {f.name for f in path.iterdir()}
    for expected, row in zip(rows(path), rows(own), strict=True):
      assert [*row] == [*expected]
      assert_close(arrays(row), arrays(expected), rtol=1e-4)
    statuses = (run_directory.read_status(p) for p in (own, path))
    of_member, alone = statuses
    assert of_member.keys() == alone.keys()
    run = bnr.open_run(own)
    assert_close(
      jax.tree.map(np.asarray, run.restore('latest')),
      jax.tree.map(np.asarray, bnr.open_run(path).restore('latest')),
      rtol=1e-4,
    )


def test_the_held_out_part_chooses_the_best_step(together):
  chosen = points(config_of(), {})
  table = {row['run']: row for row in results.rows(chosen, *of(together))}
  for point in chosen[:2]:
    run = bnr.open_run(together[point.name])
    sizes = {'train': 540, 'validation': 60, 'test': 600}
    assert run.spec.examples == sizes
    series = run.metrics['validation/accuracy']
    assert series.steps.tolist() == [0, 20, 40]
    best = run.restore('best')
    rated = dict(zip(series.steps.tolist(), series.values))
    assert rated[int(best.step)] == max(rated[20], rated[40])
    for split in ('validation', 'test'):
      for metric, value in run.evaluate(best, split=split).items():
        steps, values = run.metrics[f'{split}/{metric}']
        (logged,) = values[steps == int(best.step)]
        np.testing.assert_allclose(value, logged, rtol=1e-5)
    row = table[point.name]
    step = row['chosen_step']
    assert row['chosen_by'] == 'validation'
    assert rated[step] == row['best/validation/accuracy'] == max(series.values)
    test = run.metrics['test/accuracy']
    assert [row['chosen/test/accuracy']] == test.values[test.steps == step]
  text = summary.table(chosen, *of(together)[:1]).caption
  assert 'the best step is chosen by validation accuracy' in text


def of(paths):
  """Returns the workdir, and the state of each point."""
  (workdir,) = {path.parent for path in paths.values()}
  return workdir, dict.fromkeys(paths, 'done')


def test_every_traced_number_has_its_effect(together):
  losses = {
    name: rows(path)[-2]['test/loss'] for name, path in together.items()
  }
  assert len(set(losses.values())) == len(SWEEP), losses
  assert set(KEYS) | {'optim.weight_decay'} == set(traced.KEYS)


def test_a_member_that_diverges_does_not_touch_the_others(together, tmp_path):
  sweep = ({'optim.learning_rate': 1e30}, *SWEEP[1:])
  config = config_of(sweep)
  mixed = trained(tmp_path, config)
  first, *others = mixed
  status = run_directory.read_status(mixed[first])
  assert status['status'] == 'diverged'
  assert 'smaller optim.learning_rate' in status['message']
  assert rows(mixed[first])[-1]['step'] == 10
  for name in others:
    ours, theirs = (d[name] / 'metrics.jsonl' for d in (mixed, together))
    assert ours.read_bytes() == theirs.read_bytes(), name


def test_it_ends_early_where_all_have_diverged(tmp_path):
  sweep = tuple({'optim.learning_rate': 1e30, 'seed': s} for s in range(2))
  paths = trained(tmp_path, config_of(sweep))
  for path in paths.values():
    assert run_directory.read_status(path)['status'] == 'diverged'
    assert not [*(path / 'checkpoints').iterdir()]


def test_members_that_diverge_at_last_or_cannot_save_end_by_themselves(
  tmp_path, monkeypatch
):
  sweep = tuple({'optim.learning_rate': rate} for rate in (1e38, 0.1, 0.2))
  one = ('train__steps', 'train__log_every', 'eval__every', 'checkpoint__every')
  config = config_of(sweep, **dict.fromkeys(one, 1), **UNPROBED)
  chosen = points(config, {})
  folder = chosen[2].directory(tmp_path) / 'checkpoints'
  save = vectorized._Session.save

  def save_where_one_cannot(session, done):
    folder.rmdir()
    folder.write_text('no folder')
    save(session, done)

  monkeypatch.setattr(vectorized._Session, 'save', save_where_one_cannot)
  result = vectorized.run(chosen, tmp_path, CONSOLE)
  assert [*result.values()] == ['diverged', 'done', 'failed']
  status = run_directory.read_status(chosen[2].directory(tmp_path))
  assert 'cannot be written ([Errno 20] Not a directory' in status['message']


def test_what_is_interrupted_continues_byte_for_byte(
  together, tmp_path, monkeypatch
):
  """Also where some members have a checkpoint that others lack."""
  calls = []
  save = vectorized._Session.save

  def interrupt(session, done):
    save(session, done)
    calls.append(done)
    raise KeyboardInterrupt

  monkeypatch.setattr(vectorized._Session, 'save', interrupt)
  chosen = points(config_of(), {})
  with pytest.raises(KeyboardInterrupt):
    vectorized.run(chosen, tmp_path, CONSOLE)
  monkeypatch.undo()
  assert calls == [20]
  states = {
    run_directory.read_status(p.directory(tmp_path))['status'] for p in chosen
  }
  assert states == {'preempted'}
  for point in chosen[:3]:
    shutil.rmtree(point.directory(tmp_path) / 'checkpoints' / '20')
  result = vectorized.run(chosen, tmp_path, CONSOLE)
  assert set(result.values()) == {'done'}
  for point in chosen:
    ours = point.directory(tmp_path) / 'metrics.jsonl'
    theirs = together[point.name] / 'metrics.jsonl'
    assert ours.read_bytes() == theirs.read_bytes(), point.name
    file = point.directory(tmp_path) / 'provenance.json'
    began = [session['from_step'] for session in json.loads(file.read_text())]
    assert began == [0, 0 if point in chosen[:3] else 20]


def test_rounds_of_fewer_members_give_the_same(
  together, tmp_path, assert_close
):
  sweep = SWEEP[1:6]
  some = trained(tmp_path, config_of(sweep), at_once=3)
  for path, expected in zip(some.values(), [*together.values()][1:6]):
    for row, other in zip(rows(path), rows(expected), strict=True):
      assert_close(row, other, rtol=1e-4)


def test_a_zero_and_a_choice_are_of_another_kind():
  config = config_of(())

  def kind_with(**values):
    other = config.copy_and_resolve_references()
    assert not configs.override(
      other, {k.replace('__', '.'): v for k, v in values.items()}
    )
    return traced.kind(other)

  same = traced.kind(config)
  assert kind_with(seed=5, optim__learning_rate=3.0, norm__momentum=0.5) == same
  assert kind_with(optim__momentum=0.0) != same
  assert kind_with(norm__name='layer') != same
  assert kind_with(train__batch_size=24) != same


def test_as_many_members_run_at_a_time_as_fit(monkeypatch):
  parts, devices = assemble(config_of(())), jax.devices()[:2]
  one = Program(parts, 1, devices[:1]).bytes_of_one()

  def at_a_time(runs, **options):
    return rounds.program(parts, runs, devices, **options).runs

  def have(memory):
    monkeypatch.setattr(rounds.memory, 'of_machine', lambda devices: memory)

  have(10 * one)  # of which members may take half
  assert at_a_time(4) == 4
  assert at_a_time(6) == 3  # two equal rounds
  assert at_a_time(6, at_once=2) == 2
  have(1)
  assert at_a_time(6) == 2  # one on each, whatever comes
  have(0)  # unknown
  assert at_a_time(6) == 6


def test_weight_decay_is_that_of_single_runs(tmp_path, assert_close):
  sweep = tuple({'optim.weight_decay': decay} for decay in (0.1, 0.5))
  config = config_of(
    sweep,
    optim__name='adamw',
    optim__momentum=0.0,
    optim__l2=0.0,
    **UNPROBED,
  )
  paths = trained(tmp_path / 'together', config)
  last = []
  for point in points(config, {}):
    session.train(assemble(point.config), tmp_path / point.name)
    row, expected = rows(paths[point.name])[-1], rows(tmp_path / point.name)[-1]
    assert_close(row, expected, rtol=1e-4)
    last.append(row)
  assert last[0] != last[1]


def test_points_that_cannot_begin_fail_or_are_refused_alone(tmp_path):
  config = config_of(tuple({'seed': seed} for seed in range(3)))
  chosen = points(config, {})
  foreign, taken = (point.directory(tmp_path) for point in chosen[1:])
  with run_directory.claim(foreign, chosen[1].config) as run:
    run.record_data((8, 8, 1), ('yes', 'no'), {}, {})
    run.update(status='preempted')
  console = Console(file=io.StringIO(), width=1000)
  with run_directory.claim(taken, chosen[2].config) as run:
    run.update(status='diverged')  # and is about to let go
    before = (taken / 'status.json').read_bytes()
    run.update(status='running')
    result = vectorized.run(chosen, tmp_path, console)
    run.update(status='diverged')
  assert [*result.values()] == ['done', 'failed', 'refused']
  assert 'classes yes, no' in run_directory.read_status(foreign)['message']
  assert f'{chosen[2].name}: {taken} belongs to' in console.file.getvalue()
  assert (taken / 'status.json').read_bytes() == before


def test_images_that_are_streamed_are_refused(tmp_path):
  config = config_of(data__on_device='never')
  with pytest.raises(run_directory.Refused, match='do not live on the device'):
    vectorized.run(points(config, {}), tmp_path, CONSOLE)
  assert not [*tmp_path.iterdir()]


def test_members_convolve_too(tmp_path, assert_close):
  sweep = tuple({'optim.learning_rate': rate} for rate in (0.05, 0.1))
  config = config_of(
    sweep,
    model__name='lenet',
    model__stem='small',
    model__features=(100, 100, 100),
    data__name='digits',
    train__steps=4,
    train__log_every=2,
    eval__every=4,
    checkpoint__every=4,
    **UNPROBED,
  )
  paths = trained(tmp_path / 'together', config)
  point = points(config, {})[1]
  session.train(assemble(point.config), tmp_path / 'alone')
  for row, expected in zip(
    rows(paths[point.name]), rows(tmp_path / 'alone'), strict=True
  ):
    assert_close(row, expected, rtol=1e-4)
