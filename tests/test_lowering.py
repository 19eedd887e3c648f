"""What a run compiles, lowered for accelerators on this machine.

It holds no form of a CPU, no call back to the host and no float64, and as many
collectives as on a CPU: all that can be known of a GPU or TPU without one.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import knobs, lookup
from bnresearch.assembly import assemble
from bnresearch.config import override
from bnresearch.evaluation.measure import network_of
from bnresearch.knobs.defaults import default_config
from bnresearch.ops import reference
from bnresearch.selftest import cases
from bnresearch.statistics.population import ESTIMATORS, of_one_batch
from bnresearch.sweeps.points import points
from bnresearch.sweeps.vectorized import program as vectorized
from bnresearch.training import parallel
from bnresearch.training.step import make_train_step
from bnresearch.training.stream import Examples
from configs import architectures
from tests.daily import some
from tests.lowering import PLATFORMS
from tests.lowering import operations as operations_of

N = 16
# Operations in which the forms of a CPU differ from XLA's own.
OF_FORMS = (
  'convolution',
  'dot_general',
  'dynamic_slice',
  'reduce_window',
  'select_and_scatter',
  'while',
)
# Of each day: depthwise and 1x1 kernels; pooling.
DAILY = 'mobilenet_v2', 'lenet'


def parts_of(**values):
  """Returns the parts of a config on synthetic images."""
  config = default_config()
  dotted = {key.replace('__', '.'): value for key, value in values.items()}
  base = {'data.name': 'synthetic', 'train.batch_size': N}
  assert not override(config, base | dotted)
  assert not knobs.wrong(config)
  return assemble(config)


def shapes_of(parts):
  """Returns the shapes of a state, a batch and a key."""
  image_shape = parts.data.spec.image_shape
  batch = Examples(
    jax.ShapeDtypeStruct((N, *image_shape), jnp.uint8),
    jax.ShapeDtypeStruct((N,), jnp.int32),
  )
  return parts.training.shapes(), batch, jax.random.key(0)


def texts(function, *inputs):
  """Returns {platform: StableHLO} of a function, traced once."""
  traced = jax.jit(function).trace(*inputs)
  return {
    platform: traced.lower(lowering_platforms=(platform,)).as_text()
    for platform in (*PLATFORMS, 'cpu')
  }


def counts(text, operations=OF_FORMS):
  found = operations_of(text)
  return {name: found[name] for name in operations}


def assert_fit(found):
  """Asserts what holds of every program for an accelerator."""
  for platform in PLATFORMS:
    text = found[platform]
    for word in ('callback', 'f64', 'tensor<f64'):
      assert word not in text, f'{word}, lowered for {platform}'
    collective = ('all_gather', 'all_reduce', 'reduce_scatter', 'all_to_all')
    assert counts(text, collective) == counts(found['cpu'], collective)
    assert text.count('@Sharding') == found['cpu'].count('@Sharding')


def assert_plain(function, *inputs):
  """Asserts that there are XLA's own operations only, and returns the texts."""
  found = texts(function, *inputs)
  assert_fit(found)
  with reference.forms():
    plain = texts(lambda *inputs: function(*inputs), *inputs)
  for platform in PLATFORMS:
    ours, xlas = counts(found[platform]), counts(plain[platform])
    # In a loop, the plain form of batch norm has a few slices more.
    assert ours.pop('dynamic_slice') <= xlas.pop('dynamic_slice')
    assert ours == xlas, platform
  return found


@pytest.mark.parametrize('name', some(architectures.MODELS, *DAILY))
def test_a_training_step_has_no_form_of_a_cpu(name):
  config = architectures.get_config(f'data=synthetic,models={name}')
  (point,) = [p for p in points(config, {}) if p.config.norm.name == 'batch']
  parts = assemble(point.config)
  found = assert_plain(parts.training.train_step, *shapes_of(parts))
  if name == 'mobilenet_v2':  # on a CPU, products and sums of slices
    few = counts(found['cpu'])['convolution']
    assert few < counts(found['tpu'])['convolution'] / 3


@pytest.mark.parametrize('platform', PLATFORMS)
def test_microbatches_are_a_loop_on_accelerators(platform):
  """On a CPU, where it would be slow, the loop is unrolled."""
  parts = parts_of(
    model__name='lenet',
    model__stem='small',
    norm__group_size=4,
    train__microbatches=4,
  )
  inputs, training = shapes_of(parts), parts.training
  make = functools.partial(
    make_train_step,
    parts.network.model,
    training.optimizer,
    parts.images.inputs,
    training.passes,
    microbatches=4,
  )
  lowered = {
    where: jax.jit(make(platform=where))
    .trace(*inputs)
    .lower(lowering_platforms=(where,))
    .as_text()
    for where in (platform, 'cpu')
  }
  assert counts(lowered[platform])['while'] > counts(lowered['cpu'])['while']


