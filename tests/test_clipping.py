"""Clipped gradients against their closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import config as configs
from bnresearch.training import optimizer
from configs import default


def change(params, grads, **options):
  """Returns the change of the parameters by one step of rate 1."""
  config = default.get_config()
  values = {f'optim.{key}': value for key, value in options.items()}
  assert not configs.override(config, {'optim.learning_rate': 1.0} | values)
  updates = optimizer.make(1, **config.optim)
  found, _ = updates.update(grads, updates.init(params), params)
  return jax.tree.map(np.asarray, found)


def layers(seed):
  random = np.random.RandomState(seed)
  draw = lambda *shape: jnp.asarray(random.normal(size=shape), jnp.float32)
  return {
    'conv': {'kernel': draw(3, 3, 2, 4), 'bias': draw(4)},
    'logits': {'kernel': draw(4, 5)},
  }


@pytest.mark.parametrize('most', [0.5, 100.0])
def test_the_norm_of_all_gradients_together_is_clipped(most, assert_close):
  grads = layers(1)
  norm = np.sqrt(
    sum((np.float64(g) ** 2).sum() for g in jax.tree.leaves(grads))
  )
  factor = min(1, most / norm)
  expected = jax.tree.map(lambda g: -factor * np.float64(g), grads)
  assert_close(change(layers(0), grads, clip_norm=most), expected, rtol=1e-5)


def test_each_unit_is_clipped_by_the_norm_of_its_weights(assert_close):
  """Brock et al. 2021, equation 3, but for the logits."""
  params, grads = layers(0), layers(1)
  grads['conv']['kernel'] = grads['conv']['kernel'].at[..., 0].mul(1e-3)
  found = change(params, grads, clip_adaptive=0.1)

  def clipped(g, w, axes):
    g, w = np.float64(g), np.float64(w)
    norm = lambda x: np.sqrt((x**2).sum(axes, keepdims=True))
    most = 0.1 * np.maximum(norm(w), 1e-3)
    return -g * np.minimum(1, most / norm(g))

  conv, own = grads['conv'], params['conv']
  expected = {
    'conv': {
      'kernel': clipped(conv['kernel'], own['kernel'], (0, 1, 2)),
      'bias': clipped(conv['bias'], own['bias'], (0,)),
    },
    'logits': {'kernel': -np.float64(grads['logits']['kernel'])},
  }
  assert_close(found, expected, rtol=1e-5)
  small = -np.float64(conv['kernel'][..., 0])
  np.testing.assert_allclose(found['conv']['kernel'][..., 0], small, rtol=1e-6)


@pytest.mark.parametrize('clip', ['clip_norm', 'clip_adaptive'])
def test_what_l2_adds_is_not_clipped(clip, assert_close):
  params = layers(0)
  zero = jax.tree.map(jnp.zeros_like, params)
  found = change(params, zero, **{clip: 1e-3}, l2=0.5)
  kernels = {
    name: {
      key: -0.5 * np.float64(value) * (key == 'kernel')
      for key, value in layer.items()
    }
    for name, layer in params.items()
  }
  assert_close(found, kernels, rtol=1e-6)


@pytest.mark.parametrize('key', ['learning_rate', 'momentum', 'weight_decay'])
def test_options_may_be_traced(key, assert_close):
  """As a sweep does that trains several values at once."""
  name = 'adamw' if key == 'weight_decay' else 'sgd'
  params, grads = layers(0), layers(1)

  def moved(value):
    config = default.get_config()
    config.optim.name = name
    options = config.optim.copy_and_resolve_references().unlock()
    with options.ignore_type():
      options[key] = value
    updates = optimizer.make(2, **options)
    opt_state = updates.init(params)
    _, opt_state = updates.update(grads, opt_state, params)
    return updates.update(grads, opt_state, params)[0]

  values = jnp.asarray([0.0, 0.5])
  found = jax.vmap(moved)(values)
  for k, value in enumerate([0.0, 0.5]):
    each = jax.tree.map(lambda x, k=k: x[k], found)
    assert_close(each, moved(value), rtol=1e-6)
