"""Auxiliary heads in what is minimized: none, weighted, alternating."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from bnresearch import lookup, models
from bnresearch.models import AUXILIARY, Layers
from bnresearch.models._layers import Dense, Logits
from bnresearch.models._network_call import NetworkCall
from bnresearch.training import (
  objective,
  optimizer,
  parallel,
  part,
  state,
  step,
  stream,
)
from configs import default
from tests.published import images, size_of, small

RATE = 0.1
NAN = float('nan')
UPWARDS = ((0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1.0, 0.0, 0.0))


class TwoHeaded(nn.Module):
  """Three layers, with a head on each of the two lower ones."""

  num_classes: int
  layers: Layers
  auxiliary_heads: bool = True

  @nn.compact
  def __call__(self, x_NHWC, *, train, mask=None):
    call = NetworkCall(self, x_NHWC, train=train, mask=mask)
    x = call.images_NHWC
    for k in (1, 2, 3):
      x = Dense(5, name=f'layer_{k}')(x, call)
      if k < 3 and self.auxiliary_heads:
        head = Logits(self.num_classes, name=f'auxiliary_{k}')
        if call.ends_with(head, x):
          return call.end()
    return Logits(self.num_classes, name='logits')(x, call), call.taps


def made(norm='batch'):
  cls = lookup.find('norms', norm).Norm
  model = TwoHeaded(4, Layers(norm=lambda path: cls, min_width=1))
  x_NHWC = images(3, N=12)
  batch = stream.Examples(x_NHWC, jnp.arange(12) % 4)
  first = state.create(model, optax.sgd(RATE), (3, 3, 3), seed=0)
  return model, batch, first


def advanced(model, batch, first, passes, updates=None, **options):
  train_step = step.make_train_step(
    model,
    updates or optax.sgd(RATE),
    lambda key, x, y: (x, y),
    passes,
    **options,
  )
  return jax.jit(train_step)(first, batch, jax.random.key(0))


def moved(before, after):
  """Returns the layers of which some variable differs."""
  return {
    layer
    for layer in before
    if any(
      jnp.any(a != b)
      for a, b in zip(*map(jax.tree.leaves, (before[layer], after[layer])))
    )
  }


def by_hand(model, batch, now, weights):
  """Returns the state after one update of the heads' weighted losses."""

  def loss(params):
    variables = {'params': params, **now.collections}
    (logits, taps), new = model.apply(
      variables, batch.images, train=True, mutable=['batch_stats']
    )
    heads = [logits, taps[f'{AUXILIARY}1'], taps[f'{AUXILIARY}2']]
    rows = jnp.arange(len(batch.labels))
    losses = [-jax.nn.log_softmax(h)[rows, batch.labels].mean() for h in heads]
    return sum(w * each for w, each in zip(weights, losses)), new

  gradient, new = jax.grad(loss, has_aux=True)(now.params)
  params = jax.tree.map(lambda p, g: p - RATE * g, now.params, gradient)
  return now.replace(params=params, collections=new)


def test_the_passes_of_a_step_are_of_the_heads():
  passes = objective.passes
  assert passes(1, 'weighted', 0.3) == ((1.0,),)
  assert passes(3, 'none', 0.3) == ((1.0, 0.0, 0.0),)
  assert passes(3, 'weighted', 0.3) == ((1.0, 0.3, 0.3),)
  assert passes(3, 'alternating_whole', 0.3) == (
    (1.0, 0.0, 0.0),
    (0.0, 1.0, 0.0),
    (0.0, 0.0, 1.0),
  )
  assert passes(3, 'alternating', 0.3) == UPWARDS


