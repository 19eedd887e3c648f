"""Fast convolutions are lax's, and so are their gradients."""

import functools
import math
import re

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from bnresearch.models import Layers, mobilenet_v1
from bnresearch.norms import batch
from bnresearch.ops import convolution, reference, windows
from tests.lowering import PLATFORMS, lowered

NHWC = ('NHWC', 'HWIO', 'NHWC')
# Of images: height, width, channels; of kernels: height, width, outputs of each
# input; strides and padding.
DEPTHWISE = {
  '3x3': ((8, 8, 6), (3, 3, 1), 1, 'SAME'),
  '3x3 valid, odd by even': ((7, 10, 6), (3, 3, 1), 1, 'VALID'),
  'strides, even': ((8, 8, 6), (3, 3, 1), 2, 'SAME'),
  'strides, odd': ((9, 7, 6), (3, 3, 1), 2, 'SAME'),
  'strides, valid, left-overs': ((8, 10, 6), (3, 3, 1), 2, 'VALID'),
  'pixels on each side': ((9, 8, 6), (3, 3, 1), 2, [(1, 1), (1, 1)]),
  'uneven padding': ((6, 6, 6), (3, 3, 1), 1, [(0, 2), (3, 1)]),
  'multiplier': ((6, 7, 3), (3, 3, 4), 2, 'SAME'),
  '5x5': ((9, 9, 2), (5, 5, 1), 2, 'SAME'),
  '1x7': ((9, 9, 2), (1, 7, 1), 1, 'SAME'),
  '2x3': ((8, 9, 2), (2, 3, 1), 1, 'SAME'),
  '1x1': ((5, 5, 4), (1, 1, 1), 1, 'SAME'),
  '1x1 of every third pixel': ((8, 7, 4), (1, 1, 1), 3, 'VALID'),
  'one pixel': ((1, 1, 4), (3, 3, 1), 1, 'SAME'),
  'one pixel, strides': ((1, 1, 4), (3, 3, 2), 2, 'SAME'),
}
POINTWISE = {
  'few channels': ((5, 6, 3), 8, 1, 'SAME'),
  'wider': ((5, 6, 40), 48, 1, 'VALID'),
  'narrower': ((5, 6, 48), 40, 1, 'SAME'),
  'strides, even': ((8, 6, 40), 4, 2, 'SAME'),
  'strides, odd': ((7, 5, 40), 4, 2, 'VALID'),
  'padding': ((4, 5, 3), 4, 2, [(1, 0), (2, 1)]),
  'one pixel': ((1, 1, 3), 4, 1, 'SAME'),
}


def random(*shapes, dtype=jnp.float32, seed=0):
  """Returns arrays away from 0."""
  state = np.random.RandomState(seed)
  return tuple(jnp.asarray(state.normal(1, 2, s), dtype) for s in shapes)


def convolutions(strides, padding, groups=1, **options):
  """Returns ours and lax's, of x and kernel."""
  options = {
    'window_strides': (strides, strides),
    'padding': padding,
    'dimension_numbers': NHWC,
    'feature_group_count': groups,
    **options,
  }

  def call(function, x, kernel):
    numbers = options['dimension_numbers']
    numbers = lax.conv_dimension_numbers(x.shape, kernel.shape, numbers)
    return function(x, kernel, **{**options, 'dimension_numbers': numbers})

  functions = convolution.conv_general_dilated, lax.conv_general_dilated
  return tuple(functools.partial(call, function) for function in functions)


def with_gradients(function, x, kernel):
  """Returns y, dx and the kernel's gradient, for some dy."""
  y, vjp = jax.vjp(function, x, kernel)
  dy = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
  return y, vjp(dy.astype(y.dtype))


def convolves(function, *inputs, platform='cpu'):
  """Says whether it or its gradients contain a convolution."""
  gradients = functools.partial(with_gradients, function)
  text = lowered(gradients, *inputs, platform=platform)
  return 'stablehlo.convolution' in text


def depthwise(name, **options):
  (H, W, C), (h, w, times), strides, padding = DEPTHWISE[name]
  arrays = random((3, H, W, C), (h, w, 1, C * times), **options)
  return convolutions(strides, padding, groups=C), arrays


def pointwise(name, **options):
  (H, W, C), D, strides, padding = POINTWISE[name]
  arrays = random((3, H, W, C), (1, 1, C, D), **options)
  return convolutions(strides, padding), arrays


