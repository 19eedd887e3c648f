"""Hidden layers that are dense, and convolutions with whole maps."""

import functools

import jax
import numpy as np
import pytest

from tests.published import NARROW, drawn, images, network

# Sizes at which the last map has several positions.
SIZES = {'lenet': 28, 'alexnet': 128, 'vgg': 64}


@functools.partial(jax.jit, static_argnums=0)
def logits(model, variables, x_NHWC):
  return model.apply(variables, x_NHWC, train=False)[0]


def with_head(name, head, layers=None, **fields):
  common = NARROW | (layers or {})
  return network(name, 'batch', 10, common, head=head, **fields)


@pytest.mark.parametrize('name', SIZES)
def test_a_convolutional_head_is_the_dense_one_with_its_kernel_reshaped(name):
  fields = {'variant': '11'} if name == 'vgg' else {}
  dense = with_head(name, 'dense', **fields)
  conv = with_head(name, 'conv', **fields)
  x_NHWC = images(SIZES[name])
  variables = drawn(conv, SIZES[name])
  expected_NK = logits(conv, variables, x_NHWC)
  for n in (1, 2):
    layer = variables['params'][f'hidden_{n}']
    h, w, C, features = layer['kernel'].shape
    assert n == 2 or h * w > 1
    layer['kernel'] = layer['kernel'].reshape(h * w * C, features)
  np.testing.assert_allclose(
    logits(dense, variables, x_NHWC), expected_NK, rtol=1e-4, atol=1e-5
  )


def test_a_convolutional_head_goes_on_to_all_positions_of_a_larger_image():
  """LeNet has no padding from 32 pixels on, and strides of 4 altogether."""
  model = with_head('lenet', 'conv', {'squeeze': False})
  x_NHWC = images(36)
  parts = [x_NHWC[:, y : y + 32, x : x + 32] for y in (0, 4) for x in (0, 4)]
  variables = drawn(model, 32)
  logits_NhwK = logits(model, variables, x_NHWC)
  assert logits_NhwK.shape == (2, 2, 2, 10)
  for position, part in zip(np.ndindex(2, 2), parts, strict=True):
    y, x = position
    expected = logits(model, variables, part)
    np.testing.assert_allclose(
      logits_NhwK[:, y, x], expected[:, 0, 0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
  ('head', 'words'),
  [
    ('dense', r'hidden_1 meets 400 channels.*made for other images'),
    ('conv', r'hidden_1 meets a map of 5x5.* for 6x6.*for larger images'),
  ],
)
def test_smaller_images_than_the_parameters_are_for_are_refused(head, words):
  model = network('lenet', 'batch', 10, head=head)
  variables = drawn(model, 36)
  with pytest.raises(ValueError, match=words):
    logits(model, variables, images(32))
