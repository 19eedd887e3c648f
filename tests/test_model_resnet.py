"""ResNets: published counts, equality with Keras, units that begin closed."""

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest

from bnresearch.models import measure, resnet
from tests.published import (
  assert_same_as_keras,
  batch_norm,
  drawn,
  images,
  keras_network,
  network,
  parameters,
)

KERAS_EPSILON = 1.001e-5


@pytest.mark.parametrize(
  ('variant', 'count'),
  [
    ('18', 11_689_512),  # torchvision, num_params
    ('34', 21_797_672),
    ('50', 25_557_032),
    ('101', 44_549_160),
    ('152', 60_192_808),
  ],
)
def test_the_number_of_parameters_is_torchvisions(variant, count):
  assert parameters(network('resnet', variant=variant), 224) == count


@pytest.mark.parametrize(
  ('n', 'count'),
  [(3, 269_722), (5, 464_154), (18, 1_727_962)],
)
def test_for_cifar_it_has_the_papers_depth_and_shortcuts(n, count):
  """6n+2 layers; 0.27, 0.46 and 1.7 million parameters, as in Table 6."""
  model = network('resnet', num_classes=10, variant=f'cifar_{6 * n + 2}')
  cost = measure(model, 32)
  assert cost.depth == 6 * n + 2 == len(cost.layers)
  assert cost.parameters == count


def test_a_shortcut_for_cifar_takes_every_other_pixel_and_adds_zeros():
  model = network(
    'resnet', num_classes=10, variant='cifar_20', blocks=(1, 1), zero_init=True
  )
  x_NHWC = images(8)
  variables = model.init(jax.random.key(0), x_NHWC, train=False)
  _, taps = model.apply(variables, x_NHWC, train=True)
  before = jnp.maximum(taps['stage_1_block_1/sum'], 0)
  after = taps['stage_2_block_1/sum']  # its branch begins with 0
  np.testing.assert_array_equal(after[..., :16], before[:, ::2, ::2])
  np.testing.assert_array_equal(after[..., 16:], 0)


def test_with_all_biases_the_number_of_parameters_is_keras():
  model = network('resnet', layers={'keep_bias': True}, version='v1')
  assert parameters(model, 224) == 25_583_592


@pytest.mark.parametrize(
  ('make', 'version', 'strides_at'),
  [
    (keras.applications.ResNet50, 'v1', 'first'),
    (keras.applications.ResNet50V2, 'v2', 'last'),
  ],
)
@pytest.mark.foreign
def test_it_is_keras_network(make, version, strides_at):
  theirs = keras_network(make)
  model = network(
    'resnet',
    batch_norm(KERAS_EPSILON),
    layers={'keep_bias': True},
    version=version,
    strides_at=strides_at,
  )
  assert_same_as_keras(theirs, model, 224)


@pytest.mark.parametrize('version', ['v1.5', 'v2'])
@pytest.mark.parametrize('padding', ['same', 'symmetric'])
def test_the_stem_pools_as_slim_or_as_pytorch_and_keras(
  monkeypatch, padding, version
):
  """By `same`, the logits are those of tf_slim's v1 and v2, to 7e-7."""
  pooled = []

  def spy(kind, x, *options):
    pooled.append((x, pool(kind, x, *options)))
    return pooled[-1][1]

  pool = resnet.pool
  model = network(
    'resnet',
    num_classes=10,
    variant='18',
    blocks=(1,),
    padding=padding,
    version=version,
  )
  variables = drawn(model, 16)
  monkeypatch.setattr(resnet, 'pool', spy)
  model.apply(variables, images(16), train=False)
  ((map_NHWC, pooled_NHWC),) = pooled
  if map_NHWC.shape[1] == 10:
    map_NHWC = map_NHWC[:, 1:9, 1:9]
  zeros = version == 'v2' and padding == 'symmetric'  # Keras's
  whole = np.full((2, 10, 10, 64), 0.0 if zeros else -np.inf)
  whole[:, 1:9, 1:9] = map_NHWC
  first = 1 if padding == 'same' else 0
  expected = [
    [
      whole[:, i : i + 3, j : j + 3].max((1, 2))
      for j in range(first, first + 8, 2)
    ]
    for i in range(first, first + 8, 2)
  ]
  np.testing.assert_array_equal(
    np.moveaxis(np.asarray(expected), 2, 0), pooled_NHWC
  )


@pytest.mark.parametrize('norm', ['batch', 'group', 'evonorm_s0'])
def test_with_zero_init_a_unit_begins_as_its_shortcut(norm):
  """The last convolution of a branch is without effect then, and its own."""
  model = network(
    'resnet',
    norm,
    10,
    variant='18',
    blocks=(1, 1),
    stem='small',
    zero_init=True,
  )
  x_NHWC = images(8)
  variables = model.init(jax.random.key(0), x_NHWC, train=False)
  before, _ = model.apply(variables, x_NHWC, train=True)
  last = variables['params']['stage_1_block_1']['conv_last']
  np.testing.assert_array_equal(last['norm']['scale'], 0)
  last['kernel'] = jnp.ones_like(last['kernel'])
  after, _ = model.apply(variables, x_NHWC, train=True)
  np.testing.assert_array_equal(before, after)
  last['norm']['scale'] = jnp.ones_like(last['norm']['scale'])
  open_, _ = model.apply(variables, x_NHWC, train=True)
  assert jnp.abs(open_ - before).max() > 1e-3
