"""Options of a few networks that change what they are made of."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import knobs, lookup, models
from bnresearch.assembly import assemble
from bnresearch.models import Layers, _initializers
from bnresearch.preflight import Machine
from bnresearch.preflight.network import check_network
from bnresearch.training import objective
from configs import default
from tests.published import (
  drawn,
  images,
  network,
  parameters,
  size_of,
  small,
)

MACHINE = Machine(1, 'cpu', 0)


def parts_of(**values):
  config = default.get_config()
  config.update_from_flattened_dict(
    {
      'data.name': 'synthetic',
      **{key.replace('__', '.'): value for key, value in values.items()},
    }
  )
  assert knobs.problems(config) == []
  return assemble(config)


def initial(model, size, seed=0):
  """Returns variables, as training begins with."""
  init = functools.partial(model.init, train=False)
  return jax.jit(init)(jax.random.key(seed), images(size))


# Initializers by layer.


def test_a_layer_has_the_initializer_of_the_last_pattern_that_fits():
  layers = {
    'initializer': 'normal',
    'init_std': 1e-3,
    'init_sites': (
      'conv_*=truncated_normal:10',
      'conv_2=normal',
      'hidden_1=normal:0.1',
      'logits=own',
    ),
  }
  model = network('lenet', 'none', 10, layers, stem='small')
  params = initial(model, 16)['params']
  std = {name: float(layer['kernel'].std()) for name, layer in params.items()}
  assert std['conv_1'] == pytest.approx(8.8, rel=0.2)
  assert std['conv_2'] == pytest.approx(1e-3, rel=0.2)
  assert std['hidden_1'] == pytest.approx(0.1, rel=0.05)
  assert std['hidden_2'] == pytest.approx(1e-3, rel=0.05)
  assert std['logits'] == pytest.approx(84**-0.5, rel=0.1)


def test_lsuv_of_one_layer_sees_real_images():
  parts = parts_of(
    model__name='lenet', model__stem='small', model__init_sites=('conv_1=lsuv',)
  )
  x_NHWC = parts.training.initial_batch()
  params = parts.training.fresh_state().params
  kernel = params['conv_1']['kernel']
  same = jax.lax.conv_general_dilated(
    x_NHWC, kernel, (1, 1), 'SAME', dimension_numbers=('NHWC', 'HWIO', 'NHWC')
  )
  assert x_NHWC.shape[0] == parts.config.train.batch_size
  assert same.std() == pytest.approx(1, rel=1e-4)


@pytest.mark.parametrize(
  'text', ['kaiming', '=kaiming', 'a=kaimin', 'a=kaiming:0.1', 'a=normal:b']
)
def test_what_is_no_initializer_of_a_layer_is_refused(text):
  with pytest.raises(ValueError, match=f"'{text}' is none. Write 'PATTERN=NAM"):
    Layers(norm=lambda path: None, init_sites=(text,))
  rule = knobs.KNOBS['model.init_sites'].rule
  assert not rule.holds((text,))
  assert rule.holds(('a=kaiming', 'b/*=normal:1e-3', 'c=own'))
  for name in ('own', *_initializers.NAMES):
    assert rule.holds((f'a={name}',))


@pytest.mark.parametrize(
  ('sites', 'message'),
  [
    (
      ('stem=normal:0.1',),
      r"init_sites: 'stem' fits no layer with a kernel. There are hidden_1, ",
    ),
    (
      ('hidden_1=own',),
      r"model.init_sites: 'hidden_1=own' is without effect: .* are hidden_1\.",
    ),
    (('hidden*=kaiming', '*=normal:0.1'), r"'hidden\*=kaiming' is without eff"),
  ],
)
def test_a_pattern_of_an_initializer_that_changes_nothing_is_refused(
  sites, message
):
  with pytest.raises(Exception, match=message):
    check_network(parts_of(model__init_sites=sites), MACHINE)


# What the network takes in, and what it gives.


def test_dropout_of_the_input_is_of_training_alone():
  model = network('mlp', 'none', 10, {'input_dropout_rate': 0.25})
  x_NHWC = jnp.ones((64, 8, 8, 2))
  variables = models.shapes(model, 8, 2)
  assert variables == models.shapes(network('mlp', 'none', 10), 8, 2)
  # The first layer's taps are its kernel's row for a single pixel that is left.
  one = jnp.zeros((128, 100)).at[:, 0].set(1)
  params = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape), variables['params'])
  params['hidden_1']['kernel'] = one
  apply = functools.partial(model.apply, {'params': params}, x_NHWC)
  sums = lambda **options: np.asarray(apply(**options)[1]['hidden_1'][:, 0])
  np.testing.assert_array_equal(sums(train=False), 128)
  np.testing.assert_array_equal(sums(train=True), 128)  # without an rng
  dropped_N = sums(train=True, rngs={'dropout': jax.random.key(0)})
  kept_N = dropped_N * 0.75  # what is kept is scaled up, each value alone
  assert len({*kept_N.round(3)}) > 5
  assert kept_N.mean() == pytest.approx(96, rel=0.03)


def test_a_run_may_take_its_images_channels_first(assert_close):
  values = {'model__name': 'lenet', 'model__stem': 'small'}
  nhwc, nchw = (
    parts_of(**values, model__input_format=form) for form in ('NHWC', 'NCHW')
  )
  H, W, C = nhwc.network.input_shape
  assert nchw.network.input_shape == (C, H, W)
  drawn_NHWC = np.random.RandomState(0).randint(256, size=(4, H, W, C))
  images_NHWC, labels_N = drawn_NHWC.astype(np.uint8), jnp.arange(4)
  x, y = (parts.images.pixels(images_NHWC) for parts in (nhwc, nchw))
  np.testing.assert_array_equal(x.transpose(0, 3, 1, 2), y)
  first = nhwc.training.fresh_state()
  assert_close(nchw.training.fresh_state().params, first.params, rtol=1e-6)
  # Both train alike.
  losses = [
    jax.jit(parts.training.train_step)(
      first, type_of(parts)(images_NHWC, labels_N), jax.random.key(0)
    )[1]['loss']
    for parts in (nhwc, nchw)
  ]
  assert losses[0] == pytest.approx(float(losses[1]), rel=1e-5)


def type_of(parts):
  return type(next(parts.training.batches(range(1))))


def test_a_run_whose_logits_keep_their_positions_averages_them(assert_close):
  logits = jnp.arange(24.0).reshape(2, 2, 3, 2)
  expected = logits.mean((1, 2))
  np.testing.assert_allclose(objective.of_examples(logits), expected)
  np.testing.assert_array_equal(objective.of_examples(expected), expected)
  (found,) = objective.heads(logits, {})
  assert found.shape == (2, 2)
  values = {'model__name': 'nin', 'model__stem': 'small', 'model__width': 0.1}
  with_map, without = (
    parts_of(**values, model__squeeze=squeeze) for squeeze in (False, True)
  )
  x_NHWC = images(8, channels=with_map.data.spec.image_shape[-1])
  shapes = {
    jax.eval_shape(
      functools.partial(parts.network.model.init_with_output, train=False),
      jax.random.key(0),
      x_NHWC,
    )[0][0].shape
    for parts in (with_map, without)
  }
  assert {len(shape) for shape in shapes} == {2, 4}
  first = without.training.fresh_state()
  batch = next(without.training.batches(range(1)))
  after = [
    jax.jit(parts.training.train_step)(first, batch, jax.random.key(0))
    for parts in (with_map, without)
  ]
  (found, metrics), (expected, others) = after
  assert_close(found.params, expected.params, rtol=1e-4)
  assert metrics.keys() == others.keys()


# Averages over positions, or a dense layer on all of them.


@pytest.mark.parametrize(
  'name',
  [
    name
    for name in lookup.names('models')
    if hasattr(lookup.find('models', name).Model, 'last_pooling')
    and name != 'vgg'
  ],
)
def test_the_last_map_is_averaged_or_flattened(name):
  size = size_of(name) * 2
  own, average, flat = (
    models.shapes(small(name, last_pooling=kind), size)['params']
    for kind in ('own', 'average', 'none')
  )
  assert own == average
  C, _ = own['logits']['kernel'].shape
  inputs, _ = flat['logits'].pop('kernel').shape
  assert inputs > C
  assert inputs % C == 0
  del own['logits']['kernel']
  assert flat == own
  with pytest.raises(ValueError, match=r"last_pooling = 'max'.* Known: own, a"):
    models.shapes(small(name, last_pooling='max'), size)


def test_the_average_of_a_flattened_map_is_the_pooled_one():
  flat = small('googlenet', last_pooling='none', blocks=(1, 0, 0))
  pooled = small('googlenet', blocks=(1, 0, 0))
  variables, x_NHWC = drawn(pooled, 16), images(16)
  expected_NK, _ = pooled.apply(variables, x_NHWC, train=False)
  C = variables['params']['logits']['kernel'].shape[0]
  positions = (
    models.shapes(flat, 16)['params']['logits']['kernel'].shape[0] // C
  )
  assert positions > 1
  kernel = variables['params']['logits']['kernel']
  variables['params']['logits']['kernel'] = (
    jnp.tile(kernel, (positions, 1)) / positions
  )
  logits_NK, _ = flat.apply(variables, x_NHWC, train=False)
  np.testing.assert_allclose(logits_NK, expected_NK, rtol=1e-4, atol=1e-5)


def test_vgg_has_hidden_layers_unless_its_last_map_is_averaged():
  count = lambda **fields: parameters(network('vgg', 'none', **fields), 224)
  convolutions = 14_714_688
  assert count() == count(last_pooling='none') == 138_357_544
  assert count(last_pooling='average') == convolutions + 513 * 1000
  small_stem = {'stem': 'small', 'last_pooling': 'none'}
  assert count(**small_stem) == convolutions + (7 * 7 * 512 + 1) * 1000
  hidden = 138_357_544 - convolutions - 4097 * 1000
  assert round(100 * hidden / 138_357_544) == 86


# DenseNet's growth and compression, MobileNetV2's units.


def test_a_dense_layer_adds_growth_and_a_transition_leaves_a_part():
  def channels(**fields):
    model = network('densenet', 'none', 10, blocks=(2, 1), **fields)
    params = models.shapes(model, 64)['params']
    return [
      params[layer]['kernel'].shape[-1]
      if layer == 'stem'
      else params[layer]['conv']['kernel'].shape[-1]
      for layer in ('stem', 'transition_1')
    ] + [params['logits']['kernel'].shape[0]]

  assert channels() == [64, 64, 96]
  assert channels(growth=12) == [24, 24, 36]
  assert channels(compression=1.0) == [64, 128, 160]
  assert channels(growth=12, compression=0.3) == [24, 14, 26]


def test_units_widen_by_the_expansion_and_may_end_with_an_activation():
  def shapes(**fields):
    model = network('mobilenet_v2', 'batch', 10, blocks=(1, 2), **fields)
    init = functools.partial(model.init_with_output, train=False)
    (_, taps), variables = jax.eval_shape(init, jax.random.key(0), images(32))
    return variables['params'], taps

  unit = 'stage_2_block_2'
  for expansion in (2, 6):
    params, _ = shapes(expansion=expansion)
    assert params[unit]['expand']['kernel'].shape[-2:] == (24, 24 * expansion)
  assert 'expand' not in shapes(expansion=1)[0][unit]
  own, taps = shapes()
  activated, others = shapes(linear_projection=False)
  assert activated == own
  assert {*others} - {*taps} == {
    'stage_1_block_1/project',
    'stage_2_block_1/project',
    'stage_2_block_2/project',
  }


def test_an_activated_projection_is_of_relu6():
  fields = {'stem': 'small', 'blocks': (1,)}
  layers = {'width': 0.25, 'min_width': 8}
  linear, activated = (
    network(
      'mobilenet_v2', 'none', 10, layers, linear_projection=kind, **fields
    )
    for kind in (True, False)
  )
  variables, x_NHWC = drawn(linear, 8), 30 * images(8)
  _, linear_taps = linear.apply(variables, x_NHWC, train=False)
  _, taps = activated.apply(variables, x_NHWC, train=False)
  kernel = variables['params']['head']['kernel'][0, 0]
  bias = variables['params']['head']['bias']
  project = taps['stage_1_block_1/project']
  shortcut = jnp.clip(taps['stem'], 0, 6)
  assert project.min() < 0
  assert project.max() > 6
  for at_head, x in ((linear_taps, project), (taps, jnp.clip(project, 0, 6))):
    np.testing.assert_allclose(
      at_head['head'],
      (x + shortcut) @ kernel + bias[None, None, None],
      rtol=1e-4,
      atol=1e-3,
    )
