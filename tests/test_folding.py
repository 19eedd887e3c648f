"""Batch norm folded into one layer: NumPy, flax and PyTorch as references."""

import doctest
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.statistics import folding
from bnresearch.statistics.folding import fold

C, EPSILON = 6, 1e-3
LAYERS = {
  'conv': (nn.Conv(C, (3, 3)), (2, 5, 5, 4)),
  'strided, without bias': (
    nn.Conv(C, (3, 2), (2, 1), use_bias=False),
    (2, 5, 5, 4),
  ),
  'padded conv of one axis': (nn.Conv(C, (3,), padding=1), (2, 5, 4)),
  'grouped': (nn.Conv(C, (3, 3), feature_group_count=2), (2, 5, 5, 4)),
  'depthwise': (nn.Conv(C, (3, 3), feature_group_count=3), (2, 5, 5, 3)),
  'transposed': (nn.ConvTranspose(C, (3, 3), (2, 2)), (2, 5, 5, 4)),
  'dense': (nn.Dense(C), (7, 4)),
  'dense of positions': (nn.Dense(C, use_bias=False), (2, 3, 4)),
}


def gaussian(*shape, mean=1.0, seed=0):
  return np.random.RandomState(seed).normal(mean, 1, shape).astype(np.float32)


def numbers(*names, seed=1):
  """Returns arrays (C,) of these names; variances are positive."""
  found = {name: gaussian(C, seed=seed + k) for k, name in enumerate(names)}
  return {k: np.exp(x) if k == 'var' else x for k, x in found.items()}


def parts(kind='conv', dtype='float32'):
  """Returns a layer's module, input and parameters, a norm's, statistics."""
  module, shape = LAYERS[kind]
  x = gaussian(*shape)
  shapes = jax.eval_shape(module.init, jax.random.key(0), x)['params']
  layer = {
    name: jnp.asarray(gaussian(*leaf.shape, mean=0.2, seed=5), dtype)
    for name, leaf in shapes.items()
  }
  return module, x, layer, numbers('scale', 'bias'), numbers('mean', 'var')


def oracle(layer, norm, statistics):
  """Returns kernel and bias by the formula, in float64."""
  layer, norm, statistics = jax.tree.map(np.float64, (layer, norm, statistics))
  gain_C = norm.get('scale', 1) / np.sqrt(statistics['var'] + EPSILON)
  moved_C = layer.get('bias', 0) - statistics['mean']
  return {
    'kernel': layer['kernel'] * gain_C,
    'bias': moved_C * gain_C + norm.get('bias', 0),
  }


@pytest.mark.parametrize('kind', LAYERS)
def test_one_layer_does_what_a_layer_and_linens_batch_norm_do(kind):
  module, x, layer, norm, statistics = parts(kind)
  after = nn.BatchNorm(use_running_average=True, epsilon=EPSILON)
  with jax.enable_x64(True):
    x, *trees = jax.tree.map(np.float64, (x, layer, norm, statistics))
    y = module.clone(dtype='float64').apply({'params': trees[0]}, x)
    expected = after.apply({'params': trees[1], 'batch_stats': trees[2]}, y)
    folded = fold(*trees, epsilon=EPSILON)
    alone = module.clone(dtype='float64', use_bias=True)
    actual = alone.apply({'params': folded}, x)
  assert actual.dtype == expected.dtype == np.float64
  assert np.abs(expected - y).max() > 1, 'the norm does nothing'
  np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(
  'absent', [(), ('scale',), ('bias',), ('scale', 'bias')]
)
@pytest.mark.parametrize('biased', [True, False])
def test_a_bias_or_scale_that_is_not_there_is_zero_or_one(absent, biased):
  _, _, layer, norm, statistics = parts()
  norm = {name: x for name, x in norm.items() if name not in absent}
  if not biased:
    del layer['bias']
  folded = fold(layer, norm, statistics, epsilon=EPSILON)
  expected = oracle(layer, norm, statistics)
  # Of float64's numbers, the nearest that float32 has.
  for name, x in expected.items():
    np.testing.assert_array_equal(folded[name], np.float32(x))


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16', 'float16'])
def test_the_dtype_is_the_kernels_and_numbers_are_rounded_once(dtype):
  _, _, layer, norm, statistics = parts(dtype=dtype)
  folded = fold(layer, norm, statistics, epsilon=EPSILON)
  for name, x in oracle(layer, norm, statistics).items():
    assert isinstance(folded[name], jax.Array)
    assert folded[name].dtype == dtype
    np.testing.assert_array_equal(folded[name], x.astype(jnp.dtype(dtype)))


def test_arrays_of_numpy_stay_so_in_their_own_precision():
  trees = jax.tree.map(np.float64, parts()[2:])
  folded = fold(*trees, epsilon=EPSILON)
  for name, x in oracle(*trees).items():
    assert isinstance(folded[name], np.ndarray)
    np.testing.assert_allclose(folded[name], x, rtol=1e-15)


@pytest.mark.parametrize('dtype', ['float32', 'bfloat16'])
def test_it_is_the_same_inside_of_jit_to_rounding(dtype):
  trees = parts(dtype=dtype)[2:]
  inside = jax.jit(functools.partial(fold, epsilon=EPSILON))(*trees)
  assert inside['kernel'].dtype == inside['bias'].dtype == dtype
  # It is computed in float32, and rounded to bfloat16 once.
  rtol = 1e-6 if dtype == 'float32' else 1.001 * 2**-8
  for name, x in oracle(*trees).items():
    np.testing.assert_allclose(
      np.float64(inside[name]), x, rtol=rtol, atol=1e-6
    )


