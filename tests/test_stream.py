"""Batches made ahead of the training: the same bytes, however they are made."""

import dataclasses
import functools
import hashlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest

from bnresearch import config as configs
from bnresearch.assembly import assemble
from bnresearch.evaluation import evaluate
from bnresearch.training import feed, step, stream
from bnresearch.training.order import Order
from configs import default
from tests import folders

ROOT = pathlib.Path(__file__).parents[1]

# Says which workers it has, and hangs.
HANGING = """
import multiprocessing, sys, time

def main(folder):
  from bnresearch import config as configs
  from bnresearch.assembly import assemble
  from configs import default

  config = default.get_config()
  configs.override(config, {
    'data.name': 'image_folder', 'data.folder': folder, 'data.workers': 1,
  })
  batches = assemble(config).training.batches(range(9))
  next(batches)
  print(*(p.pid for p in multiprocessing.active_children()), flush=True)
  time.sleep(600)

if __name__ == '__main__':
  main(*sys.argv[1:])
"""


@pytest.fixture(scope='module')
def photographs(tmp_path_factory):
  """A folder of 13 training and 6 validation images, of all sizes."""
  folder = tmp_path_factory.mktemp('photographs')
  return folders.fill(
    folder, {'train/a': 7, 'train/b': 6, 'val/a': 3, 'val/b': 3}
  )


def config_of(folder=None, **values):
  config = default.get_config()
  if folder:
    values |= {'data__name': 'image_folder', 'data__folder': str(folder)}
  dotted = {key.replace('__', '.'): value for key, value in values.items()}
  assert not configs.override(
    config, {'train.batch_size': 8, 'data.image_size': 12} | dotted
  )
  return config


@functools.cache
def digests(folder, workers=0, devices=1, seed=0, start=0):
  """Returns {step: digest of the batch}, to the ninth.

  Of the images as the host crops them, and as the devices flip and cut them.
  """
  config = config_of(
    folder,
    data__workers=workers,
    seed=seed,
    augment__crop='resized',
    augment__flip=True,
    augment__cutout=4,
  )
  parts = assemble(config)
  change = jax.jit(parts.images.augmented)
  key = jax.random.key(seed)
  steps, found = range(start, 9), {}
  for t, batch in zip(steps, parts.training.batches(steps)):
    placed = spread(batch, devices)
    made = (*batch, *change(step.inputs_key(key, t), *placed))
    whole = b''.join(np.asarray(x).tobytes() for x in made)
    found[t] = hashlib.sha256(whole).hexdigest()
  return found


def spread(batch, devices):
  """Puts a batch on some devices, an equal part on each."""
  mesh = jax.make_mesh(
    (devices,), ('data',), axis_types=(jax.sharding.AxisType.Auto,)
  )
  return jax.device_put(batch, jax.NamedSharding(mesh, jax.P('data')))


@pytest.mark.parametrize(
  'how',
  [
    {'workers': 1},
    {'workers': 4, 'start': 5},  # in the middle of the fourth epoch
    {'devices': 8},
  ],
  ids=str,
)
def test_batches_are_the_same_bytes_however_they_are_made(photographs, how):
  whole = digests(photographs)
  assert len(set(whole.values())) == 9
  made = digests(photographs, **how)
  assert made == {t: whole[t] for t in range(how.get('start', 0), 9)}


def test_batches_of_another_seed_are_others(photographs):
  one, other = digests(photographs), digests(photographs, seed=1)
  assert not set(one.values()) & set(other.values())


def test_devices_round_colours_alike(photographs, assert_close):
  """What is computed in floats may differ by rounding, not by its draws."""
  config = config_of(
    photographs,
    augment__rotate=20.0,
    augment__photometric=1.0,
    augment__mixup=0.2,
  )
  parts = assemble(config)
  batch = next(parts.training.batches(range(1)))
  change = jax.jit(parts.images.augmented)
  key = jax.random.key(0)
  one, eight = (change(key, *spread(batch, devices)) for devices in (1, 8))
  assert_close(eight, one, rtol=1e-6)


def test_workers_end_when_their_parent_is_killed(photographs, tmp_path):
  script = tmp_path / 'hanging.py'
  script.write_text(HANGING)
  running = subprocess.Popen(
    [sys.executable, str(script), str(photographs)],
    stdout=subprocess.PIPE,
    text=True,
    env=os.environ | {'PYTHONPATH': str(ROOT)},
  )
  workers = [int(pid) for pid in running.stdout.readline().split()]
  assert workers
  running.send_signal(signal.SIGKILL)
  running.wait()
  running.stdout.close()
  for _ in range(100):
    if not any(map(lives, workers)):
      break
    time.sleep(0.1)
  assert not any(map(lives, workers))


def lives(pid):
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  return True


def test_hosts_make_their_parts_of_one_batch(photographs):
  parts = assemble(config_of(photographs, augment__crop='resized'))
  whole = list(parts.training.batches(range(3)))
  shares = [
    list(parts.training.batches(range(3), stream.Host(k, 4))) for k in range(4)
  ]
  for t, batch in enumerate(whole):
    for part, expected in zip(zip(*(s[t] for s in shares)), batch):
      np.testing.assert_array_equal(np.concatenate(part), expected)


def test_hosts_must_divide_the_batch(photographs):
  parts = assemble(config_of(photographs))
  with pytest.raises(ValueError, match=r'batch_size = 8: .* of the 3 hosts'):
    next(parts.training.batches(range(1), stream.Host(0, 3)))


