"""LeNet-5: its number of parameters, its border, small digits."""

import jax
import numpy as np
import pytest

from bnresearch import models
from tests.published import drawn, images, network, parameters

# (inputs of a unit, units), each with a bias.
TABLE = (
  (5 * 5 * 1, 6),
  (5 * 5 * 6, 16),
  (5 * 5 * 16, 120),
  (120, 84),
  (84, 10),
)


@pytest.mark.parametrize('head', ['dense', 'conv'])
@pytest.mark.parametrize('size', [28, 32])
def test_the_number_of_parameters_is_that_of_its_table(size, head):
  count = sum(inputs * units + units for inputs, units in TABLE)
  assert count == 61_706
  assert parameters(network('lenet', 'none', 10, head=head), size, 1) == count


def test_a_normalizer_stands_in_each_hidden_layer():
  """With a scale and a bias for each unit, instead of the layer's bias."""
  hidden = sum(units for _, units in TABLE[:-1])
  assert parameters(network('lenet', num_classes=10), 28, 1) == 61_706 + hidden


def test_images_of_28_pixels_have_the_papers_border_of_zeros():
  model = network('lenet', 'batch', 10)
  x_NHWC = images(28, channels=1)
  bordered = np.pad(x_NHWC, ((0, 0), (2, 2), (2, 2), (0, 0)))
  variables = drawn(model, 28, channels=1)
  logits_NK, taps = model.apply(variables, x_NHWC, train=True)
  expected_NK, _ = model.apply(variables, bordered, train=True)
  np.testing.assert_allclose(logits_NK, expected_NK, rtol=1e-5, atol=1e-6)
  assert taps['conv_1'].shape == (2, 28, 28, 6)
  assert taps['conv_2'].shape == (2, 10, 10, 16)


def test_it_is_of_tanh_and_averages():
  """NumPy, from the kernels."""
  model = network('lenet', 'none', 10)
  x_NHWC = images(32, channels=1)
  variables = drawn(model, 32, channels=1)
  layers = jax.tree.map(
    lambda leaf: np.asarray(leaf, np.float64), variables['params']
  )
  x = np.asarray(x_NHWC, np.float64)
  for name in ('conv_1', 'conv_2'):
    layer = layers[name]
    windows = np.lib.stride_tricks.sliding_window_view(x, (5, 5), (1, 2))
    x = np.tanh(np.einsum('nyxchw,hwco->nyxo', windows, layer['kernel']))
    N, H, W, C = x.shape
    x = x.reshape(N, H // 2, 2, W // 2, 2, C).mean((2, 4))
  x = x.reshape(2, -1)
  for name in ('hidden_1', 'hidden_2'):
    x = np.tanh(x @ layers[name]['kernel'])
  logits_NK, _ = model.apply(variables, x_NHWC, train=False)
  np.testing.assert_allclose(
    logits_NK, x @ layers['logits']['kernel'], rtol=1e-4, atol=1e-5
  )


@pytest.mark.parametrize(('size', 'last'), [(8, 2), (28, 7), (32, 8)])
def test_with_a_small_stem_images_are_only_halved_twice(size, last):
  model = network('lenet', 'batch', 10, stem='small')
  params = models.shapes(model, size, 1)['params']
  assert params['conv_1']['kernel'].shape == (3, 3, 1, 6)
  assert params['hidden_1']['kernel'].shape == (last * last * 16, 120)


def test_digits_of_8_pixels_need_the_small_stem():
  with pytest.raises(ValueError, match=r"too small .* stem = 'small'"):
    models.shapes(network('lenet', 'batch', 10), 8, 1)