CASES = [(depthwise, name) for name in DEPTHWISE]
CASES += [(pointwise, name) for name in POINTWISE]
FEW = [
  (depthwise, 'uneven padding'),
  (depthwise, 'multiplier'),
  (pointwise, 'narrower'),
]


@pytest.mark.parametrize(('make', 'name'), CASES)
def test_values_and_gradients_are_laxs(make, name, assert_close):
  (ours, laxs), arrays = make(name)
  assert not convolves(ours, *arrays)
  actual, expected = (
    jax.jit(functools.partial(with_gradients, f))(*arrays) for f in (ours, laxs)
  )
  assert_close(actual, expected, rtol=1e-5)


@pytest.mark.parametrize(('make', 'name'), FEW)
def test_without_jit_it_is_the_same(make, name, assert_close):
  (ours, _), arrays = make(name)
  gradients = functools.partial(with_gradients, ours)
  assert_close(gradients(*arrays), jax.jit(gradients)(*arrays), rtol=1e-5)


@pytest.mark.parametrize('dtype', [jnp.bfloat16, jnp.float16])
@pytest.mark.parametrize(('make', 'name'), FEW)
def test_half_precision_is_summed_in_float32(make, name, dtype, assert_close):
  (ours, laxs), halves = make(name, dtype=dtype)
  actual = with_gradients(ours, *halves)
  for half in jax.tree.leaves(actual):
    assert half.dtype == dtype
  # Cosines are rounded to what the cotangents are.
  exact = tuple(half.astype(jnp.float32) for half in halves)
  y, vjp = jax.vjp(laxs, *exact)
  dy = jnp.cos(jnp.arange(y.size, dtype=jnp.float32)).reshape(y.shape)
  expected = y, vjp(dy.astype(dtype).astype(jnp.float32))
  rounding = float(jnp.finfo(dtype).eps)
  assert_close(actual, expected, rtol=rounding)


@pytest.mark.parametrize(('make', 'name'), FEW)
def test_vmap_is_one_at_a_time(make, name, assert_close):
  many = [make(name, seed=seed)[1] for seed in range(3)]
  (ours, _), _ = make(name)
  gradients = functools.partial(with_gradients, ours)
  together = jax.vmap(gradients)(*map(jnp.stack, zip(*many)))
  for k, arrays in enumerate(many):
    one = jax.tree.map(lambda v, k=k: v[k], together)
    assert_close(one, gradients(*arrays), rtol=1e-5)


@pytest.mark.parametrize(('make', 'name'), FEW)
def test_the_gradient_of_the_gradient_is_laxs(make, name, assert_close):
  functions, arrays = make(name)

  def second(function):
    def squared(*arrays):
      return sum(
        jnp.square(g).sum()
        for g in jax.tree.leaves(with_gradients(function, *arrays))
      )

    return jax.jit(jax.grad(squared, argnums=(0, 1)))(*arrays)

  assert_close(*map(second, functions), rtol=1e-5)


@pytest.mark.parametrize('check_vma', [True, False])
@pytest.mark.parametrize(('make', 'name'), FEW)
def test_shards_of_the_batch_are_the_batch(make, name, check_vma, assert_close):
  """Each device has its examples; jit's own partition is right as well."""
  mesh = jax.make_mesh(
    (2,),
    ('data',),
    axis_types=(jax.sharding.AxisType.Auto,),
    devices=jax.devices('cpu')[:2],
  )
  (ours, _), (x, kernel) = make(name)
  x = jnp.concatenate([x, 2 * x[:1]])

  def loss(kernel, x):
    return jnp.square(ours(x, kernel)).sum()

  def on_a_device(kernel, x):
    gradient = jax.grad(loss)(kernel, x)
    # If it checks what varies, JAX has added up the gradients already.
    return gradient if check_vma else jax.lax.psum(gradient, 'data')

  shared, split = jax.P(), jax.P('data')
  mapped = jax.shard_map(
    on_a_device,
    mesh=mesh,
    in_specs=(shared, split),
    out_specs=shared,
    check_vma=check_vma,
  )
  expected = jax.grad(loss)(kernel, x)
  assert_close(jax.jit(mapped)(kernel, x), expected, rtol=1e-5)
  x = jax.device_put(x, jax.NamedSharding(mesh, split))
  program = jax.jit(jax.grad(loss)).lower(kernel, x).compile()
  assert_close(program(kernel, x), expected, rtol=1e-5)
  assert 'all-gather' not in program.as_text()


