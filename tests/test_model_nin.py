"""Network in Network: its layers against PyTorch, its number of parameters."""

import functools

import jax
import numpy as np
import pytest

from tests.published import NARROW, drawn, images, network, parameters

# (window, strides, padding, features) of each convolution, or a pooling.
IMAGENET = (
  *((11, 4, 0, 96), (1, 1, 0, 96), (1, 1, 0, 96), 'max'),
  *((5, 1, 2, 256), (1, 1, 0, 256), (1, 1, 0, 256), 'max'),
  *((3, 1, 1, 384), (1, 1, 0, 384), (1, 1, 0, 384), 'max'),
  *((3, 1, 1, 1024), (1, 1, 0, 1024), (1, 1, 0, 1000)),
)
CIFAR = (
  *((5, 1, 2, 192), (1, 1, 0, 160), (1, 1, 0, 96), 'max'),
  *((5, 1, 2, 192), (1, 1, 0, 192), (1, 1, 0, 192), 'avg'),
  *((3, 1, 1, 192), (1, 1, 0, 192), (1, 1, 0, 10)),
)
POOLS = ('max', 'avg')
FORMS = {'paper': (IMAGENET, 1000, 224, 6), 'small': (CIFAR, 10, 32, 8)}


@pytest.mark.parametrize('stem', FORMS)
def test_the_number_of_parameters_is_that_of_the_table(stem):
  table, classes, size, _ = FORMS[stem]
  C, count = 3, 0
  for window, _, _, features in (row for row in table if row not in POOLS):
    count += window * window * C * features + features
    C = features
  assert count == {'paper': 7_595_176, 'small': 966_986}[stem]
  assert parameters(network('nin', 'none', classes, stem=stem), size) == count


@pytest.mark.parametrize('stem', FORMS)
def test_it_is_the_table_in_pytorch_where_windows_leave_no_pixel_out(stem):
  """Caffe rounds the size of what is pooled up, PyTorch so on request."""
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  from torch.nn import functional

  table, _, size, last = FORMS[stem]
  model = network('nin', 'none', 10, NARROW | {'squeeze': False}, stem=stem)
  x_NHWC, variables = images(size), drawn(model, size)
  logits, _ = jax.jit(functools.partial(model.apply, train=True))(
    variables, x_NHWC
  )
  params = variables['params']
  layers = [
    params[block][conv]
    for block in sorted(set(params) - {'logits'})
    for conv in sorted(params[block])
  ]
  layers.append(params['logits'])
  x = torch.from_numpy(np.array(x_NHWC.transpose(0, 3, 1, 2)))
  for row in table:
    if row in POOLS:
      pool = getattr(functional, f'{row}_pool2d')
      x = pool(x, 3, 2, ceil_mode=True)
      continue
    _, strides, padding, _ = row
    kernel = np.array(layers.pop(0)['kernel'])
    kernel = kernel if kernel.ndim == 4 else kernel[None, None]
    weight = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
    x = functional.conv2d(x, weight, stride=strides, padding=padding)
    x = x if not layers else x.relu()
  assert x.shape == (2, 10, last, last)
  expected = x.permute(0, 2, 3, 1).numpy()
  np.testing.assert_allclose(
    logits, expected, rtol=0, atol=1e-4 * np.abs(expected).max()
  )


@pytest.mark.parametrize(
  ('stem', 'size', 'first'), [('paper', 64, 'block_4'), ('small', 8, 'block_2')]
)
def test_dropout_is_of_what_is_pooled(stem, size, first):
  def taps(**fields):
    model = network('nin', 'none', 10, NARROW, stem=stem, **fields)
    rngs = {'dropout': jax.random.key(1)}
    apply = jax.jit(functools.partial(model.apply, train=True, rngs=rngs))
    return apply(drawn(model, size), images(size))[1]

  dropped, without = taps(), taps(dropout_rate=0.0)
  changed = [
    name for name in dropped if not np.array_equal(dropped[name], without[name])
  ]
  assert changed[0] == f'{first}/conv_1'