@pytest.mark.parametrize(
  'passes',
  [
    ((1.0, 0.0, 0.0),),
    ((1.0, 0.3, 0.3),),
    ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
  ],
  ids=['none', 'weighted', 'alternating'],
)
def test_a_step_is_an_update_of_each_of_its_passes(passes, assert_close):
  model, batch, first = made()
  after, metrics = advanced(model, batch, first, passes)
  expected = first
  for weights in passes:
    expected = by_hand(model, batch, expected, weights)
  assert_close(after.params, expected.params, rtol=1e-5)
  # Each pass lets the statistics follow.
  assert_close(after.collections, expected.collections, rtol=1e-5)
  assert int(after.step) == 1
  # What is reported is the network's own loss, before any update.
  logits, _ = model.apply(
    {'params': first.params, **first.collections}, batch.images, train=True
  )
  loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
  assert metrics['loss'] == pytest.approx(float(loss.mean()), rel=1e-5)


# All that a pass on each head goes through; the network's own is 0.
BELOW = {
  1: {'layer_1', 'auxiliary_1'},
  2: {'layer_1', 'layer_2', 'auxiliary_2'},
  0: {'layer_1', 'layer_2', 'layer_3', 'logits'},
}


@pytest.mark.parametrize('head', BELOW)
@pytest.mark.parametrize('name', optimizer.OPTIONS)
def test_a_pass_that_is_cut_changes_nothing_above_its_head(name, head):
  model, batch, first = made()
  options = dict.fromkeys(('momentum', 'weight_decay', 'l2', 'clip_norm'), 0.1)
  updates = optimizer.make(10, name=name, learning_rate=RATE, **options)
  # What the optimizer knows of a parameter would move it without a gradient.
  opt_state = jax.tree.map(
    lambda x: x + 1 if x.ndim else x, updates.init(first.params)
  )
  first = first.replace(opt_state=opt_state)
  passes = (tuple(float(k == head) for k in range(3)),)
  after, _ = advanced(model, batch, first, passes, updates, cut=True)
  assert moved(first.params, after.params) == BELOW[head]
  stats = 'batch_stats'
  assert moved(first.collections[stats], after.collections[stats]) == {
    name for name in BELOW[head] if name.startswith('layer')
  }
  for before, now in zip(*map(layers_of, (opt_state, after.opt_state))):
    assert moved(before, now) <= BELOW[head]
  if name in ('adam', 'lamb'):
    assert len(layers_of(opt_state)) == 2  # both moments


def layers_of(opt_state):
  """Returns the trees of an optimizer's state that are like the parameters."""
  is_tree = lambda x: isinstance(x, dict)
  return [*filter(is_tree, jax.tree.leaves(opt_state, is_leaf=is_tree))]


def test_alternating_passes_go_up_to_each_head_in_turn(assert_close):
  model, batch, first = made()
  after, metrics = advanced(model, batch, first, UPWARDS, cut=True)
  expected, loss = first, None
  for head, weights in zip((1, 2, 0), UPWARDS):
    new = by_hand(model, batch, expected, weights)
    below = lambda old, new, head=head: {
      layer: new[layer] if layer in BELOW[head] else old[layer] for layer in old
    }
    variables = {'params': expected.params, **expected.collections}
    logits, _ = model.apply(variables, batch.images, train=True)
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, batch.labels)
    stats = below(
      expected.collections['batch_stats'], new.collections['batch_stats']
    )
    expected = expected.replace(
      params=below(expected.params, new.params),
      collections={'batch_stats': stats},
    )
  assert_close(after.params, expected.params, rtol=1e-5)
  assert_close(after.collections, expected.collections, rtol=1e-5)
  # What is reported is the network's own loss, in the last pass.
  assert metrics['loss'] == pytest.approx(float(loss.mean()), rel=1e-5)


@pytest.mark.parametrize('backend', ['shard_map', 'pmap'])
def test_passes_are_cut_on_several_devices(backend, assert_close):
  model, batch, first = made('layer')
  (expected, _), (found, _) = (
    _on(devices, model, batch, first, backend) for devices in (1, 4)
  )
  assert_close(found.params, expected.params, rtol=1e-5)


def _on(devices, *arguments):
  *made, backend = arguments
  with jax.set_mesh(parallel.mesh_of(jax.devices()[:devices])):
    return advanced(*made, UPWARDS, cut=True, backend=backend, microbatches=3)


