"""What the tests of the architectures share: counts, and equality with others.

The weights are random and all different. They are mapped onto our tree by the
same names as pretrained weights.
"""

import contextlib
import functools
import importlib
import math
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np

from bnresearch import lookup, models, pretrained
from bnresearch.models import Layers

RTOL = 1e-4

# Each architecture as small as it gets with all its kinds of layers, and the
# size of images for it. What is not here is 16 pixels and the defaults.
SMALL = {
  'alexnet': {'stem': 'small'},
  'densenet': {'blocks': (1, 2), 'stem': 'small'},
  'googlenet': {'blocks': (1, 1, 1), 'stem': 'small'},
  'inception_resnet_v2': {'stem': 'small', 'blocks': (1, 1, 2)},
  'inception_v2': {'blocks': (1, 1, 1), 'stem': 'small'},
  'inception_v3': {'stem': 'small', 'blocks': (1, 1, 1)},
  'inception_v4': {'stem': 'small', 'blocks': (1, 1, 1)},
  'mobilenet_v1': {'blocks': (1, 1, 1), 'stem': 'small'},
  'mobilenet_v2': {'blocks': (1, 2, 1), 'stem': 'small'},
  'nin': {'stem': 'small'},
  'resnet': {'variant': '50', 'blocks': (1, 2), 'stem': 'small'},
  'vgg': {'variant': '11'},
}
SIZE = {
  'alexnet': 8,
  'densenet': 8,
  'googlenet': 8,
  'inception_v2': 8,
  'mobilenet_v1': 8,
  'mobilenet_v2': 8,
  'nin': 8,
  'vgg': 33,
}
# The rest of their layers: narrow, so that compiling is what takes the time.
NARROW = {'width': 0.1, 'min_width': 4}


def network(name, norm='batch', num_classes=1000, layers=None, **fields):
  """Returns the model `name` with one normalizer everywhere.

  `norm` is its name, or a partial of its class; `layers` has other fields of
  `Layers`.
  """
  make = lookup.find('norms', norm).Norm if isinstance(norm, str) else norm
  common = Layers(norm=lambda path: make, **(layers or {}))
  return lookup.find('models', name).Model(num_classes, common, **fields)


def small(model, norm='batch', layers=None, **fields):
  """Returns an architecture of 10 classes, with the options of `SMALL`."""
  return network(
    model, norm, 10, NARROW | (layers or {}), **SMALL.get(model, {}) | fields
  )


def size_of(model):
  """Returns the size of images for a small model."""
  return SIZE.get(model, 16)


def batch_norm(epsilon):
  """Returns BN with this epsilon; it does not refuse batches of one value."""
  cls = lookup.find('norms', 'batch').Norm
  return functools.partial(cls, epsilon=epsilon, running_variance='biased')


def parameters(model, size, channels=3):
  """Returns how many parameters it has, by shapes alone."""
  params = models.shapes(model, size, channels)['params']
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(params))


def drawn(model, size, channels=3):
  """Returns variables with Kaiming's kernels, and otherwise initial values.

  NumPy draws them: compiling a network's `init` takes 10 s and more.
  """
  random = np.random.RandomState(0)

  def draw(path, leaf):
    name = path[-1].key
    if name != 'kernel':
      begins = np.full(leaf.shape, name in ('scale', 'var'), leaf.dtype)
      return jnp.asarray(begins)
    std = math.sqrt(2 / math.prod(leaf.shape[:-1]))
    return jnp.asarray(random.normal(0, std, leaf.shape), leaf.dtype)

  shapes = models.shapes(model, size, channels)
  return jax.tree_util.tree_map_with_path(draw, shapes)


def images(size, seed=0, N=2, channels=3):
  """Returns images whose channels have means of their own, (N, H, W, C)."""
  random = np.random.RandomState(seed)
  mean_C = random.normal(0, 0.5, channels)
  x = random.normal(mean_C, 1, (N, size, size, channels))
  return jnp.asarray(x, jnp.float32)


