"""Views of networks for the tests of probes: by hand, and of real models."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import optax

from bnresearch import lookup, models
from bnresearch.evaluation import measure
from bnresearch.probes import Batch, NetworkView, functions
from configs import default

NOTHING = Batch(jnp.zeros((0, 1)), jnp.zeros(0, int))


def by_hand(
  params,
  loss=lambda params, batch: jnp.zeros(()),
  taps=lambda params, x: {},
  *,
  update=lambda gradient, opt_state, params: jax.tree.map(
    jnp.negative, gradient
  ),
  train=NOTHING,
  test=NOTHING,
  sites=(),
  activation='',
  classes=1,
  collections=None,
  of_batch=lambda params, collections, x: collections,
  epsilon=0.0,
):
  """Returns the view of a network that a test makes up.

  Args:
    params: a nested dict, in the order of its forward pass.
    loss: `loss(params, batch)`, a number.
    taps: `taps(params, images)`; offsets are added to what it returns, which
      nothing follows from.
    update: see `Functions`; plain gradient descent with a rate of 1.
    train, test: batches.
    sites: names of the taps, from the bottom up.
    activation: the name of the nonlinearity that follows each tap.
    classes: how many logits it has, all 0.
    collections: none, unless given.
    of_batch: see `Functions`.
    epsilon: see `NetworkView`.
  """

  def forward(params, collections, x, offsets):
    found = taps(params, x)
    return jnp.zeros((len(x), classes)), {
      name: value + offsets.get(name, 0) for name, value in found.items()
    }

  def loss_of(params, collections, batch, offsets):
    return loss(params, batch)

  layers = lambda params, collections, x, values: (None, {})
  made = functions(forward, loss_of, update, of_batch, layers)
  paths = tuple(flax.traverse_util.flatten_dict(params, sep='/'))
  places = {path: k for k, path in enumerate((*paths, *sites))}
  activations = dict.fromkeys(sites, activation)
  sites = tuple(sites)
  order = models.Order(sites, sites, paths, activations, places, {})
  state = params, collections or {}, ()
  return NetworkView(*state, train, test, made, order, epsilon)


def of_tap(x, activation='', labels=None):
  """Returns the view of a network whose one tap, 'tap', is its input `x`.

  Args:
    x: (N, ..., C).
    activation: the name of the nonlinearity that follows.
    labels: (N,), all 0 if None.
  """
  x = jnp.asarray(x)
  labels_N = jnp.zeros(len(x), int) if labels is None else jnp.asarray(labels)
  return by_hand(
    {},
    taps=lambda params, x: {'tap': x},
    test=Batch(x, labels_N),
    sites=['tap'],
    activation=activation,
    classes=int(labels_N.max()) + 1,
  )


def of_model(
  model,
  variables,
  train,
  test,
  *,
  statistics='ema',
  gradient_statistics='batch',
  optimizer=None,
  epsilon=1e-5,
):
  """Returns the view of a real network.

  Args:
    model: any of `bnresearch.models`.
    variables: of it.
    train, test: batches of its input.
    statistics: of taps.
    gradient_statistics: of losses and gradients.
    optimizer: before its first update; SGD with a rate of 0.1 if None.
    epsilon: see `NetworkView`.
  """
  optimizer = optimizer or optax.sgd(0.1)
  made = measure.functions_of(
    model, model, optimizer, (1.0,), statistics, gradient_statistics
  )
  params = variables['params']
  return NetworkView(
    params,
    {name: tree for name, tree in variables.items() if name != 'params'},
    optimizer.init(params),
    train,
    test,
    made,
    models.order(model, train.images_NHWC.shape[1:]),
    epsilon=epsilon,
    statistics=statistics,
    frozen=gradient_statistics == 'frozen',
  )


def measured(entry, view, **options):
  """Returns what a probe measures; other options than these are the knobs'."""
  known = lookup.keywords(entry.measure, default.get_config().probes)
  assert {*options} <= {*known}
  return entry.measure(view, **known | options)
