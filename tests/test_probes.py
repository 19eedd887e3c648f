"""Probes of taps against NumPy, and every probe on every model and norm."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import config as configs
from bnresearch import lookup
from bnresearch.assembly import assemble
from bnresearch.evaluation.measure import Batches, Measure, Network
from bnresearch.probes import (
  Batch,
  activation_moments,
  activation_percentiles,
  parameter_norm,
  saturation,
)
from bnresearch.training.stream import Examples
from configs import default
from tests import published, views
from tests.daily import some
from tests.traits import says

PERCENTILES = (0.0, 15.0, 33.3, 50.0, 85.0, 100.0)
N, K = 8, 10


def trained(module, size, channels=3):
  """Returns variables whose statistics have seen a batch, and that batch."""
  random = np.random.RandomState(0)
  shape = (N, size, size, channels)
  x_NHWC = jnp.asarray(random.normal(0.5, 2, shape), jnp.float32)
  labels_N = jnp.asarray(random.randint(0, K, N))

  @jax.jit
  def start(key, x_NHWC):
    variables = module.init(key, x_NHWC, train=False)
    params = variables.pop('params')
    _, new = module.apply(
      {'params': params, **variables},
      x_NHWC,
      train=True,
      mutable=[*variables],
    )
    return {'params': params, **new}

  return start(jax.random.key(0), x_NHWC), Batch(x_NHWC, labels_N)


@pytest.fixture(scope='module')
def small():
  """A small network's view, and its taps as float64 (V, C)."""
  config = default.get_config()
  values = {'model.features': (5, 4), 'model.init_std': 1.0}
  assert configs.override(config, values) == []
  module = assemble(config).network.model
  variables, batch = trained(module, size=4, channels=1)
  view = views.of_model(module, variables, batch, batch)
  taps = {name: np.asarray(x, np.float64) for name, x in view.taps.items()}
  assert list(taps) == ['hidden_1', 'hidden_2']
  assert all((x < 0).any() and (x > 0).any() for x in taps.values())
  return view, taps


def test_percentiles_are_numpys(small, assert_close):
  view, taps = small
  measured = activation_percentiles.measure(view, percentiles=PERCENTILES)
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
    views.of_tap(x_MC), percentiles=percentiles
  )['tap']
  exact = np.percentile(x_MC.astype(np.float64), percentiles, axis=0)
  assert measured.shape == (5, x_MC.shape[1])
  for c in range(x_MC.shape[1]):
    assert_close(measured[:, c], exact[:, c], rtol=1e-6)


def test_moments_are_numpys(small, assert_close):
  view, taps = small
  expected = {}
  for name, x_MC in taps.items():
    expected |= {f'{name}/mean': x_MC.mean(0), f'{name}/std': x_MC.std(0)}
  assert_close(activation_moments.measure(view), expected, rtol=1e-5)


@pytest.mark.parametrize('threshold', [0.5, 1.0, 4.0])
def test_saturation_is_numpys(small, threshold, assert_close):
  view, taps = small
  measured = saturation.measure(view, saturation_threshold=threshold)
  expected = {n: (np.abs(x) > threshold).mean() for n, x in taps.items()}
  expected['fraction'] = np.mean([*expected.values()])
  for name in expected:
    assert_close(measured[name], expected[name], rtol=1e-6)
  assert {*measured} - {*expected} == {'slope', *(f'{n}/slope' for n in taps)}


def test_saturation_counts_both_sides_and_not_the_threshold_itself():
  x_MC = np.float32([[-5, -4, 0, 4], [5, 3.9, -3.9, 4.1]])
  measured = saturation.measure(views.of_tap(x_MC), saturation_threshold=4.0)
  assert float(measured['tap']) == 3 / 8


def test_parameter_norms_are_numpys_by_path(assert_close):
  random = np.random.RandomState(0)
  kernel, bias, scale = (
    random.normal(1, 2, shape).astype(np.float32)
    for shape in ((3, 3, 4, 5), (5,), (7,))
  )
  params = {'conv': {'kernel': kernel, 'bias': bias}, 'norm': {'scale': scale}}
  view = views.by_hand(jax.tree.map(jnp.asarray, params))
  expected = {
    'conv/kernel': np.linalg.norm(kernel.ravel().astype(np.float64)),
    'conv/bias': np.linalg.norm(bias.astype(np.float64)),
    'norm/scale': np.linalg.norm(scale.astype(np.float64)),
  }
  assert_close(parameter_norm.measure(view), expected, 1e-6)


