"""Noise of gradients, gradients by layer and Jacobians, against closed forms.

The linear network is a real one, with ReLU where all pre-activations are
positive.
"""

import dataclasses
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.probes import (
  Batch,
  backpropagated,
  gradient_noise,
  layer_jacobian,
)
from tests import published, views
from tests.daily import some
from tests.test_probes import trained

N, SIZE, K = 6, 3, 10
WIDTHS = (8, 7, 5)
LAYERS = ('hidden_1', 'hidden_2', 'hidden_3', 'logits')


@pytest.fixture(autouse=True)
def in_float64():
  with jax.enable_x64(True):
    yield


# Noise.


def regression(order, examples=4):
  """Returns the view of mean((x w - y)^2) / 2, and the examples' gradients."""
  random = np.random.RandomState(0)
  x, y = random.normal(size=(examples, 3)), random.normal(size=examples)
  w = np.array([0.5, -1, 2])

  def loss(params, batch):
    found = batch.images_NHWC @ params['linear']['kernel']
    return jnp.square(found[:, 0] - batch.labels_N).mean() / 2

  order = list(order)
  batch = Batch(jnp.asarray(x[order]), jnp.asarray(y[order]))
  params = {'linear': {'kernel': jnp.asarray(w[:, None])}}
  view = views.by_hand(params, loss, train=batch)
  return view, (x @ w - y)[:, None] * x


def test_the_noise_of_a_regressions_gradient_is_that_by_hand(assert_close):
  view, g = regression(range(14), examples=14)
  found = views.measured(gradient_noise, view, noise_parts=3)
  parts = g[:12].reshape(3, 4, 3).mean(1)  # the last two are left over
  variance = 4 / 2 * np.square(parts - parts.mean(0)).sum()
  signal = np.square(parts.mean(0)).sum() - variance / 12
  assert_close(found['variance'], variance, 1e-9)
  assert_close(found['signal'], signal, 1e-9)
  for name in ('scale', 'linear/kernel/scale'):
    assert_close(found[name], variance / signal, 1e-9)
  assert_close(found['linear/kernel/variance'], variance, 1e-9)


def test_the_estimates_of_noise_are_unbiased(assert_close):
  # All ways to cut four examples into two pairs.
  found = [
    views.measured(gradient_noise, regression(order)[0], noise_parts=2)
    for order in ((0, 1, 2, 3), (0, 2, 1, 3), (0, 3, 1, 2))
  ]
  g = regression(range(4))[1]
  variance = g.var(0, ddof=1).sum()
  mean = lambda name: np.mean([float(x[name]) for x in found])
  assert_close(mean('variance'), variance, 1e-9)
  assert_close(mean('signal'), np.square(g.mean(0)).sum() - variance / 4, 1e-9)


def test_parts_have_four_examples_if_there_are_enough(assert_close):
  for examples, parts in ((4, 2), (11, 2), (12, 3)):
    view, _ = regression(range(examples), examples)
    assert_close(
      views.measured(gradient_noise, view, noise_parts=100),
      views.measured(gradient_noise, view, noise_parts=parts),
      1e-12,
    )


# The linear network.


def linear(**options):
  """Returns its view and {layer: kernel}; a layer's map is the transpose."""
  model = published.network(
    'mlp', 'none', K, {'activation': 'relu'}, features=WIDTHS
  )
  random = np.random.RandomState(0)
  sizes = (SIZE * SIZE, *WIDTHS, K)
  kernels = {
    layer: random.uniform(0.1, 1, size)
    for layer, size in zip(LAYERS, itertools.pairwise(sizes))
  }
  params = {
    layer: {'kernel': jnp.asarray(W), 'bias': jnp.ones(W.shape[1])}
    for layer, W in kernels.items()
  }
  x_NHWC = jnp.asarray(random.uniform(0, 1, (N, SIZE, SIZE, 1)))
  batch = Batch(x_NHWC, jnp.asarray(random.randint(0, K, N)))
  view = views.of_model(model, {'params': params}, batch, batch, **options)
  return view, kernels


