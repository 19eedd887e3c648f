"""Checkpoints: the right one, proven whole, or else a clear message."""

import functools
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bnresearch import config as configs
from bnresearch import data
from bnresearch.assembly import assemble
from bnresearch.runs import (
  checkpoint,
  logbook,
  recorder,
  run_directory,
  session,
)
from bnresearch.sweeps import statuses
from bnresearch.sweeps.points import points
from bnresearch.training import state
from configs import default


@functools.cache
def fresh(width):
  """Returns a state, cached as making one compiles."""
  config = default.get_config()
  config.model.features = (width,)
  images, labels = np.zeros((1, 2, 2, 1), np.uint8), np.zeros(1, np.int32)
  source = data.Arrays(images, labels, ('a', 'b', 'c'))
  model = assemble(config, sources={'train': source}).network.model
  return state.create(model, optax.sgd(0.1, 0.9), (2, 2, 1), seed=0)


def make_state(step=0, width=4, seed=0):
  """Returns a state in which every number depends on the seed."""
  made = jax.tree.map(lambda x: jnp.asarray(x + seed, x.dtype), fresh(width))
  return made.replace(step=jnp.int32(step))


def save_all(folder, accuracies, keep=2):
  checkpoints = checkpoint.Checkpoints(folder, keep)
  for step, accuracy in accuracies.items():
    metrics = None if accuracy is None else {'accuracy': accuracy}
    checkpoints.save(make_state(step, seed=step), metrics, {'note': 'x'})
  checkpoints.close()


def opened(folder):
  return checkpoint.Checkpoints(folder, keep=None)


def truncate_arrays(folder):
  """Cuts every file of a checkpoint's arrays in half."""
  files = [f for f in (folder / 'state').rglob('*') if f.is_file()]
  for file in files:
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
  assert files


def test_the_latest_and_the_best_are_kept_and_restored(tmp_path):
  save_all(tmp_path, {1: 0.1, 2: 0.9, 3: 0.2, 4: None, 5: 0.3})
  checkpoints = opened(tmp_path)
  assert checkpoints.steps == [2, 4, 5]
  for which, step in (('latest', 5), ('best', 2), (4, 4), ('4', 4)):
    restored = checkpoints.restore(make_state(), which)
    expected = make_state(step, seed=step)
    jax.tree.map(np.testing.assert_array_equal, restored, expected)
    assert checkpoint.digest(restored) == checkpoint.digest(expected)
  meta = checkpoints.meta(5)
  assert meta['note'] == 'x'
  assert meta['step'] == 5


def test_the_best_survives_when_a_run_continues(tmp_path):
  save_all(tmp_path, {1: 0.9, 2: 0.1})
  save_all(tmp_path, {3: 0.2, 4: 0.3, 5: 0.4})
  assert opened(tmp_path).steps == [1, 4, 5]


def test_a_missing_step_says_which_there_are(tmp_path):
  save_all(tmp_path, {1: 0.1, 2: 0.2})
  with pytest.raises(
    checkpoint.RestoreError, match=r'no checkpoint of step 7\. It holds 1, 2'
  ):
    opened(tmp_path).restore(make_state(), 7)
  empty = checkpoint.Checkpoints(tmp_path / 'empty', keep=1)
  with pytest.raises(checkpoint.RestoreError, match='no checkpoint yet'):
    empty.restore(make_state())


def test_another_tree_names_every_leaf_that_differs(tmp_path):
  save_all(tmp_path, {1: 0.1})
  with pytest.raises(checkpoint.RestoreError) as error:
    opened(tmp_path).restore(make_state(width=5), 'latest')
  message = str(error.value)
  for line in (
    'params/hidden_1/kernel: float32[4, 4] saved, float32[4, 5] wanted',
    'collections/batch_stats/hidden_1/norm/mean: float32[4] saved, '
    'float32[5] wanted',
    'params/logits/kernel: float32[4, 3] saved, float32[5, 3] wanted',
  ):
    assert line in message
  assert 'logits/bias' not in message

  without = make_state().replace(collections={})
  with pytest.raises(
    checkpoint.RestoreError,
    match=r'hidden_1/norm/var: float32\[4\] saved, absent',
  ):
    opened(tmp_path).restore(without)