def maps(model, size):
  """Returns the shapes that a network makes of one image, without the N.

  They are the outputs of its modules, and its taps, each by name.
  """
  apply = functools.partial(
    model.apply, train=False, capture_intermediates=True, mutable=True
  )
  variables = models.shapes(model, size)
  (_, taps), state = jax.eval_shape(apply, variables, images(size, N=1))
  outputs = {
    name: inside['__call__'][-1].shape[1:]
    for name, inside in state['intermediates'].items()
    if name != '__call__' and hasattr(inside['__call__'][-1], 'shape')
  }
  return outputs, {name: x.shape[1:] for name, x in taps.items()}


def depthwise_sizes(name, stem, stages):
  """Returns the map sizes of a MobileNet's stem and of each stage.

  Images have 32 pixels, and each stage has one unit.
  """
  model = network(name, num_classes=10, stem=stem, blocks=(1,) * stages)
  _, taps = maps(model, 32)
  sites = [f'stage_{n}_block_1/depthwise' for n in range(1, stages + 1)]
  return [taps[site][0] for site in ('stem', *sites)]


def shaken(name, shape, random, *, of_norm):
  """Returns an array for a variable that nowhere has its initial value.

  Kernels are Kaiming's, whatever theirs are: with others, hardly anything of an
  image gets through a deep network under running statistics.
  """
  if name.endswith(('gamma', 'variance', 'running_var')) or (
    of_norm and name.endswith('weight')
  ):
    x = random.uniform(0.5, 1.5, shape)
  elif name.endswith('weight') and len(shape) > 1:  # PyTorch's, (O, ...)
    x = random.normal(0, math.sqrt(2 / math.prod(shape[1:])), shape)
  elif name.endswith('kernel'):
    depthwise = len(shape) == 4 and shape[-1] == 1
    inputs = math.prod(shape[: 2 if depthwise else -1])
    x = random.normal(0, math.sqrt(2 / inputs), shape)
  else:
    x = random.normal(0, 0.1, shape)
  return x.astype(np.float32)


def names_of(source, model):
  """Returns what `source` calls the layers of a model."""
  room = type(model).__module__.rpartition('.')[2]
  module = importlib.import_module(f'bnresearch.pretrained.{room}')
  return getattr(module, source)(model)


def assert_takes_all(theirs, model):
  """Checks that each variable of a PyTorch network is one of ours."""
  pretrained.convert(
    {name: value.numpy() for name, value in theirs.state_dict().items()},
    pretrained.SOURCES['torchvision'],
    names_of('torchvision', model),
    models.shapes(model, 32),
  )


def keras_network(make):
  """Returns one of `keras.applications` that ends with random logits.

  The counts in Keras's names start again. Its initializers are replaced, as
  compiling them for each shape takes longer than all the rest.
  """
  import keras

  random = np.random.RandomState(0)

  def kernel(self, shape, dtype=None):
    fan_in = math.prod(shape[:-1])
    return jnp.asarray(random.normal(0, fan_in**-0.5, shape), jnp.float32)

  keras.utils.clear_session()
  ours = {'GlorotUniform': kernel} | {
    kind: lambda self, shape, dtype=None, fill=fill: jnp.asarray(
      fill(shape, np.float32)
    )
    for kind, fill in (('Zeros', np.zeros), ('Ones', np.ones))
  }
  with contextlib.ExitStack() as replaced:
    for kind, init in ours.items():
      cls = getattr(keras.initializers, kind)
      replaced.enter_context(mock.patch.object(cls, '__call__', init))
    return make(weights=None, classifier_activation=None)


def taken_from_keras(theirs, model, size):
  """Returns a Keras network's variables in our tree.

  This checks each layer's name and shape: `pretrained.convert` raises if one is
  left over or missing.
  """
  return pretrained.convert(
    {weight.path: np.asarray(weight) for weight in theirs.weights},
    pretrained.SOURCES['keras'],
    pretrained.check('keras', model, size),
    models.shapes(model, size),
  )