def test_networks_in_a_stack_are_folded_by_vmap(assert_close):
  two = [parts()[2:], parts()[2:]]
  two[1] = jax.tree.map(lambda x: 1.5 * x, two[1])
  stacked = jax.tree.map(lambda *x: jnp.stack(x), *two)
  found = jax.vmap(functools.partial(fold, epsilon=EPSILON))(*stacked)
  expected = jax.tree.map(lambda *x: np.stack(x), *(oracle(*t) for t in two))
  assert_close(found, expected, rtol=1e-6)


def test_a_gradient_goes_through_it():
  _, _, layer, norm, statistics = parts()

  def loss(norm):
    return fold(layer, norm, statistics, epsilon=EPSILON)['bias'].sum()

  found = jax.grad(loss)(norm)
  np.testing.assert_array_equal(found['bias'], np.ones(C))
  assert found['scale'].any()


@pytest.mark.parametrize('kind', ['conv', 'grouped', 'dense', 'transposed'])
def test_it_is_what_pytorch_fuses(kind, assert_close):
  pytest.importorskip('torch', reason='PyTorch is not installed')
  import torch
  from torch.nn.utils import fusion

  _, _, layer, norm, statistics = parts(kind)
  axes = {'dense': (1, 0), 'transposed': (2, 3, 0, 1)}.get(kind, (3, 2, 0, 1))
  kernel, bias = (torch.tensor(np.array(layer[k])) for k in ('kernel', 'bias'))
  theirs = {
    'conv': torch.nn.Conv2d(4, C, 3),
    'grouped': torch.nn.Conv2d(4, C, 3, groups=2),
    'dense': torch.nn.Linear(4, C),
    'transposed': torch.nn.ConvTranspose2d(4, C, 3),
  }[kind]
  after = (torch.nn.BatchNorm1d if kind == 'dense' else torch.nn.BatchNorm2d)(
    C, eps=EPSILON
  )
  with torch.no_grad():
    theirs.weight.copy_(kernel.permute(*axes))
    theirs.bias.copy_(bias)
    for name, value in zip(
      ('weight', 'bias', 'running_mean', 'running_var'),
      (*norm.values(), *statistics.values()),
    ):
      getattr(after, name).copy_(torch.tensor(value))
  if kind == 'dense':
    fused = fusion.fuse_linear_bn_eval(theirs.eval(), after.eval())
  else:
    fused = fusion.fuse_conv_bn_eval(
      theirs.eval(), after.eval(), transpose=kind == 'transposed'
    )
  folded = fold(layer, norm, statistics, epsilon=EPSILON)
  theirs = fused.weight.detach().numpy(), fused.bias.detach().numpy()
  ours = np.transpose(folded['kernel'], axes), folded['bias']
  assert_close(ours, theirs, rtol=1e-6)


def test_the_documentations_example_runs():
  failed, tried = doctest.testmod(folding)
  assert tried > 8
  assert failed == 0


# What does not fit.


@pytest.mark.parametrize(
  ('argument', 'change', 'words'),
  [
    (0, {'kernel': None}, r'layer has bias: needs kernel, and perhaps bias'),
    (0, {'gain': np.ones(C)}, r"layer has bias, gain, kernel: .* params\['Co"),
    (
      0,
      {'bias': np.ones(C + 1)},
      r"layer\['bias'\] has the shape \(7,\): needs",
    ),
    (
      0,
      {'kernel': np.ones(C)},
      r'kernel.* float64 of the shape \(6,\): needs f',
    ),
    (0, {'kernel': np.ones((2, C), int)}, 'int64.* fold before quantizing'),
    (
      1,
      {'Norm_0': np.ones(C)},
      r'norm has .*: needs bias and scale, the arrays',
    ),
    (
      1,
      {'scale': np.ones(4)},
      r"norm\['scale'\].* \(4,\).* before the layer\?",
    ),
    (2, {'var': None}, r'statistics has mean: needs mean and var'),
    (
      2,
      {'mean': np.ones((5, 5, C))},
      r'\(5, 5, 6\).*each activation.* keep the',
    ),
    (
      2,
      {'var': -np.ones(C)},
      r"statistics\['var'\] is at least -1, epsilon = ",
    ),
    (2, {'var': np.full(C, np.nan)}, 'at least nan, epsilon'),
  ],
)
def test_what_does_not_fit_is_refused(argument, change, words):
  trees = list(parts()[2:])
  changed = {**trees[argument], **change}
  trees[argument] = {k: x for k, x in changed.items() if x is not None}
  with pytest.raises(ValueError, match=words):
    fold(*trees, epsilon=EPSILON)


def test_a_kernel_whose_outputs_come_last_but_one_is_refused():
  module = nn.ConvTranspose(C, (3, 3), transpose_kernel=True)
  shapes = jax.eval_shape(module.init, jax.random.key(0), gaussian(2, 5, 5, 4))
  _, _, layer, norm, statistics = parts()
  layer['kernel'] = jnp.zeros(shapes['params']['kernel'].shape)
  with pytest.raises(
    ValueError, match=r'\(6,\): needs \(4,\).*transpose_kernel'
  ):
    fold({'kernel': layer['kernel']}, norm, statistics, epsilon=EPSILON)


def test_variance_and_epsilon_may_not_both_be_zero():
  _, _, layer, norm, statistics = parts()
  statistics['var'] = np.zeros(C)
  fold(layer, norm, statistics, epsilon=EPSILON)
  with pytest.raises(ValueError, match=r'at least 0, epsilon = 0: .* positive'):
    fold(layer, norm, statistics, epsilon=0)