def change_digit(folder):
  """Makes an accuracy of 0.9 one of 0.8, in a file that can still be read."""
  file = folder / 'meta' / 'metadata'
  text = file.read_text()
  assert '0.9' in text
  file.write_text(text.replace('0.9', '0.8'))


def other_digest(folder):
  """Gives a readable checkpoint the digest of another one."""
  file = folder / 'meta' / 'metadata'
  noted = json.loads(file.read_text())
  del noted['seal']  # as in older ones
  file.write_text(json.dumps(noted | {'digest': '0' * 32}))


def cut_meta(folder):
  file = folder / 'meta' / 'metadata'
  file.write_text(file.read_text()[:-9])


DAMAGES = {
  'arrays are cut off': truncate_arrays,
  'meta is cut off': cut_meta,
  'a digit has changed': change_digit,
  'the digest is another': other_digest,
  'meta is gone': lambda folder: shutil.rmtree(folder / 'meta'),
  'arrays are gone': lambda folder: shutil.rmtree(folder / 'state'),
  'all is gone': lambda folder: [shutil.rmtree(f) for f in folder.glob('*/')],
}
damaged = pytest.mark.parametrize('damage', DAMAGES.values(), ids=DAMAGES)


@damaged
def test_a_damaged_newest_falls_back_to_the_one_before(
  tmp_path, damage, caplog
):
  save_all(tmp_path, {1: 0.1, 2: 0.9})
  newest = tmp_path / '2'
  damage(newest)
  restored = checkpoint.Checkpoints(tmp_path, 2).restore_newest_whole(
    make_state()
  )
  assert int(restored.step) == 1
  warning = next(r.message for r in caplog.records if 'damaged' in r.message)
  assert str(newest) in warning
  assert (tmp_path / '2.damaged').exists()
  assert checkpoint.Checkpoints(tmp_path, 2).steps == [1]


@damaged
@pytest.mark.parametrize('which', [1, 3], ids=['oldest', 'newest'])
def test_a_damaged_one_is_passed_over_and_named_by_readers(
  tmp_path, damage, which, caplog
):
  """Whichever it is, all others can be read, and nothing is changed."""
  save_all(tmp_path, {1: 0.9, 2: 0.2, 3: 0.9}, keep=3)
  damage(tmp_path / str(which))
  files = sorted(tmp_path.rglob('*'))
  best, latest = (3, 3) if which == 1 else (1, 2)
  reader = opened(tmp_path)
  assert int(reader.restore(make_state(), 'latest').step) == latest
  assert int(reader.restore(make_state(), 'best').step) == best
  variables = reader.restore_variables('best')
  expected = make_state(best, seed=best).params
  jax.tree.map(np.testing.assert_array_equal, variables['params'], expected)
  with pytest.raises(checkpoint.Damaged, match=f'{which} is damaged'):
    reader.restore(make_state(), which)
  if which == 3 or which not in reader.steps:
    assert str(tmp_path / str(which)) in caplog.text
  assert sorted(tmp_path.rglob('*')) == files


def test_whatever_a_kill_leaves_of_one_that_is_deleted_the_others_are_read(
  tmp_path,
):
  """After each file that goes; older versions deleted so, in its place."""
  save_all(tmp_path, {1: 0.9, 2: 0.2})
  files = [f for f in sorted((tmp_path / '1').rglob('*')) if f.is_file()]
  for k in np.random.RandomState(0).permutation(len(files)):
    files[k].unlink()
    restored = opened(tmp_path).restore(make_state(), 'best')
    step = int(restored.step)
    saved = make_state(step, seed=step)
    assert checkpoint.digest(restored) == checkpoint.digest(saved)
  assert step == 2


def test_what_a_kill_leaves_unfinished_goes_when_the_run_continues(tmp_path):
  save_all(tmp_path, {1: 0.1, 2: 0.2})
  left = ['3.orbax-checkpoint-tmp', '1.deleted']
  for name in left:
    shutil.copytree(tmp_path / '1', tmp_path / name)
  assert opened(tmp_path).steps == [1, 2]
  assert all((tmp_path / name).exists() for name in left)
  assert checkpoint.Checkpoints(tmp_path, 2).steps == [1, 2]
  assert sorted(f.name for f in tmp_path.iterdir()) == ['1', '2']


