"""The recurrent network against NumPy in float64, and against PyTorch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from bnresearch import models
from tests.published import images, network

SIZE, UNITS, EPSILON, MOMENTUM = 5, 7, 1e-5, 0.99


def sigmoid(x):
  return 1 / (1 + np.exp(-x))


def shaken(variables):
  """Returns variables in float64 none of which has its initial value."""
  random = np.random.RandomState(1)

  def shake(path, leaf):
    if path[-1].key in ('var', 'scale'):
      return random.uniform(0.3, 2, leaf.shape)
    return np.asarray(leaf, float) + random.normal(0, 0.3, leaf.shape)

  return jax.tree_util.tree_map_with_path(shake, variables)


def made(norm):
  model = network('lstm', norm, 10, units=UNITS)
  x_NHWC = images(SIZE, N=6)
  init = model.init(jax.random.key(0), x_NHWC, train=False)
  return model, x_NHWC, shaken(init)


def recomputed(variables, x_NHWC, *, train):
  """Returns logits, and the batch's moments {layer: [(mean, var), ...]}."""
  cell, moments = variables['params']['cell'], {}
  running = variables['batch_stats']['cell']

  def norm(layer, x_NC, t):
    own = moments.setdefault(layer, [])
    own.append((x_NC.mean(0), x_NC.var(0)))
    stats = running[layer]['norm']
    mean_C, var_C = own[-1] if train else (stats['mean'][t], stats['var'][t])
    affine = cell[layer]['norm']
    x_NC = (x_NC - mean_C) / np.sqrt(var_C + EPSILON)
    return x_NC * affine['scale'] + affine.get('bias', 0)

  N, T, *_ = x_NHWC.shape
  x_NTD = np.asarray(x_NHWC, np.float64).reshape(N, T, -1)
  h = c = np.zeros((N, UNITS))
  for t in range(T):
    sums = norm('input', x_NTD[:, t] @ cell['input']['kernel'], t)
    sums = sums + norm('hidden', h @ cell['hidden']['kernel'], t) + cell['bias']
    i, f, o, g = np.split(sums, 4, axis=-1)
    c = sigmoid(f) * c + sigmoid(i) * np.tanh(g)
    h = sigmoid(o) * np.tanh(norm('output', c, t))
  logits = variables['params']['logits']
  return h @ logits['kernel'] + logits['bias'], moments


@pytest.mark.parametrize('train', [False, True])
def test_it_is_the_papers_recurrence(train, assert_close):
  model, x_NHWC, variables = made('batch')
  in_float32 = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
  (logits_NK, _), new = model.apply(
    in_float32, x_NHWC, train=train, mutable=['batch_stats']
  )
  expected_NK, moments = recomputed(variables, x_NHWC, train=train)
  assert_close(logits_NK, expected_NK, rtol=2e-4)
  if not train:
    return
  m = len(x_NHWC)
  for layer, of_steps in moments.items():
    old = variables['batch_stats']['cell'][layer]['norm']
    now = new['batch_stats']['cell'][layer]['norm']
    for t, (mean_C, var_C) in enumerate(of_steps):
      pairs = (('mean', mean_C), ('var', var_C * m / (m - 1)))
      for name, value in pairs:
        expected = MOMENTUM * old[name][t] + (1 - MOMENTUM) * value
        assert_close(now[name][t], expected, rtol=1e-4)


def test_statistics_are_of_each_time_step_and_parameters_of_all():
  _, _, variables = made('batch')
  stats = variables['batch_stats']['cell']['hidden']['norm']
  assert stats['mean'].shape == stats['var'].shape == (SIZE, 4 * UNITS)
  cell = variables['params']['cell']
  assert cell['hidden']['norm']['scale'].shape == (4 * UNITS,)
  # The sums' normalizers share the one bias of the gates.
  assert set(cell['hidden']['norm']) == set(cell['input']['norm']) == {'scale'}
  assert set(cell['output']['norm']) == {'scale', 'bias'}


def test_gamma_begins_at_a_tenth_and_the_forget_gate_open():
  model = network('lstm', 'batch', 10, units=UNITS)
  cell = model.init(jax.random.key(0), images(SIZE), train=False)['params'][
    'cell'
  ]
  for layer in ('input', 'hidden', 'output'):
    np.testing.assert_allclose(cell[layer]['norm']['scale'], 0.1)
  np.testing.assert_array_equal(cell['bias'], [0] * 7 + [1] * 7 + [0] * 14)


def test_without_normalizers_it_is_pytorchs():
  torch = pytest.importorskip('torch', reason='PyTorch is not installed')
  model, x_NHWC, variables = made('none')
  theirs = torch.nn.LSTM(SIZE * 3, UNITS, batch_first=True).double()
  cell = variables['params']['cell']

  def gates(x):  # theirs are i, f, g, o
    i, f, o, g = np.split(np.asarray(x), 4, axis=-1)
    return torch.from_numpy(np.concatenate([i, f, g, o], -1).T.copy())

  theirs.load_state_dict(
    {
      'weight_ih_l0': gates(cell['input']['kernel']),
      'weight_hh_l0': gates(cell['hidden']['kernel']),
      'bias_ih_l0': gates(cell['bias']),
      'bias_hh_l0': torch.zeros(4 * UNITS),
    }
  )
  x_NTD = torch.from_numpy(np.array(x_NHWC, np.float64).reshape(6, SIZE, -1))
  with torch.no_grad():
    h_NTD, _ = theirs(x_NTD)
  logits = variables['params']['logits']
  expected_NK = h_NTD[:, -1].numpy() @ logits['kernel'] + logits['bias']
  in_float32 = jax.tree.map(lambda x: jnp.asarray(x, jnp.float32), variables)
  logits_NK, _ = model.apply(in_float32, x_NHWC, train=True)
  np.testing.assert_allclose(logits_NK, expected_NK, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
  ('name', 'value'),
  [
    ('norm_position', 'after'),
    ('initializer', 'lsuv'),
    ('activation', 'maxout'),
  ],
)
def test_what_a_recurrent_network_cannot_have_is_refused(name, value):
  model = network('lstm', 'batch', 10, layers={name: value})
  with pytest.raises(
    ValueError, match=rf"{name} = '{value}': not for the lstm"
  ):
    models.shapes(model, SIZE)


