"""What the paper and its readers prove about BN, checked on the layer."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.norms.batch import Norm


def train_mode(norm, x):
  variables = norm.init(jax.random.key(0), x, train=False)
  return norm.apply(variables, x, train=True)


@pytest.mark.parametrize('a', [0.01, 3.0, 1000.0])
def test_the_scale_of_the_weights_is_without_effect(a):
  """Section 3.3; exact without an epsilon only."""
  with jax.enable_x64(True):
    random = np.random.RandomState(0)
    u_ND = jnp.asarray(random.normal(2, 3, (60, 20)))
    w_DC = jnp.asarray(random.normal(size=(20, 7)))
    dy_NC = jnp.asarray(random.normal(size=(60, 7)))

    def errors(epsilon):
      norm = Norm(epsilon=epsilon)
      layer = lambda w, u: train_mode(norm, u @ w)
      y, vjp = jax.vjp(layer, w_DC, u_ND)
      y_a, vjp_a = jax.vjp(layer, a * w_DC, u_ND)
      (dw, du), (dw_a, du_a) = vjp(dy_NC), vjp_a(dy_NC)
      across = (w_DC * dw).sum(0) / jnp.linalg.norm(w_DC) / jnp.linalg.norm(dw)
      pairs = [(y_a, y), (du_a, du), (a * dw_a, dw)]
      relative = [jnp.abs(p - q).max() / jnp.abs(q).max() for p, q in pairs]
      return np.array([*relative, jnp.abs(across).max()])

    assert np.all(errors(0.0) < 1e-12)
    assert np.all(errors(1e-2)[:3] > 1e-6), 'epsilon has no effect'
    # With the epsilon, what is left shrinks with it.
    assert np.all(errors(1e-6) < errors(1e-2) / 100)


def test_a_layer_at_evaluation_folds_into_the_map_below(assert_close):
  """Algorithm 2, line 11; W' = W gamma / sqrt(var + eps)."""
  random = np.random.RandomState(0)
  x_ND = random.normal(2, 3, (60, 20))
  w_DC = random.normal(size=(20, 7))
  params = {'scale': random.uniform(0.5, 2, 7), 'bias': random.normal(size=7)}
  stats = {'mean': random.normal(size=7), 'var': random.uniform(0.5, 9, 7)}
  gain = params['scale'] / np.sqrt(stats['var'] + 1e-5)
  folded = x_ND @ (w_DC * gain) + params['bias'] - stats['mean'] * gain
  with jax.enable_x64(True):
    y = Norm().apply(
      {'params': params, 'batch_stats': stats}, x_ND @ w_DC, train=False
    )
    np.testing.assert_allclose(y, folded, rtol=1e-12)


def test_gradients_grow_by_pi_over_pi_minus_one_a_relu_layer():
  """Yang et al. 2019, 1902.08129: BN's gradients explode with depth."""
  N, C, layers = 256, 500, 30
  keys = jax.random.split(jax.random.key(0), layers + 2)
  norm = Norm(epsilon=0.0, use_scale=False, use_bias=False)

  def layer(x, key):
    w = jax.random.normal(key, (C, C)) / math.sqrt(C)
    return nn.relu(train_mode(norm, x @ w)), None

  @jax.jit
  def norms(x, dy):
    inputs = [x]
    for key in keys[:layers]:
      inputs.append(layer(inputs[-1], key)[0])
    found = [jnp.square(dy).sum()]
    for x, key in zip(inputs[-2::-1], keys[layers - 1 :: -1]):
      _, vjp = jax.vjp(lambda x, key=key: layer(x, key)[0], x)
      (dy,) = vjp(dy)
      found.append(jnp.square(dy).sum())
    return jnp.stack(found)

  x = jax.random.normal(keys[-1], (N, C))
  found = np.log(norms(x, jax.random.normal(keys[-2], (N, C))))
  # The first layers, seen from above, are not in the steady state yet.
  rate = math.exp((found[-6] - found[5]) / (len(found) - 11))
  assert rate == pytest.approx(math.pi / (math.pi - 1), rel=0.03)