def test_none_that_is_whole_is_said_with_what_is_there(tmp_path):
  save_all(tmp_path, {1: 0.1})
  cut_meta(tmp_path / '1')
  with pytest.raises(
    checkpoint.RestoreError, match='holds no whole checkpoint; damaged are 1'
  ):
    opened(tmp_path).restore(make_state())


def test_of_equally_good_ones_the_last_is_kept_and_restored(tmp_path):
  save_all(tmp_path, {1: 0.5, 2: 0.5, 3: 0.2, 4: 0.3}, keep=1)
  assert opened(tmp_path).steps == [2, 4]
  assert int(opened(tmp_path).restore(make_state(), 'best').step) == 2


def test_a_path_that_is_a_pattern_to_others_is_a_path(tmp_path):
  folder = tmp_path / 'lr=[0.1,0.2] *?' / 'checkpoints'
  save_all(folder, {1: 0.1, 2: 0.2})
  restored = opened(folder).restore(make_state())
  assert checkpoint.digest(restored) == checkpoint.digest(make_state(2, seed=2))


def test_a_path_under_which_nothing_can_be_kept_is_refused(tmp_path):
  path = tmp_path / 'a\\b'
  message = 'its backslash is a slash to the library.*another --workdir'
  with pytest.raises(run_directory.Refused, match=message):
    checkpoint.Checkpoints(path, 1)
  with pytest.raises(run_directory.Refused, match=message):
    session.train(assemble(default.get_config()), path)
  with pytest.raises(run_directory.Refused, match=message):
    statuses.of_points(points(default.get_config(), {}), path)
  assert not [*tmp_path.iterdir()]


def test_what_was_saved_last_is_read_back(tmp_path):
  checkpoints = checkpoint.Checkpoints(tmp_path, 2)
  checkpoints.save(make_state(1), None, {})
  assert checkpoints.steps == [1]  # it is on disk
  truncate_arrays(tmp_path / '1')
  with pytest.raises(checkpoint.Damaged, match='1 is damaged'):
    checkpoints.close()


@pytest.mark.parametrize('keep', [1, 3])
def test_a_run_keeps_as_many_as_its_config_says(keep, tmp_path):
  config = default.get_config()
  assert not configs.override(config, {'checkpoint.keep': keep})
  with run_directory.claim(tmp_path / 'run', config) as run:
    run.update(status='running')
    records = recorder.Recorder(run, assemble(config))
    records.restored(make_state())
    records.begin(0)
    for step in (1, 2, 3, 4):
      records.save(make_state(step, seed=step), step)
    records.close()
    assert opened(run.checkpoints).steps == [1, 2, 3, 4][-keep:]


# With the logbook.


@pytest.fixture
def logged(tmp_path):
  """A run that was killed after step 400, with a checkpoint of it."""
  config = default.get_config()
  config.train.steps, config.train.log_every = 1000, 100
  config.eval.every = config.checkpoint.every = 200
  plan = assemble(config).training.plan
  with run_directory.claim(tmp_path / 'run', config) as run:
    run.update(status='running')
    records = recorder.Recorder(run, assemble(config))
    records.restored(make_state())
    records.begin(0)
    for step in range(0, 401, 100):
      if step:
        loss_T = np.full(100, 1 / step, np.float32)
        records.log_training(range(step - 100, step), {'loss': loss_T})
      if 'test' in plan.observed(step):
        means = {'loss': 0.5, 'accuracy': 0.75}
        records.log_evaluation(step, {'test': means})
      if step and step % 200 == 0:
        records.save(make_state(step, seed=step), step)
    records.close()
  return config, tmp_path / 'run'


def lose_all(text):
  return None


