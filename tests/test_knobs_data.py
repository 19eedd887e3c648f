"""What knobs of data, augmentation and start must be together."""

import pytest

from bnresearch import config as configs
from bnresearch import knobs
from configs import default


def problems(**values):
  config = default.get_config()
  dotted = {key.replace('__', '.'): value for key, value in values.items()}
  assert not configs.override(config, dotted)
  return knobs.problems(config)


@pytest.mark.parametrize(
  ('values', 'message'),
  [
    ({'data__folder': 'x'}, "data.folder = 'x': data.name = 'digits' has no"),
    ({'data__split_seed': 1}, "data.split_seed = 1: data.name = 'digits'"),
    ({'data__held_out': 1.0}, 'at least 0 and below 1'),
    ({'data__train_examples': -1}, 'needs an int of at least 0'),
    ({'data__image_size': 64, 'data__name': 'mnist'}, 'data.image_size = 64'),
    ({'data__shards': 8}, "as data.shuffle is 'full'"),
    ({'augment__padding': 2}, "as augment.crop is 'none'. Leave it at 4"),
    ({'augment__area': (0.5, 1.0)}, "or set augment.crop = 'resized'."),
    ({'augment__area': (0.5, 50.0)}, 'the smaller one first, at most 1'),
    ({'augment__hue': 0.4}, 'as augment.photometric is 0.0'),
    (
      {
        'augment__hue': 0.4,
        'augment__photometric': 1.0,
        'augment__photometric_mode': 'fast',
      },
      "as augment.photometric_mode is 'fast'",
    ),
    ({'start__source': 'keras'}, "as start.path is ''"),
    ({'start__exclude': ('logits',)}, "as start.path is ''"),
    (
      {
        'start__checkpoint': '5',
        'start__path': 'x',
        'start__source': 'keras',
      },
      "as start.source is 'keras'",
    ),
  ],
)
def test_a_knob_without_effect_is_refused(values, message):
  (problem,) = [p for p in problems(**values) if message in p]
  key = next(iter(values)).replace('__', '.')
  assert problem.startswith(f'{key} = ')


@pytest.mark.parametrize(
  'values',
  [
    {'data__name': 'image_folder', 'data__folder': 'x', 'data__skip_bad': True},
    {'data__split_seed': 1, 'data__held_out': 0.1},
    {'data__split_seed': 1, 'data__train_examples': 100},
    {'data__shards': 8, 'data__shuffle': 'within_shard'},
    {'augment__padding': 2, 'augment__crop': 'padded'},
    {'augment__hue': 0.4, 'augment__photometric': 0.5},
    {'start__exclude': ('a',), 'start__path': 'x', 'start__checkpoint': '5'},
  ],
)
def test_a_knob_with_an_effect_is_not(values):
  assert problems(**values) == []