def test_nor_can_one_of_its_layers_have_lsuv():
  layers = {'init_sites': ('cell/input=lsuv',)}
  model = network('lstm', 'batch', 10, layers=layers)
  with pytest.raises(ValueError, match="'cell/input=lsuv' is not for the lstm"):
    models.shapes(model, SIZE)


def of_options(**options):
  """Returns a network with options, images, and shaken variables."""
  model = network('lstm', 'batch', 10, units=UNITS, **options)
  x_NHWC = images(SIZE, N=6)
  _, _, variables = made('batch')
  return model, x_NHWC, jax.tree.map(jnp.float32, variables)


def test_shared_statistics_are_the_mean_over_the_steps(assert_close):
  model, x_NHWC, variables = of_options(step_statistics='shared')
  separate = network('lstm', 'batch', 10, units=UNITS)
  options = {'train': True, 'mutable': ['batch_stats']}
  _, of_steps = separate.apply(variables, x_NHWC, **options)
  one = jax.tree.map(lambda x: x.mean(0), variables['batch_stats'])
  variables = {**variables, 'batch_stats': one}
  (logits_NK, _), new = model.apply(variables, x_NHWC, **options)
  expected = jax.tree.map(lambda x: x.mean(0), of_steps['batch_stats'])
  assert_close(new['batch_stats'], expected, rtol=1e-5)
  init = model.init(jax.random.key(0), x_NHWC, train=False)
  assert jax.tree.map(jnp.shape, init) == jax.tree.map(jnp.shape, variables)
  # Evaluation has the same statistics at all steps.
  again = jax.tree.map(lambda x: jnp.stack([x] * SIZE), one)
  expected_NK, _ = separate.apply(
    {**variables, 'batch_stats': again}, x_NHWC, train=False
  )
  found_NK, _ = model.apply(variables, x_NHWC, train=False)
  assert_close(found_NK, expected_NK, rtol=1e-5)
  assert np.abs(found_NK - logits_NK).max() > 1e-3


def test_shared_statistics_serve_images_of_any_height():
  model, _, variables = of_options(step_statistics='shared')
  one = jax.tree.map(lambda x: x.mean(0), variables['batch_stats'])
  tall = jnp.ones((2, SIZE + 3, SIZE, 3))
  variables = {**variables, 'batch_stats': one}
  logits_NK, _ = model.apply(variables, tall, train=False)
  assert logits_NK.shape == (2, 10)


def test_an_image_ends_with_its_last_row_that_is_not_blank(assert_close):
  model, x_NHWC, variables = of_options(sequence='until_blank')
  short, rows = x_NHWC.at[:, 3:].set(0.25), 3
  found_NK, _ = model.apply(variables, short, train=False)
  whole = network('lstm', 'batch', 10, units=UNITS)
  first = jax.tree.map(lambda x: x[:rows], variables['batch_stats'])
  expected_NK, _ = whole.apply(
    {**variables, 'batch_stats': first}, short[:, :rows], train=False
  )
  assert_close(found_NK, expected_NK, rtol=1e-5)
  # A blank row in the middle is read.
  gap = x_NHWC.at[:, 2].set(0.25)
  found, expected = (
    each.apply(variables, gap, train=False)[0] for each in (model, whole)
  )
  assert_close(found, expected, rtol=1e-5)


def test_images_that_have_ended_are_in_no_steps_statistics(assert_close):
  model, x_NHWC, variables = of_options(sequence='until_blank')
  mixed = x_NHWC.at[:2, 3:].set(0.25)
  options = {'train': True, 'mutable': ['batch_stats']}
  _, new = model.apply(variables, mixed, **options)
  whole = network('lstm', 'batch', 10, units=UNITS)
  masks = [jnp.ones(6, bool), jnp.arange(6) >= 2]
  all_of, longer = (
    whole.apply(variables, mixed, mask=mask, **options)[1] for mask in masks
  )
  stats = [
    tree['batch_stats']['cell']['input']['norm']['mean']
    for tree in (new, all_of, longer)
  ]
  found, of_all, of_longer = stats
  assert_close(found[:3], of_all[:3], rtol=1e-5)
  assert_close(found[3:], of_longer[3:], rtol=1e-5)
  assert np.abs(of_all - of_longer).max() > 1e-3


@pytest.mark.parametrize('name', ['step_statistics', 'sequence'])
def test_another_choice_is_refused(name):
  model = network('lstm', 'batch', 10, **{name: 'both'})
  with pytest.raises(ValueError, match=rf"{name} = 'both': this network has"):
    models.shapes(model, SIZE)