def lose_the_second_half(text):
  return text[: len(text) // 2]


def lose_a_row_and_pad(text):
  lines = text.splitlines(keepends=True)
  lines[3] = lines[3][:-1] + ' ' * len(lines[1]) + '\n'
  return ''.join([lines[0], *lines[2:]])


def make_rows_unreadable(text):
  lines = text.splitlines(keepends=True)
  lines[1], lines[3] = '[]\n', lines[3].replace('{', '\xff')
  return ''.join(lines)


def change_a_digit(text):
  return text.replace('0.75', '7.75', 1)


@pytest.mark.parametrize(
  ('damage', 'said'),
  [
    (
      lose_all,
      'these are missing: train 100 to 400, test 0 to 400. Training goes on',
    ),
    (
      lose_the_second_half,
      'these are missing: train 300 to 400, test 200 to 400. Training goes on',
    ),
    (lose_a_row_and_pad, 'these are missing: train 100. Training goes on'),
    (
      make_rows_unreadable,
      'these are missing: train 100, test 200. Training goes on',
    ),
    (change_a_digit, 'some were changed. Training goes on'),
  ],
)
def test_a_checkpoint_is_gone_on_from_whatever_became_of_the_logbook(
  logged, damage, said, caplog
):
  config, path = logged
  file = path / 'metrics.jsonl'
  changed = damage(file.read_text())
  file.unlink()
  if changed is not None:
    file.write_bytes(changed.encode('latin1'))
  with run_directory.claim(path, config) as run:
    records = recorder.Recorder(run, assemble(config))
    restored = records.restored(make_state())
    records.begin(400)
    assert checkpoint.digest(restored) == checkpoint.digest(
      make_state(400, seed=400)
    )
    assert said in caplog.text
    assert (path / 'checkpoints' / '400').exists()
    if changed is not None:
      kept = file.with_suffix('.damaged').read_bytes()
      assert kept == changed.encode('latin1')
    assert logbook.is_whole(file, run_directory.read_status(path))
  session = json.loads((path / 'provenance.json').read_text())[-1]
  missing = said.partition(': ')[2].partition('.')[0]
  assert session.get('missing_rows', '') == missing


def test_a_logbook_that_is_as_it_was_goes_on_in_silence(logged, caplog):
  config, path = logged
  file = path / 'metrics.jsonl'
  whole = file.read_bytes()
  file.write_bytes(whole + b'{"step": 500, "train/loss": 1.0}\n{"step": 6')
  with run_directory.claim(path, config) as run:
    assert (
      int(recorder.Recorder(run, assemble(config)).restored(make_state()).step)
      == 400
    )
  assert file.read_bytes() == whole
  assert not caplog.records


def test_a_checkpoint_of_before_digests_of_the_logbook_is_gone_on_from(
  logged, caplog
):
  config, path = logged
  for step in ('200', '400'):
    file = path / 'checkpoints' / step / 'meta' / 'metadata'
    noted = json.loads(file.read_text())
    size, _ = noted.pop('logbook')
    del noted['seal']
    file.write_text(json.dumps(noted | {'logbook_size': size}))
  with run_directory.claim(path, config) as run:
    assert (
      int(recorder.Recorder(run, assemble(config)).restored(make_state()).step)
      == 400
    )
  assert not caplog.records


def test_parameters_that_are_not_finite_are_not_saved(logged):
  config, path = logged
  with run_directory.claim(path, config) as run:
    records = recorder.Recorder(run, assemble(config))
    records.restored(make_state())
    records.begin(400)
    bad = make_state(600)
    bad.params['logits']['bias'] = jnp.full(3, np.nan)
    with pytest.raises(
      recorder.Diverged,
      match='After step 600 these are not finite: logits/bias',
    ):
      records.save(bad, 600)
    records.close()
  assert opened(path / 'checkpoints').steps == [200, 400]


def test_the_same_step_can_be_saved_again_after_a_fall_back(tmp_path):
  save_all(tmp_path, {1: 0.1, 2: 0.2})
  truncate_arrays(tmp_path / '2')
  checkpoints = checkpoint.Checkpoints(tmp_path, 2)
  checkpoints.restore_newest_whole(make_state())
  checkpoints.save(make_state(2, seed=2), {'accuracy': 0.2}, {})
  checkpoints.close()
  restored = opened(tmp_path).restore(make_state())
  assert checkpoint.digest(restored) == checkpoint.digest(make_state(2, seed=2))


def test_a_saved_state_may_be_donated_at_once(tmp_path):
  checkpoints = checkpoint.Checkpoints(tmp_path, 1)
  saved = make_state(1, width=400, seed=1)
  expected = checkpoint.digest(saved)
  checkpoints.save(saved, None, {})
  overwrite = jax.jit(
    lambda s: jax.tree.map(lambda x: x * 0, s), donate_argnums=0
  )
  jax.block_until_ready(overwrite(saved))
  checkpoints.close()
  restored = opened(tmp_path).restore(make_state(width=400))
  assert checkpoint.digest(restored) == expected
