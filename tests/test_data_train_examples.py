"""A part of the training images, drawn: `data.train_examples`."""

import numpy as np
import pytest

from bnresearch import config as configs
from bnresearch import data
from bnresearch.assembly import assemble
from bnresearch.data import Arrays, DamagedData
from bnresearch.runs import config_file
from configs import default

CLASSES = 'a', 'b'


def numbered(N=50):
  """Returns N images, each of which holds its own number."""
  numbers_N = np.arange(N)
  images_NHWC = np.broadcast_to(numbers_N[:, None, None, None], (N, 2, 2, 1))
  return Arrays(images_NHWC.astype(np.uint8), numbers_N % 2, CLASSES)


def numbers(split, **options):
  """Returns the images' numbers, in their order."""
  part = data.held_out(numbered(), split, **options)
  found = part.images_NHWC[:, 0, 0, 0].tolist()
  assert part.labels_N.tolist() == [number % 2 for number in found]
  return found


def test_training_has_as_many_examples_as_wanted_and_the_test_all():
  few = numbers('train', train_examples=12)
  assert len({*few}) == 12
  assert few == sorted(few)
  assert few != [*range(12)], 'drawn, as images often lie in order of classes'
  assert few == numbers('train', train_examples=12)
  assert few != numbers('train', train_examples=12, split_seed=1)
  whole = numbered()
  assert data.held_out(whole, 'test', train_examples=12) is whole
  assert data.held_out(whole, 'train') is whole


def test_more_examples_add_to_fewer():
  few, more = (numbers('train', train_examples=n) for n in (12, 30))
  assert {*few} < {*more}
  assert numbers('train', train_examples=50) == [*range(50)]


def test_what_is_held_out_is_the_same_whatever_is_trained_on():
  options = {'held_out': 0.2}
  held = numbers('validation', **options)
  assert numbers('validation', **options, train_examples=12) == held
  few = numbers('train', **options, train_examples=12)
  assert len(few) == 12
  assert not {*few} & {*held}


@pytest.mark.parametrize(
  ('options', 'message'),
  [
    ({'train_examples': 51}, 'train_examples = 51: there are 50 to train on'),
    (
      {'train_examples': 41, 'held_out': 0.2},
      'train_examples = 41: there are 40 to train on. Take as many or fewer',
    ),
  ],
)
def test_more_examples_than_there_are_are_refused(options, message):
  with pytest.raises(DamagedData, match=message):
    data.held_out(numbered(), 'train', **options)


def test_a_run_trains_on_as_many_and_its_dry_run_on_synthetic_ones():
  config = default.get_config()
  config.data.train_examples = 100
  found = assemble(config).data
  assert (len(found.source('train')), len(found.source('test'))) == (100, 355)
  dry = configs.tiny(config)
  assert len(assemble(dry).data.source('train')) == 16


def test_a_run_from_before_trains_on_all():
  older = default.get_config()
  with older.unlocked():
    del older.data['train_examples']
  opened = config_file.from_json(config_file.to_json(older))
  assert opened.data.train_examples == 0