def test_gradients_by_preactivations_are_those_by_hand(assert_close):
  view, W = linear()
  logits_NK = view.functions.forward(
    view.params, {}, view.train.images_NHWC, {}
  )[0]
  wanted = jax.nn.one_hot(view.train.labels_N, K)
  g = np.asarray(jax.nn.softmax(logits_NK) - wanted) / N
  expected = {}
  for layer, below in zip(LAYERS[::-1], ('hidden_3', 'hidden_2', 'hidden_1')):
    g = g @ W[layer].T
    expected[below] = np.linalg.norm(g)
  expected['images'] = np.linalg.norm(g @ W['hidden_1'].T)
  expected['growth'] = (expected['hidden_1'] / expected['hidden_3']) ** 0.5
  assert_close(views.measured(backpropagated, view), expected, 1e-9)


def test_gradients_by_preactivations_are_finite_differences():
  view, _ = linear()
  found = views.measured(backpropagated, view)
  zeros = {
    site: np.zeros((N, width))
    for site, width in zip(view.order.open, WIDTHS, strict=True)
  }
  gradient = jax.grad(view.functions.loss, 3)(
    view.params, {}, view.train, zeros
  )
  for site, g in gradient.items():
    assert found[site] == pytest.approx(np.linalg.norm(g), rel=1e-9)
    step = 1e-6 * g / np.linalg.norm(g)
    ends = [
      view.functions.loss(
        view.params, {}, view.train, zeros | {site: way * step}
      )
      for way in (1, -1)
    ]
    difference = (ends[0] - ends[1]) / 2e-6
    assert found[site] == pytest.approx(float(difference), rel=1e-6)


def test_with_bn_and_relu_the_gradient_grows_as_yang_et_al_say():
  model = published.network(
    'mlp',
    'batch',
    K,
    {'activation': 'relu', 'init_std': 1.0},
    features=(300,) * 12,
  )
  with jax.enable_x64(False):
    random = np.random.RandomState(0)
    batch = Batch(
      jnp.asarray(random.normal(size=(128, 4, 4, 3)), jnp.float32),
      jnp.asarray(random.randint(0, K, 128)),
    )
    variables = jax.jit(
      lambda x: model.init(jax.random.key(0), x, train=False)
    )(batch.images_NHWC)
    view = views.of_model(model, variables, batch, batch)
    growth = float(
      jax.jit(lambda: views.measured(backpropagated, view)['growth'])()
    )
  assert growth**2 == pytest.approx(np.pi / (np.pi - 1), rel=0.05)


# Jacobians.


def jacobians(view, **options):
  return jax.jit(lambda: views.measured(layer_jacobian, view, **options))()


def test_jacobians_of_a_linear_network_are_its_kernels(assert_close):
  view, W = linear()
  found = jacobians(view, jacobian_examples=4)
  svd = lambda W: np.linalg.svd(W, compute_uv=False)
  spectra = {layer: svd(W[layer]) for layer in LAYERS}
  whole = np.linalg.multi_dot([*W.values()])
  rms = lambda s: np.sqrt(np.square(s).mean())
  for layer, s in (spectra | {'network': svd(whole)}).items():
    # Its rank is that of the narrowest layer: the others are rounding.
    exact = found[f'{layer}/singular_values']
    np.testing.assert_allclose(exact, s, rtol=1e-9, atol=1e-12)
    assert_close(found[f'{layer}/largest'], s[0], 1e-9)
    assert_close(found[f'{layer}/rms'], rms(s), 1e-9)
  mean = lambda x: np.exp(np.log(x).mean())
  assert_close(found['rms'], mean([rms(s) for s in spectra.values()]), 1e-9)
  assert_close(found['largest'], mean([s[0] for s in spectra.values()]), 1e-9)