@pytest.mark.parametrize(
  'name',
  [
    'activation_histogram',
    'activation_moments',
    'activation_percentiles',
    'channel_correlation',
    'saturation',
    'signal_propagation',
  ],
)
def test_positions_of_a_feature_map_count_as_examples(name, assert_close):
  x_NHWC = np.random.RandomState(0).normal(-1, 2, (3, 4, 5, 6))
  x_NHWC = x_NHWC.astype(np.float32)
  measure = lookup.find('probes', name).measure
  options = lookup.keywords(measure, default.get_config().probes)
  assert_close(
    measure(views.of_tap(x_NHWC), **options),
    measure(views.of_tap(x_NHWC.reshape(-1, 6)), **options),
    rtol=1e-6,
  )


# Every probe, as it is.


def test_every_probe_says_which_of_its_results_are_scalars():
  for name in lookup.names('probes'):
    entry = lookup.find('probes', name)
    assert isinstance(entry.SCALARS, tuple), name
    first = next(iter(inspect.signature(entry.measure).parameters))
    assert first == 'view', name


def measured(module, size, channels=3, **values):
  """Measures a network with every probe, as a run does; returns all results."""
  config = default.get_config()
  names = {'probes.names': lookup.names('probes')}
  assert configs.override(config, names | values) == []
  variables, batch = trained(module, size, channels)
  view = views.of_model(module, variables, batch, batch)
  measure = Measure(
    assemble(config).evaluation.probes,
    view.functions,
    view.order,
    lambda x: x,
    epsilon=view.epsilon,
  )
  network = Network(view.params, view.collections, view.opt_state)
  batches = Batches(Examples(*batch), Examples(*batch))
  first = measure(network, batches, measure.unknown(network, batches))
  found = measure(network, batches, measure.compared(first))
  found = measure.in_order(found)
  return {name: np.asarray(x) for name, x in found.items()}, view


def lacks(view):
  """Returns {probe: beginnings of scalars} of which a network has nothing."""
  paths = [path.rpartition('/') for path in view.order.parameters]
  layers = {layer for layer, _, name in paths if name == 'kernel'}
  affine = {name for layer, _, name in paths if layer not in layers}
  functions = [*map(view.order.nonlinearity, view.order.sites)]
  return {
    'affine': tuple({'scale', 'bias'} - affine),
    'dead_units': () if any(functions) else ('',),
    'saturation': () if any(functions) else ('slope',),
    'statistics_distance': () if view.collections else ('',),
  }


def assert_all_are_finite(found, view):
  lacked = lacks(view)
  for probe in lookup.names('probes'):
    scalars = lookup.find('probes', probe).SCALARS
    for name in scalars:
      value = found.get(f'probe/{probe}/{name}')
      if name.startswith(lacked.get(probe, ())):
        assert value is None, name
      else:
        assert value.shape == (), name
    of_probe = any(n.startswith(f'probe/{probe}/') for n in found)
    none = bool(scalars) and all(
      name.startswith(lacked.get(probe, ())) for name in scalars
    )
    assert of_probe != none, probe
  for name, value in found.items():
    if name.endswith('/units/symmetric_kl'):  # undefined for constant units
      std_C = found[name.replace('/units/symmetric_kl', '/std')]
      np.testing.assert_array_equal(np.isfinite(value), std_C > 0)
    else:
      assert np.isfinite(value).all(), name


OF_VECTORS = [
  norm for norm in lookup.names('norms') if not says(norm, 'needs_positions')
]


@pytest.mark.parametrize('norm', some(OF_VECTORS, 'batch'))
def test_every_probe_is_finite_with_every_norm(norm):
  assert_all_are_finite(*measured(published.small('mlp', norm), 4))


# Each takes minutes, and has only kinds of layers that others have too.
LARGE = {
  *('googlenet', 'inception_resnet_v2', 'inception_v3', 'inception_v4'),
  'mobilenet_v1',
}
FAMILIES = [name for name in lookup.names('models') if name not in LARGE]


@pytest.mark.parametrize('model', some(FAMILIES, 'mlp'))
def test_every_probe_is_finite_on_every_family_of_models(model):
  size = published.size_of(model)
  assert_all_are_finite(*measured(published.small(model), size))


def test_probes_have_the_options_of_the_config():
  config = default.get_config()
  values = {
    'probes.names': ('activation_percentiles', 'saturation'),
    'probes.percentiles': (10.0, 90.0),
    'probes.saturation_threshold': 1.5,
  }
  assert configs.override(config, values) == []
  x_MC = np.random.RandomState(0).normal(0, 2, (50, 3)).astype(np.float32)
  view, probes = views.of_tap(x_MC), assemble(config).evaluation.probes
  found = {name: probe.measure(view)['tap'] for name, probe in probes.items()}
  np.testing.assert_allclose(
    found['activation_percentiles'],
    np.percentile(x_MC, (10, 90), axis=0),
    rtol=1e-5,
  )
  share = (np.abs(x_MC) > 1.5).mean()
  assert float(found['saturation']) == pytest.approx(share)


def test_without_names_nothing_is_measured():
  assert assemble(default.get_config()).evaluation.probes == {}
