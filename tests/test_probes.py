"""Probes against NumPy, and every probe on every model."""

import functools
import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import config as configs
from bnresearch import lookup
from bnresearch.assembly import assemble
from bnresearch.evaluation import evaluate
from bnresearch.evaluation.measure import measured
from bnresearch.probes import (
  Batch,
  NetworkView,
  activation_moments,
  activation_percentiles,
  saturation,
)
from configs import default
from tests import published
from tests.daily import some
from tests.traits import says

PERCENTILES = (0.0, 15.0, 33.3, 50.0, 85.0, 100.0)
# A network whose one tap is its input, so that a test chooses the tap.
IDENTITY = NetworkView(
  {}, {}, lambda params, collections, x: (None, {'tap': x})
)


def holding(x):
  """Returns a probe batch of this array."""
  return Batch(jnp.asarray(x), None)


def network(**values):
  """Returns the view of an mlp with BN, its statistics trained, and a batch."""
  config = default.get_config()
  assert configs.override(config, values) == []
  return viewed(assemble(config).network.model, size=4, channels=1)


def viewed(module, size, channels):
  """Returns a network's view, and a batch that its statistics have seen."""
  random = np.random.RandomState(0)
  shape = (30, size, size, channels)
  x_NHWC = jnp.asarray(random.normal(0.5, 2, shape), jnp.float32)
  init = jax.jit(functools.partial(module.init, train=False))
  variables = init(jax.random.key(0), x_NHWC)
  params = variables.pop('params')
  follow = functools.partial(module.apply, train=True, mutable=list(variables))
  _, collections = jax.jit(follow)({'params': params, **variables}, x_NHWC)
  forward = evaluate.make_forward(module, 'ema')
  return NetworkView(params, collections, forward), Batch(
    x_NHWC, jnp.zeros(30, int)
  )


@pytest.fixture(scope='module')
def small():
  """A small network's view, a batch, and its taps as float64 (M, C)."""
  values = {'model.features': (5, 4), 'model.init_std': 1.0}
  view, batch = network(**values)
  _, taps = view.forward(view.params, view.collections, batch.images_NHWC)
  taps = {name: np.asarray(x, np.float64) for name, x in taps.items()}
  assert set(taps) == {'hidden_1', 'hidden_2'}
  assert all((x < 0).any() and (x > 0).any() for x in taps.values())
  return view, batch, taps


def test_percentiles_are_numpys(small, assert_close):
  view, batch, taps = small
  measured = activation_percentiles.measure(
    view, batch, percentiles=PERCENTILES
  )
  expected = {n: np.percentile(x, PERCENTILES, axis=0) for n, x in taps.items()}
  assert_close(measured, expected, rtol=1e-5)


@pytest.mark.parametrize('M', [1, 2, 3, 60, 1000])
def test_percentiles_of_negative_numbers_and_ties_are_numpys(M, assert_close):
  random = np.random.RandomState(M)
  columns = [
    random.normal(size=M),
    -np.exp(random.normal(0, 9, M)),  # negative, of all magnitudes
    random.randint(-2, 3, M),  # many ties, zeros among them
    np.full(M, -3.25),
    np.where(np.arange(M) % 2, 0.0, -0.0),
    random.choice([-3e37, -1e-30, 1e-30, 3e37], M),
  ]
  x_MC = np.stack(columns, axis=1).astype(np.float32)
  percentiles = (0.0, 15.0, 50.0, 85.0, 100.0)
  measured = activation_percentiles.measure(
    IDENTITY, holding(x_MC), percentiles=percentiles
  )['tap']
  exact = np.percentile(x_MC.astype(np.float64), percentiles, axis=0)
  assert measured.shape == (5, x_MC.shape[1])
  for c in range(x_MC.shape[1]):
    assert_close(measured[:, c], exact[:, c], rtol=1e-6)


def test_moments_are_numpys(small, assert_close):
  view, batch, taps = small
  expected = {}
  for name, x_MC in taps.items():
    expected |= {f'{name}/mean': x_MC.mean(0), f'{name}/std': x_MC.std(0)}
  assert_close(activation_moments.measure(view, batch), expected, rtol=1e-5)