def options_of(name):
  """Returns the options of a norm to be tried, by what it has."""
  fields = lookup.find('norms', name).Norm.__dataclass_fields__
  yield {}
  if 'group_size' in fields:
    yield {'group_size': 4}
  if 'per_activation' in fields:
    yield {'per_activation': True}


NORMS = [
  (name, options)
  for name in lookup.names('norms')
  for options in options_of(name)
]


@pytest.mark.parametrize('masked', [False, True])
@pytest.mark.parametrize(('name', 'options'), NORMS, ids=str)
def test_every_norm_is_fit_for_accelerators(name, options, masked):
  norm = lookup.find('norms', name).Norm(**options)
  x = jax.ShapeDtypeStruct((N, 4, 4, 64), jnp.float32)
  init = functools.partial(norm.init, train=True)
  variables = jax.eval_shape(init, jax.random.key(0), x)

  def gradient(variables, x, mask, key):
    def loss(params, x):
      y, new = norm.apply(
        {**variables, 'params': params},
        x,
        train=True,
        mask=mask,
        mutable=[k for k in variables if k != 'params'],
        rngs={'dropout': key},
      )
      return jnp.square(y).sum(), new

    return jax.grad(loss, (0, 1), has_aux=True)(variables.get('params', {}), x)

  mask = jax.ShapeDtypeStruct((N,), bool) if masked else None
  assert_fit(texts(gradient, variables, x, mask, jax.random.key(0)))


def test_evaluation_is_fit_for_accelerators():
  parts = parts_of(
    model__name='mobilenet_v2', model__stem='small', model__width=0.25
  )
  state, batch, _ = shapes_of(parts)
  forward = functools.partial(parts.network.evaluated.apply, train=False)
  pixels = jax.ShapeDtypeStruct(batch.images.shape, jnp.float32)
  variables = {'params': state.params, **state.collections}
  assert_plain(forward, variables, pixels)


def test_every_probe_is_fit_for_accelerators():
  parts = parts_of(
    model__name='lenet',
    model__stem='small',
    model__width=0.25,
    probes__names=lookup.names('probes'),
    probes__examples=N,
  )
  state, *_ = shapes_of(parts)
  network, batches = network_of(state), parts.evaluation.probed_shapes()
  measure = parts.evaluation.measure
  before = measure.unknown(network, batches)
  assert_plain(measure, network, batches, before)


@pytest.mark.parametrize('estimator', ESTIMATORS)
def test_population_statistics_are_fit_for_accelerators(estimator):
  parts = parts_of(model__name='lenet', model__stem='small')
  state, batch, _ = shapes_of(parts)
  own = of_one_batch(
    functools.partial(parts.network.model.apply, train=True),
    [*state.collections],
    estimator,
    set(),
  )
  variables = {'params': state.params, **state.collections}
  pixels = jax.ShapeDtypeStruct(batch.images.shape, jnp.float32)
  assert_plain(own, variables, pixels)


def test_the_vectorized_step_is_fit_for_accelerators():
  every = dict.fromkeys(
    ('train__log_every', 'eval__every', 'checkpoint__every'), 3
  )
  parts = parts_of(train__steps=3, **every)
  program = vectorized.Program(parts, 2, jax.devices()[:1])
  members, split, indices_RN = program._example()
  steps = np.stack([indices_RN] * 3)
  found = texts(program._advance, members, split, steps, jax.random.key(0))
  assert_fit(found)
  assert counts(found['tpu'])['while'] > 0


@pytest.mark.parametrize('backend', ['jit', 'shard_map'])
def test_a_step_on_eight_devices_has_the_collectives_of_a_cpu(backend):
  parts = parts_of(model__name='lenet', model__stem='small', norm__group_size=8)
  model, training = parts.network.model, parts.training
  step = make_train_step(
    model,
    training.optimizer,
    parts.images.inputs,
    training.passes,
    backend,
  )
  with jax.set_mesh(parallel.mesh_of(jax.devices())):
    found = texts(step, *shapes_of(parts))
  assert_fit(found)
  if backend == 'shard_map':  # jit's are XLA's, made when it compiles
    assert counts(found['tpu'], ['all_gather'])['all_gather'] > 0


@pytest.mark.parametrize('backend', ['jit', 'shard_map'])
@pytest.mark.parametrize(
  'case', some([c.name for c in cases.cases(8)], 'whole batch')
)
def test_the_selftests_cases_are_fit_for_accelerators(case, backend):
  (case,) = [c for c in cases.cases(8) if c.name == case]
  mesh = parallel.mesh_of(jax.devices())
  step, *arguments = cases.program(case, backend, 8 * cases.SHARE)
  with jax.set_mesh(mesh):
    assert_fit(texts(step, *arguments))
