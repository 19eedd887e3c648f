"""The training step, pure; and the call that makes many of them."""

from collections.abc import Callable

import flax.linen as nn
import jax
import optax

from bnresearch import build, shards
from bnresearch.engine import objective, parallel
from bnresearch.engine.state import State
from bnresearch.engine.stream import Examples

_INPUTS = 0x696E70  # no number of a pass

Metrics = dict[str, jax.Array]
TrainStep = Callable[[State, Examples, jax.Array], tuple[State, Metrics]]


def inputs_key(key: jax.Array, step: jax.Array | int) -> jax.Array:
  """Returns the key by which a step makes its batch ready, from the run's."""
  return jax.random.fold_in(jax.random.fold_in(key, step), _INPUTS)


def make_train_step(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  inputs: build.Inputs,
  passes: objective.Passes = ((1.0,),),
  backend: str = 'jit',
) -> TrainStep:
  """Returns `train_step(state, batch, key) -> (state, metrics)`, pure.

  `key` is the run's; each step folds its number into it. A step makes its
  batch ready by `inputs`, see `build.inputs`, and is then one or more `passes`,
  see `objective.passes`: each goes forward and backward, updates the
  parameters and lets the statistics follow. The metrics are those of the
  network's own logits on this batch in the first pass, before any update: mean
  'loss' in nats, and 'accuracy' by the labels, also where these are mixed.

  Under `jax.set_mesh` the batch is spread over its devices, by `backend`, see
  `parallel.py`.
  """

  gradients = [
    parallel.spread(_gradient(model, weights), backend) for weights in passes
  ]

  def train_step(state, batch, key):
    batch = shards.spread(batch)
    x_NHWC, targets_NK = inputs(
      inputs_key(key, state.step), batch.images, batch.labels
    )
    key = jax.random.fold_in(key, state.step)
    logits = []
    for k, gradient in enumerate(gradients):
      dropout = jax.random.fold_in(key, k) if k else key
      grads, collections, logits_NK = gradient(
        state.params, state.collections, (x_NHWC, targets_NK), dropout
      )
      updates, opt_state = optimizer.update(
        grads, state.opt_state, state.params
      )
      params = optax.apply_updates(state.params, updates)
      state = State(state.step, params, collections, opt_state)
      logits.append(logits_NK)
    loss_N = objective.cross_entropy(logits[0], targets_NK)
    correct_N = objective.correct(logits[0], batch.labels)
    metrics = {'loss': loss_N.mean(), 'accuracy': correct_N.mean()}
    return state.replace(step=state.step + 1), metrics

  return train_step


def _gradient(model, weights):
  """Returns the gradient of a pass, in which the heads' losses weigh so."""

  def gradient(params, collections, batch, key):
    x_NHWC, targets_NK = batch

    def loss_fn(params):
      (logits_NK, taps), new = model.apply(
        {'params': params, **collections},
        x_NHWC,
        train=True,
        mutable=list(collections),
        rngs={'dropout': key},
      )
      heads = objective.heads(logits_NK, taps)
      loss = objective.weighted_loss(heads, targets_NK, weights)
      return loss, (logits_NK, new)

    grads, (logits_NK, new) = jax.grad(loss_fn, has_aux=True)(params)
    return grads, new, logits_NK

  return gradient