@pytest.mark.parametrize('threshold', [0.5, 1.0, 4.0])
def test_saturation_is_numpys(small, threshold, assert_close):
  view, batch, taps = small
  measured = saturation.measure(view, batch, saturation_threshold=threshold)
  expected = {n: (np.abs(x) > threshold).mean() for n, x in taps.items()}
  assert_close(measured, expected, rtol=1e-6)


def test_saturation_counts_both_sides_and_not_the_threshold_itself():
  x_MC = np.float32([[-5, -4, 0, 4], [5, 3.9, -3.9, 4.1]])
  measured = saturation.measure(
    IDENTITY, holding(x_MC), saturation_threshold=4.0
  )
  assert float(measured['tap']) == 3 / 8


def test_positions_of_a_feature_map_count_as_examples(assert_close):
  x_NHWC = np.random.RandomState(0).normal(-1, 2, (3, 4, 5, 6))
  x_NHWC = x_NHWC.astype(np.float32)
  flat = x_NHWC.reshape(-1, 6)
  for name in lookup.names('probes'):
    measure = lookup.find('probes', name).measure
    options = default_options(measure)
    assert_close(
      measure(IDENTITY, holding(x_NHWC), **options),
      measure(IDENTITY, holding(flat), **options),
      rtol=1e-6,
    )


def default_options(measure):
  group = default.get_config().probes
  keywords = inspect.getfullargspec(measure).kwonlyargs
  return {key: group[key] for key in keywords}


def assert_all_are_finite(view, batch):
  """Measures a network with every probe."""
  config = default.get_config()
  names = lookup.names('probes')
  assert configs.override(config, {'probes.names': names}) == []

  def measure(params, collections, batch):
    own = NetworkView(params, collections, view.forward)
    return measured(assemble(config).evaluation.probes, own, batch)

  found = jax.jit(measure)(view.params, view.collections, batch)
  for probe in names:
    assert any(name.startswith(f'probe/{probe}/') for name in found)
  for name, value in found.items():
    assert np.isfinite(value).all(), name


@pytest.mark.parametrize(
  'norm',
  [norm for norm in lookup.names('norms') if not says(norm, 'needs_positions')],
)
def test_every_probe_is_finite_with_every_norm(norm):
  assert_all_are_finite(*viewed(published.small('mlp', norm), 16, channels=3))


@pytest.mark.parametrize(
  'model', some(lookup.names('models'), 'mlp', 'lstm', 'resnet', 'densenet')
)
def test_every_probe_is_finite_on_every_model(model):
  module, size = published.small(model), published.size_of(model)
  variables = published.drawn(module, size)
  params = variables.pop('params')
  forward = evaluate.make_forward(module, 'ema')
  batch = Batch(published.images(size, N=4), jnp.zeros(4, int))
  assert_all_are_finite(NetworkView(params, variables, forward), batch)


def test_probes_have_the_options_of_the_config():
  config = default.get_config()
  values = {
    'probes.names': ('activation_percentiles', 'saturation'),
    'probes.percentiles': (10.0, 90.0),
    'probes.saturation_threshold': 1.5,
  }
  assert configs.override(config, values) == []
  x_MC = np.random.RandomState(0).normal(0, 2, (50, 3)).astype(np.float32)
  found = measured(assemble(config).evaluation.probes, IDENTITY, holding(x_MC))
  assert set(found) == {
    'probe/activation_percentiles/tap',
    'probe/saturation/tap',
  }
  np.testing.assert_allclose(
    found['probe/activation_percentiles/tap'],
    np.percentile(x_MC, (10, 90), axis=0),
    rtol=1e-5,
  )
  share = (np.abs(x_MC) > 1.5).mean()
  assert float(found['probe/saturation/tap']) == pytest.approx(share)


def test_without_names_nothing_is_measured():
  x_MC = np.ones((5, 3), np.float32)
  probes = assemble(default.get_config()).evaluation.probes
  assert measured(probes, IDENTITY, holding(x_MC)) == {}