def test_a_pass_that_is_cut_costs_what_is_below_its_head():
  model = small('googlenet', blocks=(0, 1, 1), auxiliary_heads=True)
  x_NHWC = images(size_of('googlenet'))
  variables = models.shapes(model, size_of('googlenet'))

  def cost(network):
    def loss(variables):
      (logits_NK, _), new = network.apply(
        variables, x_NHWC, train=True, mutable=['batch_stats']
      )
      return logits_NK.sum(), new

    own = part.picked(variables, part.variables(network, x_NHWC))
    gradient = jax.jit(jax.grad(loss, has_aux=True))
    return gradient.lower(own).compile().cost_analysis()['flops']

  head, own = (cost(models.up_to_head(model, k)) for k in (1, 0))
  assert head < 0.99 * own
  assert own < cost(model)  # whose other head's statistics follow


@pytest.mark.parametrize(
  'name',
  [
    name
    for name in lookup.names('models')
    if hasattr(lookup.find('models', name).Model, 'auxiliary_heads')
  ],
)
def test_a_network_up_to_a_head_is_a_part_of_it(name):
  model = small(name, auxiliary_heads=True)
  layers = {
    head: {*models.shapes(cut, size_of(name))['params']}
    for head in (0, 1)
    for cut in [models.up_to_head(model, head)]
  }
  assert layers[1] - layers[0] == {'auxiliary_1'}
  assert 'logits' in layers[0] - layers[1]
  assert layers[0] | layers[1] == (
    {*models.shapes(model, size_of(name))['params']} - {'auxiliary_2'}
  )
  with pytest.raises(
    ValueError, match=r'up_to_head = 3: this network has [12]'
  ):
    models.shapes(models.up_to_head(model, 3), size_of(name))


def test_heads_are_counted_whether_logits_keep_their_positions_or_not():
  for squeeze in (True, False):
    model = small(
      'googlenet', layers={'squeeze': squeeze}, auxiliary_heads=True
    )
    assert objective.count_heads(model, (8, 8, 3)) == 2


def test_without_their_loss_auxiliary_heads_stay():
  model, batch, first = made()
  after, _ = advanced(model, batch, first, ((1.0, 0.0, 0.0),))
  for head in ('auxiliary_1', 'auxiliary_2'):
    before = first.params[head]['kernel']
    np.testing.assert_array_equal(after.params[head]['kernel'], before)
  changed = after.params['logits']['kernel'] - first.params['logits']['kernel']
  assert jnp.any(changed != 0)


def test_all_updates_of_a_step_have_its_learning_rate():
  optim = default.get_config().optim
  with optim.unlocked():
    optim.update(schedule='step', decay_steps=2, decay_rate=0.5)
  updates = optimizer.make(10, 3, **optim)
  params = {'kernel': jnp.ones(1)}
  opt_state, rates = updates.init(params), []
  for _ in range(9):
    change, opt_state = updates.update({'kernel': jnp.ones(1)}, opt_state)
    rates.append(float(-change['kernel'][0]))
  np.testing.assert_allclose(rates, [0.1] * 6 + [0.05] * 3, rtol=1e-6)


@pytest.mark.parametrize('K', [6, 10])
def test_a_label_is_in_the_top_5_by_the_order_of_the_logits(K):
  random = np.random.RandomState(0)
  logits_NK = random.randint(0, 5, (200, K)).astype(np.float32)  # many equal
  labels_N = random.randint(0, K, 200)
  order_NK = np.argsort(-logits_NK, axis=1, kind='stable')
  for count, function in ((1, objective.correct), (5, objective.in_top5)):
    expected_N = (order_NK[:, :count] == labels_N[:, None]).any(1)
    assert 0 < expected_N.mean() < 1
    found_N = function(jnp.asarray(logits_NK), jnp.asarray(labels_N))
    np.testing.assert_array_equal(found_N, expected_N)


def test_what_is_no_number_is_no_hit():
  logits_NK = jnp.where(jnp.arange(10)[None] == 9, 1.0, jnp.full((1, 10), NAN))
  assert not objective.in_top5(logits_NK, jnp.array([9]))
  assert not objective.in_top5(jnp.full((1, 10), NAN), jnp.array([9]))
