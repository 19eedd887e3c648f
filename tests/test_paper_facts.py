"""What the paper and its readers prove about BN, checked on the layer."""

import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.knobs import KNOBS
from bnresearch.norms.batch import Norm
from bnresearch.probes import saturation
from tests import views


def train_mode(norm, x):
  variables = norm.init(jax.random.key(0), x, train=False)
  return norm.apply(variables, x, train=True)


def test_the_output_has_mean_beta_and_deviation_gamma():
  """Whatever the input's are; with an epsilon, the deviation is smaller."""
  random = np.random.RandomState(0)
  gamma, beta = random.uniform(0.5, 2, 7), random.normal(size=7)
  x_NC = random.normal(100, 7, (60, 7))
  variables = {
    'params': {'scale': gamma, 'bias': beta},
    'batch_stats': {'mean': np.zeros(7), 'var': np.ones(7)},
  }
  with jax.enable_x64(True):
    output = lambda epsilon: np.asarray(
      Norm(epsilon=epsilon).apply(variables, x_NC, train=True)
    )
    y_NC = output(0.0)
    np.testing.assert_allclose(y_NC.mean(0), beta, rtol=1e-12)
    np.testing.assert_allclose(y_NC.std(0), gamma, rtol=1e-12)
    assert np.all(output(0.1).std(0) < 0.9995 * gamma)


def test_only_the_deviation_as_gamma_undoes_the_normalization():
  """Section 3: gamma = sqrt(Var[x]); source document 0 has Var[x]."""
  x_NC = np.random.RandomState(0).normal(2, 3, (60, 7))
  with jax.enable_x64(True):

    def error(gamma):
      variables = {
        'params': {'scale': gamma, 'bias': x_NC.mean(0)},
        'batch_stats': {'mean': np.zeros(7), 'var': np.ones(7)},
      }
      y_NC = Norm(epsilon=0.0).apply(variables, x_NC, train=True)
      return np.abs(y_NC - x_NC).max()

    assert error(x_NC.std(0)) < 1e-13
    assert error(x_NC.var(0)) > 1


def test_a_map_is_normalized_over_images_and_positions():
  """64 images of 32x32 pixels: 65,536 values of each of 3 channels."""
  random = np.random.RandomState(0)
  x_NHWC = random.normal(5, 1, (64, 32, 32, 3))
  x_NHWC += random.normal(size=(64, 1, 1, 3))  # images differ in their means
  x_NHWC = x_NHWC.astype(np.float32)
  norm = Norm()
  variables = norm.init(jax.random.key(0), x_NHWC, train=False)
  shapes = jax.tree.map(jnp.shape, variables['params'])
  assert shapes == {'scale': (3,), 'bias': (3,)}
  y_NHWC = np.asarray(train_mode(norm, x_NHWC))
  x_MC = x_NHWC.reshape(65_536, 3).astype(np.float64)
  expected = (x_MC - x_MC.mean(0)) / np.sqrt(x_MC.var(0) + 1e-5)
  np.testing.assert_allclose(y_NHWC.reshape(65_536, 3), expected, atol=1e-5)
  assert np.abs(y_NHWC.mean((1, 2))).max() > 1  # no image by itself


def test_a_sigmoid_is_flat_at_10():
  """Where source document 1 says that it saturates; s' = s (1 - s)."""
  slope = float(jax.grad(nn.sigmoid)(10.0))
  assert slope == pytest.approx(math.exp(-10), rel=1e-3)
  assert f'{slope:.1e}' == '4.5e-05'
  threshold = KNOBS['probes.saturation_threshold'].default
  x_NC = np.float32([[10, -10, 1, 0]])
  measured = saturation.measure(
    views.of_tap(x_NC), saturation_threshold=threshold
  )
  assert float(measured['tap']) == 2 / 4


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