def test_a_file_that_cannot_be_read_any_more_is_named(photographs, tmp_path):
  config = config_of(photographs)
  source = dataclasses.replace(
    assemble(config).data.source('train'), folder=str(tmp_path)
  )
  parts = assemble(config)
  batches = stream.training(
    source, parts.training.order, parts.images.random_crop, range(1)
  )
  with pytest.raises(ValueError, match=r'train/[ab]/\d\d.png was in order'):
    next(batches)


# Where training images live.


def advanced(config, calls=(range(3), range(3, 5))):
  """Returns what five steps of training make, and the feed."""
  parts = assemble(config)
  now = parts.training.fresh_state()
  made = parts.training.feed(now)
  for steps in calls:
    now, _ = made.advance(now, steps, jax.random.key(0))
  made.close()
  return now, made


def test_a_stream_trains_as_the_device_does(assert_close):
  values = {
    'data__name': 'synthetic',
    'augment__crop': 'padded',
    'augment__flip': True,
    'train__scan': 'never',
  }
  resident, first = advanced(config_of(**values))
  config = config_of(**values, data__on_device='never')
  streamed, second = advanced(config)
  assert (type(first), type(second)) == (feed.Resident, feed.Stream)
  assert_close(streamed, resident, rtol=1e-6)
  # It is the augmented images that are trained on.
  plain, _ = advanced(config_of(data__name='synthetic'))
  difference = streamed.params['hidden_1']['kernel']
  assert np.abs(difference - plain.params['hidden_1']['kernel']).max() > 1e-4


def test_photographs_are_streamed_and_continue_where_they_stopped(photographs):
  config = config_of(photographs, augment__crop='resized')
  whole, made = advanced(config)
  assert isinstance(made, feed.Stream)
  assert made.waited > 0
  parts, _ = advanced(config, [range(2), range(2, 3), range(3, 5)])
  jax.tree.map(np.testing.assert_array_equal, parts, whole)


def test_photographs_cannot_live_on_the_device(photographs):
  config = config_of(photographs, data__on_device='always')
  with pytest.raises(ValueError, match=r"on_device = 'always': .* Use auto"):
    advanced(config)


@pytest.mark.parametrize('resident', [True, False])
def test_photographs_are_evaluated_each_once(
  photographs, resident, monkeypatch
):
  if not resident:
    monkeypatch.setattr(stream, 'RESIDENT_BYTES', 0)
  config = config_of(photographs, eval__crop='whole', eval__batch_size=4)
  parts = assemble(config)
  source, now = parts.data.source('test'), parts.training.fresh_state()
  evaluator = parts.evaluation.evaluator(
    source, jax.jit(parts.evaluation.add_batch('ema'))
  )
  for _ in range(2):
    means = evaluator.means(evaluator.sums(now.params, now.collections))
    assert means['examples'] == 6
  view = parts.images.crop()
  images = np.stack([view(source[n][0]) for n in range(6)])
  logits, _ = evaluate.make_forward(parts.network.evaluated, 'ema')(
    now.params, now.collections, parts.images.pixels(images)
  )
  assert means['accuracy'] == (logits.argmax(-1) == source.labels_N).mean()


def test_each_host_decodes_its_rows_of_what_is_evaluated(photographs):
  parts = assemble(config_of(photographs, eval__crop='whole'))
  source, crop = parts.data.source('test'), parts.images.crop()
  made = functools.partial(stream.in_order, source, batch_size=4, count=5)
  whole = list(made(crop))
  decoded = []

  def counted(image):
    decoded.append(image)
    return crop(image)

  first, second = (list(made(counted, rows=r)) for r in (range(2), range(2, 4)))
  assert len(decoded) == 2 + 1 + 2 + 1  # nobody counts the last one
  expected = np.concatenate([first[0].images, second[0].images])
  np.testing.assert_array_equal(expected, whole[0].images)
  np.testing.assert_array_equal(first[1].images, whole[1].images)
  assert [*first[0].labels, *second[0].labels] == whole[0].labels.tolist()


# The order of an epoch.


def epochs(shuffle, seed, count=3, length=60, **options):
  """Returns which examples the epochs have in turn, (count, length)."""
  steps = range(count * length // 10)
  stream_TN = Order(length, 10, seed, shuffle, **options).indices(steps)
  return stream_TN.reshape(count, length)


def test_without_shuffling_the_same_examples_always_meet():
  orders = epochs('none', seed=0)
  assert (orders == orders[0]).all()
  assert (epochs('none', seed=1) == orders).all()
  np.testing.assert_array_equal(np.sort(orders[0]), range(60))
  # Stored in an order that has nothing to do with classes.
  assert np.abs(np.diff(orders[0])).mean() > 10


def test_shards_keep_their_examples_and_shuffle_them():
  stored = epochs('none', seed=0)[0]
  shards = [set(part) for part in np.array_split(stored, 4)]
  first, second = orders = epochs('within_shard', seed=0, shards=4, count=2)
  for order in orders:
    np.testing.assert_array_equal(np.sort(order), range(60))
    assert all(set(part) in shards for part in np.array_split(order, 4))
    assert [set(part) for part in np.array_split(order, 4)] != shards
  for part in np.array_split(first, 4):
    same = [set(part) == set(other) for other in np.array_split(second, 4)]
    other = np.array_split(second, 4)[same.index(True)]
    assert (part != other).any()
  assert (epochs('within_shard', seed=1, shards=4, count=2) != orders).any()
