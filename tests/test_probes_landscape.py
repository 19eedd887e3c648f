"""Probes that walk the loss's landscape against quadratic losses, float64."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch.probes import (
  gradient_landscape,
  hessian_spectrum,
  loss_slices,
  sharpness,
)
from tests import published, views
from tests.test_probes import trained

SHAPES = {'a': (2, 3), 'b': (4,), 'c': (2,)}
n = 12


@pytest.fixture(autouse=True)
def in_float64():
  with jax.enable_x64(True):
    yield


def flat(params):
  return jnp.concatenate([x.ravel() for x in jax.tree.leaves(params)])


def with_eigenvalues(eigenvalues):
  """Returns a symmetric matrix."""
  Q, _ = np.linalg.qr(np.random.RandomState(1).normal(size=(n, n)))
  return Q @ np.diag(eigenvalues) @ Q.T


def quadratic(A, **options):
  """Returns the view of loss = w'Aw / 2 + b'w, with w and b."""
  random = np.random.RandomState(0)
  b, w = random.normal(size=(2, n))
  cuts = np.split(w, [6, 10])
  params = {
    name: {'kernel': jnp.asarray(x.reshape(shape))}
    for (name, shape), x in zip(SHAPES.items(), cuts)
  }

  def loss(params, batch):
    w = flat(params)
    return w @ jnp.asarray(A) @ w / 2 + jnp.asarray(b) @ w

  return views.by_hand(params, loss, **options), w, b


SPREAD = np.linspace(-3, 5, n) ** 3 / 20
A = with_eigenvalues(SPREAD)


@pytest.mark.parametrize('rate', [0.1, 0.01])
def test_the_landscape_of_a_quadratic_loss_is_that_by_hand(rate, assert_close):
  update = lambda gradient, *_: jax.tree.map(lambda g: -rate * g, gradient)
  view, w, b = quadratic(A, update=update)
  lengths, g = (0.5, 1.0, 4.0), A @ w + b
  found = views.measured(gradient_landscape, view, step_lengths=lengths)
  loss = lambda w: w @ A @ w / 2 + b @ w
  losses = np.array([loss(w - t * rate * g) for t in lengths])
  changes = np.multiply(lengths, rate * np.linalg.norm(A @ g))
  expected = {
    'losses': losses,
    'changes': changes,
    'loss_range': np.ptp(losses),
    'change': changes[-1],
    'relative': changes[-1] / np.linalg.norm(g),
    'smoothness': np.linalg.norm(A @ g) / np.linalg.norm(g),
  }
  assert_close(found, expected, 1e-9)


def test_the_landscape_lies_along_the_optimizers_update(assert_close):
  u = np.random.RandomState(3).normal(size=n)
  like = lambda g: {
    name: {'kernel': jnp.asarray(x.reshape(SHAPES[name]))}
    for name, x in zip(g, np.split(u, [6, 10]))
  }
  view, w, b = quadratic(A, update=lambda gradient, *_: like(gradient))
  found = views.measured(gradient_landscape, view, step_lengths=(2.0,))
  there = w + 2 * u
  assert_close(found['losses'], [there @ A @ there / 2 + b @ there], 1e-9)
  beta = np.linalg.norm(A @ u) / np.linalg.norm(u)
  assert_close(found['smoothness'], beta, 1e-9)


def test_without_an_update_only_the_smoothness_is_unknown():
  update = lambda gradient, *_: jax.tree.map(jnp.zeros_like, gradient)
  found = views.measured(gradient_landscape, quadratic(A, update=update)[0])
  assert [k for k, x in found.items() if np.isnan(x).any()] == ['smoothness']
  assert found['change'] == found['loss_range'] == 0


# The Hessian.


@pytest.mark.parametrize(
  'eigenvalues',
  [SPREAD, [4, 4, 4, 1, 1, 1, 0, 0, 0, 0, -2, -2], [3] * n],
  ids=['apart', 'repeated', 'all alike'],
)
def test_as_many_steps_as_parameters_find_all_eigenvalues(eigenvalues):
  view, _, _ = quadratic(with_eigenvalues(eigenvalues))
  found = views.measured(
    hessian_spectrum, view, lanczos_steps=50, lanczos_starts=2
  )
  ascending = np.sort(eigenvalues)
  near = {'rtol': 1e-8, 'atol': 1e-8}
  for nodes in found['nodes']:
    np.testing.assert_allclose(nodes, ascending, **near)
  top = ascending[::-1][: hessian_spectrum.TOP]
  np.testing.assert_allclose(found['eigenvalues'], top, **near)
  np.testing.assert_allclose(found['trace'], sum(eigenvalues), **near)
  np.testing.assert_allclose(found['largest'], max(eigenvalues), **near)
  np.testing.assert_allclose(found['smallest'], min(eigenvalues), **near)
  assert (found['residuals'] < 1e-7).all()
  assert found['trace_error'] < 1e-7


def test_the_quadrature_has_the_first_moments_of_the_density(assert_close):
  view, _, _ = quadratic(A)
  found = views.measured(
    hessian_spectrum, view, lanczos_steps=4, lanczos_starts=1
  )
  v = np.asarray(hessian_spectrum._begun(view.params, 0, 4)[0][0])
  nodes, weights = (np.asarray(found[k][0]) for k in ('nodes', 'weights'))
  assert_close(weights.sum(), 1.0, 1e-9)
  for p in range(2 * 4):
    moment = v @ np.linalg.matrix_power(A, p) @ v
    assert_close((weights * nodes**p).sum(), moment, 1e-6)
  eighth = v @ np.linalg.matrix_power(A, 8) @ v
  assert (weights * nodes**8).sum() < (1 - 1e-6) * eighth


def test_an_eigenvalue_is_as_near_as_the_residual_says():
  view, _, _ = quadratic(A)
  found = views.measured(
    hessian_spectrum, view, lanczos_steps=5, lanczos_starts=3
  )
  for value, residual in zip(found['eigenvalues'], found['residuals']):
    assert np.abs(SPREAD - value).min() <= residual + 1e-9
  assert found['largest'] <= SPREAD.max() + 1e-9
  assert found['smallest'] >= SPREAD.min() - 1e-9


def test_the_trace_is_as_near_as_its_error_says():
  view, _, _ = quadratic(A)
  starts = 32
  found = views.measured(
    hessian_spectrum, view, lanczos_steps=1, lanczos_starts=starts
  )
  error = float(found['trace_error'])
  assert abs(float(found['trace']) - SPREAD.sum()) < 3 * error
  squares = []
  for start in range(starts):
    v = np.asarray(hessian_spectrum._begun(view.params, start, 1)[0][0])
    P = np.eye(n) - np.outer(v, v)
    squares.append(np.square(P @ A @ P).sum())
  exact = np.sqrt(2 * np.mean(squares) / (starts * hessian_spectrum.OTHERS))
  assert error == pytest.approx(exact, rel=0.15)


def test_the_spectrum_of_a_network_is_that_of_its_hessian(assert_close):
  random = np.random.RandomState(0)
  x, y = random.normal(size=(7, 3)), random.normal(size=(7, 1))
  params = {
    'low': {'kernel': jnp.asarray(random.normal(size=(3, 4)))},
    'high': {'kernel': jnp.asarray(random.normal(size=(4, 1)))},
  }

  def loss(params, batch):
    hidden = jnp.tanh(x @ params['low']['kernel'])
    return jnp.square(hidden @ params['high']['kernel'] - y).mean()

  vector, tree = jax.flatten_util.ravel_pytree(params)
  H = jax.hessian(lambda w: loss(tree(w), None))(vector)
  exact = np.linalg.eigvalsh(H)
  view = views.by_hand(params, loss)
  found = views.measured(hessian_spectrum, view, lanczos_steps=16)
  assert_close(found['nodes'][0], exact, 1e-6)
  assert_close(found['trace'], np.trace(H), 1e-6)


def test_the_density_has_the_mean_and_the_spread_of_its_nodes(assert_close):
  nodes = jnp.array([[-1.0, 3.0], [0.0, 1.0]])
  weights = jnp.array([[0.25, 0.75], [0.5, 0.5]])
  at = jnp.linspace(-10, 10, 4001)
  density = hessian_spectrum.density(nodes, weights, at, 0.5)
  step = 20 / 4000
  assert_close(density.sum() * step, 1.0, 1e-9)
  mean = (2.0 + 0.5) / 2
  assert_close((density * at).sum() * step, mean, 1e-9)
  square = ((0.25 + 6.75) + 0.5) / 2 + 0.5**2
  assert_close((density * at**2).sum() * step, square, 1e-9)


# Sharpness.


@pytest.mark.parametrize('radius', [0.05, 2.0])
def test_the_sharpness_of_a_quadratic_loss_is_that_by_hand(
  radius, assert_close
):
  view, w, b = quadratic(A)
  g = A @ w + b
  found = views.measured(
    sharpness, view, sharpness_radius=radius, adaptive_radius=3 * radius
  )
  for name, e in (
    ('rise', radius * g / np.linalg.norm(g)),
    ('adaptive_rise', 3 * radius * w**2 * g / np.linalg.norm(w * g)),
  ):
    assert_close(found[name], g @ e + e @ A @ e / 2, 1e-9)


def test_the_adaptive_step_has_its_length_in_units_of_the_parameters():
  view, w, _ = quadratic(A)
  step = sharpness._uphill_by_size(view.gradient, view.params)
  assert np.linalg.norm(flat(step) / w) == pytest.approx(1, rel=1e-9)


def test_adaptive_sharpness_ignores_a_rescaling_between_layers(assert_close):
  def loss(params, batch):
    hidden = jnp.maximum(params['low']['kernel'], 0)
    return jnp.square(hidden @ params['high']['kernel'] - 1).sum()

  random = np.random.RandomState(0)
  low, high = random.normal(size=(3, 4)), random.normal(size=(4, 2))

  def measured(factor):
    params = {
      'low': {'kernel': jnp.asarray(factor * low)},
      'high': {'kernel': jnp.asarray(high / factor)},
    }
    return views.measured(sharpness, views.by_hand(params, loss))

  before, after = measured(1.0), measured(5.0)
  assert_close(after['adaptive_rise'], before['adaptive_rise'], 1e-9)
  assert abs(after['rise'] / before['rise'] - 1) > 0.1


# Slices.


def test_slices_of_a_sum_of_squares_are_those_by_hand(assert_close):
  # |w + a d|^2 + |w - a d|^2 = 2 (1 + a^2) |w|^2, as |d| = |w| by filter; and
  # what is no kernel stands still.
  random = np.random.RandomState(0)
  own_C = np.array([1.0, 10.0, 0.1, 1000.0])
  kernel = jnp.asarray(random.normal(size=(3, 3, 2, 4)) * own_C)
  params = {
    'conv': {'kernel': kernel, 'bias': jnp.ones(4)},
    'norm': {'scale': jnp.ones(4)},
  }

  def loss(params, batch):
    (conv, norm), scaled = (
      params.values(),
      lambda x: jnp.square(x / own_C.reshape((1,) * (x.ndim - 1) + (4,))),
    )
    return (
      scaled(conv['kernel']).sum()
      + 7 * scaled(conv['bias']).sum()
      + 5 * scaled(norm['scale']).sum()
    )

  view = views.by_hand(params, loss)
  found = views.measured(
    loss_slices, view, slice_points=5, plane_points=5, slice_radius=2.0
  )
  a = np.array([-2.0, -1, 0, 1, 2])
  assert_close(found['line_at'], a, 1e-12)
  still = float(12 * np.square(1 / own_C).sum())
  square = float(np.square(np.asarray(kernel) / own_C).sum())
  line = np.asarray(found['line']) - still
  assert_close(line + line[::-1], 2 * (1 + a**2) * square, 1e-9)
  assert_close(found['rise'], np.square(a).mean() * square, 1e-9)
  plane = np.asarray(found['plane']) - still
  assert_close(plane[:, 2], line, 1e-9)
  four = plane + plane[::-1] + plane[:, ::-1] + plane[::-1, ::-1]
  assert_close(four, 4 * (1 + a[:, None] ** 2 + a**2) * square, 1e-9)
  assert abs(line[0] - line[-1]) > 1e-3 * square


def test_a_filter_with_bn_after_it_can_be_rescaled():
  bn = published.batch_norm(epsilon=1e-30)
  model = published.network('mlp', bn, 10, features=(6, 5))
  with jax.enable_x64(False):
    variables, batch = trained(model, size=3)
  variables = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), variables)

  def rescaled(layer):
    factor = jnp.ones((1, variables['params'][layer]['kernel'].shape[1]))
    params = dict(variables['params'])
    kernel = params[layer]['kernel'] * factor.at[0, 2].set(100.0)
    params[layer] = params[layer] | {'kernel': kernel}
    view = views.of_model(model, variables | {'params': params}, batch, batch)
    options = {'slice_points': 3, 'plane_points': 2}
    return views.measured(loss_slices, view, **options)

  view = views.of_model(model, variables, batch, batch)
  before = views.measured(loss_slices, view, slice_points=3, plane_points=2)
  for name, x in rescaled('hidden_1').items():
    np.testing.assert_allclose(x, before[name], rtol=1e-9)
  other = rescaled('logits')
  assert abs(other['rise'] / before['rise'] - 1) > 0.1


def test_slices_have_the_seed_of_their_directions_and_a_plane_on_demand():
  view, _, _ = quadratic(A)
  first, again, other = (
    views.measured(loss_slices, view, slice_seed=seed, plane_points=0)
    for seed in (0, 0, 1)
  )
  assert 'plane' not in first
  assert (first['line'] == again['line']).all()
  assert not np.isclose(first['line'][0], other['line'][0], rtol=1e-3)
