"""Checkpoints: the right one, proven whole, and clear words where not."""

import json
import logging

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bnresearch import build
from bnresearch.engine import checkpoint, state
from configs import default


def make_state(step=0, width=4, seed=0):
  config = default.get_config()
  config.model.features = (width,)
  fresh = state.create(
    build.model(config, 3), optax.sgd(0.1, 0.9), (2, 2, 1), seed
  )
  return fresh.replace(step=jnp.int32(step))


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


@pytest.mark.parametrize('damage', ['arrays', 'meta', 'metrics', 'digest'])
def test_a_damaged_newest_falls_back_to_the_one_before(
  tmp_path, damage, caplog
):
  save_all(tmp_path, {1: 0.1, 2: 0.2})
  newest = tmp_path / '2'
  if damage == 'arrays':
    truncate_arrays(newest)
  elif damage == 'digest':
    # All can be read, but what was saved had another digest.
    file = newest / 'meta' / 'metadata'
    noted = json.loads(file.read_text())
    file.write_text(json.dumps(noted | {'digest': '0' * 32}))
  else:
    file = newest / damage / ('metadata' if damage == 'meta' else damage)
    file.write_text(file.read_text()[:-9])
  with caplog.at_level(logging.WARNING):
    restored = checkpoint.Checkpoints(tmp_path, 2).restore_newest_whole(
      make_state(), 0
    )
  assert int(restored.step) == 1
  warning = next(r.message for r in caplog.records if 'damaged' in r.message)
  assert str(newest) in warning
  assert (tmp_path / '2.damaged').exists()
  assert checkpoint.Checkpoints(tmp_path, 2).steps == [1]


def test_a_checkpoint_whose_rows_are_lost_is_not_the_newest(tmp_path):
  checkpoints = checkpoint.Checkpoints(tmp_path, 2)
  for step, size in ((1, 70), (2, 140)):
    checkpoints.save(make_state(step), None, {'logbook_size': size})
  restored = checkpoints.restore_newest_whole(make_state(), logged=139)
  assert int(restored.step) == 1
  assert (tmp_path / '2.damaged').exists()


def test_the_same_step_can_be_saved_again_after_a_fall_back(tmp_path):
  save_all(tmp_path, {1: 0.1, 2: 0.2})
  truncate_arrays(tmp_path / '2')
  checkpoints = checkpoint.Checkpoints(tmp_path, 2)
  checkpoints.restore_newest_whole(make_state(), 0)
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
