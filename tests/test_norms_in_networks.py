"""The layer in place of linen's, in networks that do not know bnresearch.

Under every lift and map, both give the same output, gradients and running
statistics, and have the same variables.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.norms import batch


class Linen(nn.Module):
  """Linen's, called as ours is."""

  @nn.compact
  def __call__(self, x, *, train):
    norm = nn.BatchNorm(momentum=0.9, axis_name=None, use_fast_variance=False)
    nn.share_scope(self, norm)
    return norm(x, use_running_average=not train)


class Ours(nn.Module):
  """Ours, with linen's conventions."""

  @nn.compact
  def __call__(self, x, *, train):
    norm = batch.Norm(momentum=0.9, running_variance='biased')
    nn.share_scope(self, norm)
    return norm(x, train=train)


class Block(nn.Module):
  """A layer of the networks below."""

  norm: type[nn.Module]

  @nn.compact
  def __call__(self, x):
    x = nn.Dense(4, use_bias=False, name='dense')(x)
    return nn.tanh(self.norm(name='bn')(x, train=True))


class Step(Block):
  """The same for `nn.scan`: carries and outputs."""

  @nn.compact
  def __call__(self, x, _):
    return Block(self.norm, name='block')(x), None


def plain(norm):
  return Block(norm)


def rematerialized(norm):
  return nn.remat(Block)(norm)


def scanned(norm):
  class Network(nn.Module):
    @nn.compact
    def __call__(self, x):
      layers = nn.scan(
        Step,
        variable_axes={'params': 0, 'batch_stats': 0},
        split_rngs={'params': True},
        length=3,
      )
      return layers(norm)(x, None)[0]

  return Network()


def vmapped(norm):
  """Members with parameters and statistics of their own, as an ensemble."""
  return nn.vmap(
    Block,
    variable_axes={'params': 0, 'batch_stats': 0},
    split_rngs={'params': True},
    in_axes=None,
    axis_size=2,
  )(norm)


@pytest.mark.parametrize('network', [plain, rematerialized, scanned, vmapped])
def test_ours_does_what_linens_does(network, assert_close):
  x = np.random.default_rng(0).normal(3, 2, (12, 4)).astype(np.float32)
  results = []
  for norm in (Linen, Ours):
    model = network(norm)
    variables = model.init(jax.random.key(0), x)

    @jax.jit
    def run(params, x, stats, model=model):
      def loss(params, x):
        variables = {'params': params, 'batch_stats': stats}
        y, new = model.apply(variables, x, mutable=['batch_stats'])
        return jnp.sum(jnp.square(y) * jnp.arange(y.size).reshape(y.shape)), new

      return jax.value_and_grad(loss, (0, 1), has_aux=True)(params, x)

    results.append(run(variables['params'], x, variables['batch_stats']))
  theirs, ours = results
  assert_close(ours, theirs, rtol=2e-4)


def test_a_vmap_without_a_name_maps_over_whole_batches(assert_close):
  """Each of its slices is a batch, with statistics of its own."""
  x = np.random.default_rng(0).normal(3, 2, (5, 12, 4)).astype(np.float32)
  norm = batch.Norm()
  variables = norm.init(jax.random.key(0), x[0], train=True)
  apply = lambda x: norm.apply(
    variables, x, train=True, mutable=['batch_stats']
  )
  together = jax.jit(jax.vmap(apply))(x)
  for k in range(5):
    one = jax.tree.map(lambda leaf, k=k: leaf[k], together)
    assert_close(one, apply(x[k]), rtol=1e-5)