@pytest.mark.parametrize('size', [1, 2 * 5, 2 * 5 * 3, 1000])
@pytest.mark.parametrize('terms', [1, 12, 100])
def test_the_loop_of_a_depthwise_gradient_misses_nothing(
  size, terms, monkeypatch, assert_close
):
  """By columns, rows, both or at once; of 4 rows and 3 columns of windows."""
  monkeypatch.setattr(convolution, 'LOOP_SIZE', size)
  monkeypatch.setattr(convolution, 'LOOP_TERMS', terms)
  where = windows.of((2, 7, 6, 5), (3, 2), (2, 2), [(1, 1), (0, 1)])
  assert where.out == (4, 3)
  x, dy = random((2, 7, 6, 5), (2, 4, 3, 5))
  actual = convolution._depthwise_kernel_gradient(x, dy, where)
  _, laxs = convolutions(2, where.pads, groups=5)
  _, vjp = jax.vjp(functools.partial(laxs, x), jnp.zeros((3, 2, 1, 5)))
  assert_close(actual, vjp(dy)[0], rtol=1e-5)


def test_a_few_groups_are_convolved_one_by_one(assert_close):
  x, kernel = random((2, 6, 6, 8), (3, 3, 4, 6))
  ours, laxs = convolutions(2, 'SAME', groups=2)
  actual, expected = (with_gradients(f, x, kernel) for f in (ours, laxs))
  assert_close(actual, expected, rtol=1e-5)
  for platform, groups in (('cpu', 1), ('tpu', 2)):
    text = lowered(ours, x, kernel, platform=platform)
    assert {*re.findall(r'feature_group_count = (\d)', text)} == {str(groups)}
  # Those of 1x1 kernels are products.
  ours, laxs = convolutions(1, 'SAME', groups=2)
  x, kernel = random((2, 6, 6, 8), (1, 1, 4, 6))
  assert not convolves(ours, x, kernel)
  assert_close(ours(x, kernel), laxs(x, kernel), rtol=1e-5)


OTHERS = {
  '3x3': ((2, 5, 5, 4), (3, 3, 4, 4), NHWC, {}),
  'one channel is not depthwise': ((2, 5, 5, 1), (3, 3, 1, 4), NHWC, {}),
  'NCHW': ((2, 4, 5, 5), (1, 1, 4, 4), ('NCHW', 'HWIO', 'NCHW'), {}),
  'dilated input': (
    (2, 5, 5, 4),
    (1, 1, 4, 4),
    NHWC,
    {'lhs_dilation': (2, 2), 'padding': [(0, 0), (1, 1)]},
  ),
  'dilated kernel': (
    (2, 5, 5, 4),
    (3, 3, 1, 4),
    NHWC,
    {'rhs_dilation': (2, 2), 'groups': 4},
  ),
  'padding that cuts': (
    (2, 5, 5, 4),
    (1, 1, 4, 4),
    NHWC,
    {'padding': [(-1, 0), (0, 0)]},
  ),
  'no window': ((2, 2, 2, 4), (3, 3, 1, 4), NHWC, {'groups': 4}),
  'large kernel': ((1, 9, 9, 2), (8, 8, 1, 2), NHWC, {'groups': 2}),
  'many groups': ((1, 4, 4, 32), (3, 3, 2, 16), NHWC, {'groups': 16}),
  'other dtype': (
    (2, 5, 5, 4),
    (1, 1, 4, 4),
    NHWC,
    {'preferred_element_type': jnp.float32},
  ),
  'a line': ((2, 5, 4), (1, 4, 4), ('NHC', 'HIO', 'NHC'), {'strides': None}),
}


@pytest.mark.parametrize('name', OTHERS)
def test_all_else_is_laxs(name):
  x_shape, kernel_shape, numbers, options = OTHERS[name]
  dtype = jnp.bfloat16 if 'preferred_element_type' in options else jnp.float32
  x, kernel = random(x_shape, kernel_shape, dtype=dtype)
  options = {'padding': 'VALID', 'strides': 1, **options}
  options['dimension_numbers'] = numbers
  if options['strides'] is None:
    options['window_strides'] = (1,)
  ours, laxs = convolutions(**options)
  y = ours(x, kernel)
  assert y.dtype == laxs(x, kernel).dtype
  np.testing.assert_array_equal(y, laxs(x, kernel))
  assert 'conv_general_dilated' in str(jax.make_jaxpr(ours)(x, kernel))


