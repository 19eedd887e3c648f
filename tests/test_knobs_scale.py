"""What knobs of large batches must be together."""

import pytest

from tests.test_knobs_data import problems

PARTS = {'train__batch_size': 48, 'train__microbatches': 4}


@pytest.mark.parametrize(
  ('values', 'messages'),
  [
    (
      {'train__batch_size': 50, 'train__microbatches': 4},
      ['train.batch_size = 50: must be a multiple of train.microbatches = 4.'],
    ),
    (
      PARTS,
      [
        'norm.group_size = 0: with train.microbatches = 4, a part has 12 '
        'examples, from which statistics of the whole batch cannot be had. '
        'Groups may be of 1, 2, 3, 4, 6, 12.'
      ],
    ),
    (
      PARTS | {'norm__group_size': 24},
      [
        'norm.group_size = 24: with train.microbatches = 4, a part has 12 '
        'examples, from which such groups cannot be had. Groups may be of 1, '
        '2, 3, 4, 6, 12.'
      ],
    ),
    (
      PARTS | {'norm__group_size': 4, 'norm__group_variance': 'pooled'},
      [
        "norm.group_variance = 'pooled': with train.microbatches = 4, a part "
        'has 12 examples, from which the variance between all groups of the '
        "batch cannot be had. Use 'within', or one part."
      ],
    ),
    (
      PARTS | {'norm__name': 'none', 'norm__sites': ('stem=lp',)},
      ['norm.group_size = 0: with train.microbatches = 4, a part'],
    ),
    (
      {'optim__clip_norm': 1.0, 'optim__clip_adaptive': 0.01},
      [
        'optim.clip_norm = 1.0: optim.clip_adaptive = 0.01 clips already. Set '
        'one of them to 0.'
      ],
    ),
  ],
)
def test_what_cannot_be_had_together_is_refused(values, messages):
  found = problems(**values)
  assert len(found) == len(messages)
  for problem, message in zip(found, messages):
    assert problem.startswith(message)


@pytest.mark.parametrize(
  'values',
  [
    PARTS | {'norm__group_size': 12},
    PARTS | {'norm__name': 'none'},
    PARTS | {'norm__name': 'group'},
    PARTS | {'norm__frozen_statistics': True},
    {'norm__group_size': 4, 'norm__group_variance': 'pooled'},
    {'optim__clip_norm': 1.0},
    {'optim__clip_adaptive': 0.01},
  ],
)
def test_what_can_be_had_is_not(values):
  assert problems(**values) == []