def assert_same_as_keras(theirs, model, size, rtol=RTOL):
  """Compares logits under running and batch statistics.

  This proves that the options which `pretrained` demands are the right ones.
  `theirs` is a Keras model that ends with logits, without a softmax.
  """
  random = np.random.RandomState(0)
  for weight in theirs.weights:
    weight.assign(shaken(weight.path, weight.shape, random, of_norm=False))
  variables = taken_from_keras(theirs, model, size)
  trainable, other = (
    [variable.value for variable in variables]
    for variables in (
      theirs.trainable_variables,
      theirs.non_trainable_variables,
    )
  )
  x_NHWC = images(size)
  for train in (False, True):
    call = jax.jit(functools.partial(theirs.stateless_call, training=train))
    with jax.numpy_rank_promotion('allow'):
      expected_NK, _ = call(trainable, other, x_NHWC)
    assert_logits(model, variables, x_NHWC, expected_NK, train, rtol)


def assert_same_as_torch(
  theirs,
  model,
  size,
  rtol=RTOL,
  source='torchvision',
  training_in='float32',
  evaluated_in='float32',
  published=True,
  names=None,
):
  """Compares logits under running and batch statistics with PyTorch's.

  `theirs` is a module without dropout that takes images NCHW. It computes in
  float64, so the differences are our rounding, not theirs. `training_in` and
  `evaluated_in` are our dtypes under batch and running statistics. A network
  that `source` has `published` has the options that `pretrained` demands; of
  another, `names` may say what `theirs` calls our layers.
  """
  import torch

  theirs = theirs.double()
  random = np.random.RandomState(0)
  norms = {
    f'{name}.'
    for name, module in theirs.named_modules()
    if isinstance(module, torch.nn.BatchNorm2d)
  }
  state = theirs.state_dict()
  for name, value in state.items():
    of_norm = any(name.startswith(norm) for norm in norms)
    if not name.endswith('num_batches_tracked'):
      new = shaken(name, value.shape, random, of_norm=of_norm)
      value.copy_(torch.from_numpy(new))
  # Training changes the running statistics: what is converted is a copy.
  # They are float32's numbers.
  arrays = {name: np.array(x.numpy(), np.float32) for name, x in state.items()}
  if names is None and published:
    names = pretrained.check(source, model, size)
  variables = pretrained.convert(
    arrays,
    pretrained.SOURCES[source],
    names or names_of(source, model),
    models.shapes(model, size),
  )
  x_NHWC = images(size)
  x_NCHW = np.array(x_NHWC.transpose(0, 3, 1, 2), np.float64)
  for train in (False, True):
    theirs.train(train)
    with torch.no_grad():
      expected_NK = theirs(torch.from_numpy(x_NCHW)).numpy()
    dtype = training_in if train else evaluated_in
    with jax.enable_x64(dtype == 'float64'):
      ours = jax.tree.map(
        functools.partial(jnp.asarray, dtype=dtype), (variables, x_NHWC)
      )
      assert_logits(model, *ours, expected_NK, train, rtol)


def assert_logits(model, variables, x_NHWC, expected_NK, train, rtol=RTOL):
  """Compares a model's logits, relative to the largest one."""
  logits_NK, _ = jax.jit(functools.partial(model.apply, train=train))(
    variables, x_NHWC
  )
  expected_NK = np.asarray(expected_NK, np.float64)
  spread = np.ptp(expected_NK, axis=0).max() / np.abs(expected_NK).max()
  assert spread > 3e-3, 'these logits hardly depend on the images'
  np.testing.assert_allclose(
    np.asarray(logits_NK, np.float64),
    expected_NK,
    rtol=0,
    atol=rtol * np.abs(expected_NK).max(),
    err_msg=f'train={train}',
  )