@pytest.mark.parametrize('platform', PLATFORMS)
def test_accelerators_convolve_by_lax(platform):
  for (ours, laxs), arrays in (depthwise('3x3'), pointwise('wider')):
    texts = [
      lowered(
        functools.partial(with_gradients, function), *arrays, platform=platform
      )
      for function in (ours, laxs)
    ]
    for operation in ('convolution', 'dot_general', 'dynamic_slice', 'while'):
      ours_has, laxs_has = (t.count(f'stablehlo.{operation}') for t in texts)
      assert ours_has == laxs_has


@pytest.mark.parametrize(('make', 'name'), FEW[1:])
def test_forward_mode_is_laxs(make, name, assert_close):
  """Over reverse mode by fast forms; alone by the plain ones."""
  (ours, laxs), arrays = make(name)
  ours, laxs = map(jax.jit, (ours, laxs))

  def product(function):
    gradient = jax.grad(
      lambda *arrays: jnp.square(function(*arrays)).sum(), argnums=(0, 1)
    )
    return jax.jvp(gradient, arrays, arrays)[1]

  assert_close(product(ours), product(laxs), rtol=1e-5)
  with pytest.raises(TypeError, match='forward-mode'):
    jax.jvp(ours, arrays, arrays)
  with reference.forms():
    assert convolves(ours, *arrays)
    actual = jax.jvp(ours, arrays, arrays)
    linear = jax.linearize(ours, *arrays)[1](*arrays)
  expected = jax.jvp(laxs, arrays, arrays)
  assert_close((*actual, linear), (*expected, expected[1]), rtol=1e-5)
  assert not convolves(ours, *arrays)


@pytest.mark.parametrize('batch', [(), (2,), (2, 3)])
@pytest.mark.parametrize('padding', ['SAME', 'VALID', 1, ((0, 1), (2, 0))])
def test_flax_convolves_by_it(batch, padding, assert_close):
  (x,) = random((*batch, 6, 5, 4))
  options = {'strides': 2, 'padding': padding, 'feature_group_count': 4}
  layer = nn.Conv(8, (3, 3), **options)
  ours = nn.Conv(
    8,
    (3, 3),
    **options,
    conv_general_dilated=convolution.conv_general_dilated,
  )
  y, variables = layer.init_with_output(jax.random.key(0), x)
  assert_close(ours.apply(variables, x), y, rtol=1e-5)
  assert 'stablehlo.convolution' not in lowered(ours.apply, variables, x)


def test_a_depthwise_step_needs_memory_for_few_maps():
  """So the slices are not kept, one for each tap."""
  C, where = 64, windows.of((4, 32, 32, 64), (3, 3), (1, 1), 'SAME')
  (ours, _), _ = convolutions(1, 'SAME', groups=C), where
  x = jax.ShapeDtypeStruct((4, *where.size, C), jnp.float32)
  kernel = jax.ShapeDtypeStruct((3, 3, 1, C), jnp.float32)
  gradients = functools.partial(with_gradients, ours)
  program = jax.jit(gradients).lower(x, kernel).compile()
  used = program.memory_analysis().temp_size_in_bytes
  assert used < 4 * 4 * math.prod(x.shape)


def test_a_network_has_hessian_vector_products_and_with_reference_tangents():
  """Of depthwise and 1x1 kernels, with batch normalization; not compiled."""
  model = mobilenet_v1.Model(10, Layers(norm=lambda site: batch.Norm))
  x = jnp.ones((2, 32, 32, 3))
  init = functools.partial(model.init, train=False)
  variables = jax.eval_shape(init, jax.random.key(0), x)
  params = variables.pop('params')

  def loss(params, variables):
    logits_NK, _ = model.apply({'params': params, **variables}, x, train=True)
    return jnp.square(logits_NK).sum()

  def product(params, variables):
    gradient = jax.grad(functools.partial(loss, variables=variables))
    return jax.jvp(gradient, (params,), (params,))[1]

  def slope(params, variables):
    function = functools.partial(loss, variables=variables)
    return jax.jvp(function, (params,), (params,))[1]

  jax.jit(product).lower(params, variables)
  with pytest.raises(TypeError, match='forward-mode'):
    jax.jit(slope).lower(params, variables)
  with reference.forms():
    jax.jit(slope).lower(params, variables)
