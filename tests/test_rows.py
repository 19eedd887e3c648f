"""Rows of layer tables: what they say, what they refuse, what they make."""

import flax
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import lookup, models
from bnresearch.models import Layers, _rows
from bnresearch.models._network_call import NetworkCall
from bnresearch.models._rows import Row, Step, parse
from tests.published import images

ROW = '1x1 8 | 3x3/2 V 6, (1x3 4 | 3x1 5, 5x5 7), max 3x3 | avg 3x3/2 V'


class Network(nn.Module):
  """A row alone."""

  num_classes: int
  layers: Layers
  row: str

  @nn.compact
  def __call__(self, x_NHWC, *, train):
    call = NetworkCall(self, x_NHWC, train=train, mask=None)
    return Row(self.row, name='row')(call.images_NHWC, call), call.taps


def network(row):
  norm = lookup.find('norms', 'batch').Norm
  return Network(10, Layers(norm=lambda path: norm), row)


def kernels(row, size=9):
  """Returns the shapes of a row's kernels by their layers' paths."""
  params = models.shapes(network(row), size)['params'].get('row', {})
  flat = flax.traverse_util.flatten_dict(params, sep='/')
  return {
    path.removesuffix('/kernel'): leaf.shape
    for path, leaf in flat.items()
    if path.endswith('kernel')
  }


def output(row, size=9):
  """Returns the shape of one image's map."""
  init = lambda x: network(row).init_with_output(
    jax.random.key(0), x, train=False
  )
  return jax.eval_shape(init, images(size))[0][0].shape[1:]


def test_a_row_is_branches_of_steps():
  assert parse(ROW) == (
    (Step('conv', (1, 1), 1, 'SAME', 8),),
    (
      Step('conv', (3, 3), 2, 'VALID', 6),
      (
        (Step('conv', (1, 3), 1, 'SAME', 4),),
        (
          Step('conv', (3, 1), 1, 'SAME', 5),
          Step('conv', (5, 5), 1, 'SAME', 7),
        ),
      ),
      Step('max', (3, 3), 1, 'SAME', 0),
    ),
    (Step('avg', (3, 3), 2, 'VALID', 0),),
  )


def test_spaces_and_line_breaks_do_not_matter():
  assert parse(' 1x1  8|3x3/2  V\n6 ,(1x3 4|3x1 5)') == parse(
    '1x1 8 | 3x3/2 V 6, (1x3 4 | 3x1 5)'
  )


def test_what_is_parsed_is_parsed_no_further():
  assert parse(parse(ROW)) is parse(ROW)


@pytest.mark.parametrize(
  ('row', 'fault'),
  [
    ('', "''"),
    ('1x1 8 |', "''"),
    ('1x1 8, , 3x3 8', "''"),
    ('1x1', "'1x1'"),  # a convolution of no width
    ('max 3x3 8', "'max 3x3 8'"),  # a pooling with one
    ('min 3x3', "'min 3x3'"),
    ('3 8', "'3 8'"),
    ('3x3 0', "'3x3 0'"),
    ('0x3 8', "'0x3 8'"),
    ('3x3/0 8', "'3x3/0 8'"),
    ('3x3 8 V', "'3x3 8 V'"),
    ('1x1 8 | 3x3 8, (1x3 4 | 3x1 x)', "'3x1 x'"),
  ],
)
def test_the_step_at_fault_is_named(row, fault):
  with pytest.raises(ValueError, match=rf'^{fault}: no step of a row\. Write'):
    parse(row)


@pytest.mark.parametrize(
  'row',
  ['(1x1 88', '1x1 8)', '(1x1 8 | 3x3 8', '(1x1 8)(3x3 8)', '(1x1 8) 5', ')('],
)
def test_parentheses_that_do_not_match_are_refused(row):
  with pytest.raises(ValueError, match=r'parentheses do not match\. Write'):
    parse(row)


def test_layers_are_named_by_their_place():
  row = ROW.replace('/2 V', '')
  assert kernels(row) == {
    'branch_1/conv_1': (1, 1, 3, 8),
    'branch_2/conv_1': (3, 3, 3, 6),
    'branch_2/split_2/branch_1/conv_1': (1, 3, 6, 4),
    'branch_2/split_2/branch_2/conv_1': (3, 1, 6, 5),
    'branch_2/split_2/branch_2/conv_2': (5, 5, 5, 7),
  }
  assert output(row) == (9, 9, 8 + (4 + 7) + 3)


def test_a_single_branch_has_its_layers_directly():
  row = '3x3 8, max 3x3/2 V, (1x1 4), 1x1 6'
  assert kernels(row) == {
    'conv_1': (3, 3, 3, 8),
    'split_3/conv_1': (1, 1, 8, 4),
    'conv_4': (1, 1, 4, 6),
  }


@pytest.mark.parametrize('row', [ROW, '3x3 8, max 3x3/2 V, (1x1 4), 1x1 6'])
def test_convolutions_are_listed_by_their_paths(row):
  listed = dict(_rows.convolutions(row))
  made = kernels(row.replace('/2 V', ''))
  assert {
    path: (*step.window, step.features) for path, step in listed.items()
  } == {path: (h, w, features) for path, (h, w, _, features) in made.items()}


@pytest.mark.parametrize(
  ('row', 'shape'),
  [
    ('3x3 8', (9, 9, 8)),
    ('3x3 V 8', (7, 7, 8)),
    ('3x3/2 8', (5, 5, 8)),
    ('3x3/2 V 8', (4, 4, 8)),
    ('1x7 V 8', (9, 3, 8)),
    ('7x1 V 8', (3, 9, 8)),
    ('max 3x3/2 V', (4, 4, 3)),
    ('avg 5x5/3 V', (2, 2, 3)),
  ],
)
def test_strides_and_padding_give_the_size_of_maps(row, shape):
  assert output(row) == shape


def test_steps_follow_each_other_and_branches_stand_side_by_side():
  x_NHWC = images(9)
  pooled = network('max 3x3, max 3x3/2 V | avg 3x3/2 V')
  (y_NHWC, _), _ = pooled.init_with_output(
    jax.random.key(0), x_NHWC, train=False
  )
  first = nn.max_pool(
    nn.max_pool(x_NHWC, (3, 3), padding='SAME'), (3, 3), (2, 2)
  )
  second = nn.avg_pool(x_NHWC, (3, 3), (2, 2))
  expected = jnp.concatenate([first, second], axis=-1)
  np.testing.assert_array_equal(y_NHWC, expected)


def test_without_strides_maps_keep_their_size_and_layers_their_names():
  row = '3x3/2 V 6, max 3x3/2 V, 3x3 V 4, (max 3x3/2 V | 3x3/2 V 5), avg 3x3'
  unstrided = _rows.unstrided(row)
  assert output(row, size=35) == (2, 2, 9)
  assert output(unstrided, size=35) == (35, 35, 9)
  assert output(unstrided, size=1) == (1, 1, 9)
  assert kernels(unstrided) == kernels(row, size=35)
  # The pooling that has no strides stays.
  assert unstrided[0][-1] == parse(row)[0][-1]


def test_pooling_of_single_pixels_is_nothing():
  x_NHWC = images(9)
  alone = network(_rows.unstrided('max 3x3/2 V, avg 3x3/2 V'))
  (y_NHWC, _), _ = alone.init_with_output(
    jax.random.key(0), x_NHWC, train=False
  )
  np.testing.assert_array_equal(y_NHWC, x_NHWC)
