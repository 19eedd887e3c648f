"""Layers that compute in bfloat16; all else stays float32."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import lookup
from bnresearch.assembly import assemble
from bnresearch.evaluation import evaluate
from bnresearch.training import parallel
from tests.daily import some
from tests.published import drawn, images, size_of, small
from tests.test_accumulation import SIZE, batch, config_of, train_step_of

MODELS = {
  'mlp': {},
  'lenet': {'model__stem': 'small'},
  'resnet': {
    'model__stem': 'small',
    'model__variant': '18',
    'model__blocks': (1, 1),
  },
  'lstm': {'model__units': 8},
}


@functools.cache
def stepped(model, dtype, backend='jit'):
  """Returns the state and metrics after a step, from the same first state."""
  config = config_of(model__name=model, train__dtype=dtype, **MODELS[model])
  config.model.features = (16, 16)
  first, train_step = train_step_of(config, backend=backend)
  devices = jax.devices()[: 1 if backend == 'jit' else 4]
  with jax.set_mesh(parallel.mesh_of(devices)):
    found = jax.jit(train_step)(first, batch(), jax.random.key(0))
  return jax.tree.map(np.asarray, found)


@pytest.mark.parametrize(
  ('model', 'backend'),
  some(
    [
      *((m, 'jit') for m in MODELS),
      ('mlp', 'shard_map'),
      ('resnet', 'shard_map'),
    ],
    *(('mlp', 'jit'), ('resnet', 'jit'), ('mlp', 'shard_map')),
  ),
)
def test_what_is_kept_is_float32_and_near(model, backend, assert_close):
  found, metrics = stepped(model, 'bfloat16', backend)
  expected, exact = stepped(model, 'float32')
  dtype = lambda tree: jax.tree.map(lambda x: x.dtype, tree)
  assert dtype(found) == dtype(expected)
  np.testing.assert_allclose(metrics['loss'], exact['loss'], rtol=2e-2)
  assert metrics['loss'] != exact['loss']
  assert_close(found.collections, expected.collections, rtol=0.05)


@pytest.mark.parametrize('model', lookup.names('models'))
def test_taps_are_bfloat16_and_logits_float32(model):
  """Those of auxiliary heads too."""
  fields = {}
  if hasattr(lookup.find('models', model).Model, 'auxiliary_heads'):
    fields = {'auxiliary_heads': True}
  network = small(model, layers={'dtype': jnp.bfloat16}, **fields)
  x_NHWC = images(size_of(model), N=4)
  init = functools.partial(network.init_with_output, train=True)
  (logits_NK, taps), variables = jax.eval_shape(init, jax.random.key(0), x_NHWC)
  assert logits_NK.dtype == jnp.float32
  for name, x in taps.items():
    head = name.startswith('auxiliary_logits')
    assert x.dtype == (jnp.float32 if head else jnp.bfloat16), name
  assert {x.dtype for x in jax.tree.leaves(variables)} == {jnp.dtype('float32')}


def test_gradients_are_near_those_of_float32():
  """Of depthwise and 1x1 kernels, which have forms of their own on a CPU."""
  model = 'mobilenet_v1'
  variables = drawn(small(model, 'none'), size_of(model))
  params = variables.pop('params')
  x_NHWC = images(size_of(model), N=8)

  def gradient(dtype):
    network = small(model, 'none', {'dtype': dtype}, dropout_rate=0.0)

    def loss(params):
      (logits_NK, _), _ = network.apply(
        {'params': params, **variables},
        x_NHWC,
        train=True,
        mutable=['batch_stats'],
      )
      return -jax.nn.log_softmax(logits_NK)[:, 0].mean()

    return jax.jit(jax.grad(loss))(params)

  found, expected = gradient(jnp.bfloat16), gradient(None)
  cosines = jax.tree.map(
    lambda a, b: (a * b).sum() / jnp.sqrt((a * a).sum() * (b * b).sum()),
    found,
    expected,
  )
  assert min(jax.tree.leaves(cosines)) > 0.9


def test_statistics_are_the_float32_ones_of_bfloat16_activations():
  found, _ = stepped('mlp', 'bfloat16')
  config = config_of(model__features=(16, 16))
  first, _ = train_step_of(config)
  kernel = first.params['hidden_1']['kernel'].astype(jnp.bfloat16)
  x = batch().images.reshape(-1, SIZE * SIZE) / 255
  x = np.asarray(x.astype(jnp.bfloat16) @ kernel, np.float64)
  running = found.collections['batch_stats']['hidden_1']['norm']
  np.testing.assert_allclose(running['mean'], 0.01 * x.mean(0), rtol=1e-5)
  var = 0.99 + 0.01 * x.var(0, ddof=1)
  np.testing.assert_allclose(running['var'], var, rtol=1e-6)


def test_evaluation_computes_in_it_too():
  config = config_of(train__dtype='bfloat16', data__name='synthetic')
  model = assemble(config).network.evaluated
  first, _ = train_step_of(config)
  forward = evaluate.make_forward(model, 'ema')
  x_NHWC = jnp.ones((2, SIZE, SIZE, 1))
  logits_NK, taps = forward(first.params, first.collections, x_NHWC)
  assert logits_NK.dtype == jnp.float32
  assert {x.dtype for x in taps.values()} == {jnp.dtype('bfloat16')}
