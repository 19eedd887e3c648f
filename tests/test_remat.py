"""Recomputation in the backward pass: the same numbers, and less is kept."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.extend import core

from bnresearch import lookup
from bnresearch.models import _remat
from bnresearch.training import parallel
from bnresearch.training.step import _gradient
from tests.daily import some
from tests.published import drawn, images, size_of, small

MODELS = lookup.names('models')
KINDS = [kind for kind in _remat.KINDS if kind != 'none']
K = 10


def network(model, remat, norm='batch', **fields):
  return small(model, norm, {'remat': remat}, **fields)


@functools.cache
def arguments(model, N=4, channels=3):
  """Returns parameters, collections, a batch and a key."""
  variables = drawn(small(model), size_of(model), channels)
  params = variables.pop('params')
  x_NHWC = images(size_of(model), N=N, channels=channels)
  targets_NK = jax.nn.one_hot(jnp.arange(N) % K, K)
  return params, variables, (x_NHWC, targets_NK), jax.random.key(1)


@functools.cache
def gradient_of(model, remat, backend='jit'):
  gradient = _gradient(network(model, remat), (1.0,))
  inputs = arguments(model)
  devices = jax.devices()[: 1 if backend == 'jit' else 2]
  with jax.set_mesh(parallel.mesh_of(devices)):
    found = jax.jit(parallel.distributed(gradient, backend))(*inputs)
  return jax.tree.map(np.asarray, found)


@pytest.mark.parametrize(
  ('model', 'remat', 'backend'),
  some(
    [
      *itertools.product(['mlp', 'lstm', 'vgg', 'resnet'], KINDS, ['jit']),
      ('alexnet', 'blocks', 'jit'),
      ('mlp', 'linear', 'shard_map'),
      ('resnet', 'blocks', 'shard_map'),
      ('mlp', 'blocks', 'pmap'),
    ],
    *itertools.product(['mlp'], KINDS, ['jit']),
    *(('lstm', 'blocks', 'jit'), ('vgg', 'blocks', 'jit')),
    *(('resnet', 'linear', 'jit'), ('mlp', 'linear', 'shard_map')),
    ('mlp', 'blocks', 'pmap'),
  ),
)
def test_gradients_and_statistics_are_the_same(
  model, remat, backend, assert_close
):
  """And with dropout, which vgg and alexnet have, and one update of them."""
  found = gradient_of(model, remat, backend)
  assert_close(found, gradient_of(model, 'none'), rtol=2e-4)


def variables(found):
  return {v for v in found if not isinstance(v, core.Literal)}


def bytes_of(found):
  """Returns the bytes of a program's variables; those of keys are few."""
  return sum(
    math.prod(v.aval.shape) * getattr(v.aval.dtype, 'itemsize', 0)
    for v in found
  )


def bytes_kept(model, remat):
  """Returns how much the backward pass needs besides parameters and images."""
  params, collections, (x_NHWC, _), key = arguments(model, N=8)
  module = network(model, remat)

  def forward(params, x_NHWC):
    (logits_NK, _), _ = module.apply(
      {'params': params, **collections},
      x_NHWC,
      train=True,
      mutable=list(collections),
      rngs={'dropout': key},
    )
    return logits_NK

  def way_back(params, x_NHWC):
    return jax.tree.leaves(jax.vjp(lambda p: forward(p, x_NHWC), params)[1])

  program = jax.make_jaxpr(way_back)(params, x_NHWC).jaxpr
  return bytes_of(variables(program.outvars) - {*program.invars})


@pytest.mark.parametrize('model', some(MODELS, 'mlp', 'lstm', 'resnet', 'vgg'))
def test_less_is_kept_of_every_network(model):
  all_, linear, blocks = (bytes_kept(model, kind) for kind in _remat.KINDS)
  assert blocks < linear < all_


def programs(jaxpr):
  """Yields a program and those that it calls."""
  yield jaxpr
  for equation in jaxpr.eqns:
    for inner in called(equation):
      yield from programs(inner)


def called(equation):
  """Returns the programs that an equation calls."""
  values = [getattr(v, 'jaxpr', v) for v in equation.params.values()]
  return [value for value in values if isinstance(value, core.Jaxpr)]


def count(model, remat, *names):
  program = jax.make_jaxpr(_gradient(network(model, remat), (1.0,)))
  jaxpr = program(*arguments(model)).jaxpr
  return sum(
    equation.primitive.name in names
    for inner in programs(jaxpr)
    for equation in inner.eqns
  )


@pytest.mark.parametrize('model', ['mlp', 'vgg'])
def test_linear_makes_no_product_again_and_blocks_does(model):
  names = 'dot_general', 'conv_general_dilated'
  products = lambda kind: count(model, kind, *names)
  assert products('linear') == products('none') < products('blocks')


def peak(jaxpr):
  """Returns the most bytes that are alive at once, run line by line.

  A compiler may do otherwise: XLA's for CPUs recomputes everything at once, so
  a compiled program shows nothing there.
  """
  wanted = variables(jaxpr.outvars)
  dying = []  # with each line, from the last one up
  for equation in reversed(jaxpr.eqns):
    dying.append(variables(equation.invars) - wanted)
    wanted |= dying[-1]
  most, alive, inputs = 0, 0, {*jaxpr.invars, *jaxpr.constvars}
  for equation, last in zip(jaxpr.eqns, reversed(dying), strict=True):
    inner = max(map(peak, called(equation)), default=0)
    made = bytes_of(wanted.intersection(equation.outvars))
    most = max(most, alive + max(inner, made))
    alive += made - bytes_of(last - inputs)
  return most


def test_the_most_that_is_alive_falls():
  *_, key = arguments('resnet')
  batch = images(16, N=64), jnp.zeros((64, K))

  def most(remat):
    module = network('resnet', remat, variant='18', blocks=(4,))
    collections = drawn(module, 16)
    params = collections.pop('params')
    gradient = jax.make_jaxpr(_gradient(module, (1.0,)))
    return peak(gradient(params, collections, batch, key).jaxpr)

  all_, linear, blocks = map(most, _remat.KINDS)
  assert linear < 0.95 * all_
  assert blocks < 0.6 * all_


def test_a_loop_on_a_cpu_takes_less_memory():
  def needed(remat):
    gradient = _gradient(network('lstm', remat), (1.0,))
    many = images(16, N=256), jnp.zeros((256, K))
    params, collections, _, key = arguments('lstm')
    lowered = jax.jit(gradient).lower(params, collections, many, key)
    return lowered.compile().memory_analysis().temp_size_in_bytes

  all_, linear, blocks = map(needed, _remat.KINDS)
  assert blocks < linear < all_