def test_estimates_of_large_layers_agree_with_exact_ones(monkeypatch):
  view, _ = linear()
  exact = jacobians(view)
  many = view.test.images_NHWC.repeat(300, axis=0)
  view = dataclasses.replace(view, test=view.test._replace(images_NHWC=many))
  monkeypatch.setattr(layer_jacobian, 'SMALL', 0)
  found = jacobians(view, jacobian_examples=len(many))
  assert set(found) == {k for k in exact if 'singular' not in k}
  for name, x in found.items():
    near = 1e-6 if name.endswith('largest') else 0.05
    assert float(x) == pytest.approx(float(exact[name]), rel=near), name


@pytest.mark.parametrize('statistics', ['ema', 'batch'])
def test_a_normalizer_divides_its_layers_jacobian(statistics, assert_close):
  bn = published.batch_norm(epsilon=1e-30)
  model = published.network(
    'mlp', bn, K, {'activation': 'relu'}, features=WIDTHS
  )
  with jax.enable_x64(False):
    variables, batch = trained(model, size=SIZE)
  variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables)
  for layer in LAYERS[:3]:  # all pre-activations are positive
    norm = variables['params'][layer]['norm']
    norm['bias'] = jnp.full_like(norm['bias'], 1e3)
  view = views.of_model(model, variables, batch, batch, statistics=statistics)
  var = variables['batch_stats']['hidden_2']['norm']['var']
  if statistics == 'batch':
    W = variables['params']['hidden_2']['kernel']
    var = (np.asarray(jax.nn.relu(view.taps['hidden_1'])) @ W).var(0)
  J = variables['params']['hidden_2']['kernel'] / np.sqrt(var)[None]
  found = jacobians(view)['hidden_2/singular_values']
  assert_close(found, np.linalg.svd(J, compute_uv=False), 1e-6)


def test_a_layer_of_two_branches_has_the_jacobian_of_both(assert_close):
  # c = a + 3 b, so its Jacobian is [1, 3], times sqrt(10) of an isometry.
  def layers(params, collections, images, values):
    a = values.get('a', images)
    b = values.get('b', 2 * a)
    c = values.get('c', a + 3 * b)
    return 5 * c, {'a': images, 'b': 2 * a, 'c': a + 3 * b}

  x = jnp.asarray(np.random.RandomState(0).normal(size=(5, 4)))
  view = views.by_hand({}, test=Batch(x, jnp.zeros(5, int)), sites='abc')
  view = dataclasses.replace(
    view,
    functions=view.functions._replace(layers=layers),
    order=view.order._replace(shapes=dict.fromkeys('abc', (4,))),
  )
  found = jacobians(view)
  factors = {'a': 1, 'b': 2, 'c': np.sqrt(10), 'logits': 5, 'network': 35}
  for name, factor in factors.items():
    assert_close(found[f'{name}/singular_values'], np.full(4, factor), 1e-9)


@pytest.mark.parametrize(
  'model', some(('mlp', 'resnet', 'inception_v2'), 'mlp', 'resnet')
)
def test_layers_given_their_taps_are_the_network(model, assert_close):
  with jax.enable_x64(False):
    module, size = published.small(model), published.size_of(model)
    variables, batch = trained(module, size)
    view = views.of_model(module, variables, batch, batch)
    arguments = view.params, view.still, batch.images_NHWC
    logits_NK, taps = view.functions.forward(*arguments, {})
    values = {site: taps[site] for site in view.order.open}
    found_NK, found = jax.jit(view.functions.layers)(*arguments, values)
    assert_close(found_NK, logits_NK, 1e-4)
    assert_close(found, values, 1e-4)
    lowest, *_, highest = view.order.open
    doubled = values | {lowest: 2 * values[lowest]}
    _, other = jax.jit(view.functions.layers)(*arguments, doubled)
  changed = [s for s in other if not np.allclose(other[s], found[s])]
  assert highest not in changed
  assert lowest not in changed
  assert changed
