"""The training step, pure; and the call that makes many of them."""

import functools
from collections.abc import Callable

import flax.linen as nn
import jax
import optax

from bnresearch import models
from bnresearch.statistics import shards
from bnresearch.training import accumulation, objective, parallel, part
from bnresearch.training.state import State
from bnresearch.training.stream import Examples

_INPUTS = 0x696E70  # not the number of any pass

Metrics = dict[str, jax.Array]
# (key, images, labels) -> (the network's input, targets).
Inputs = Callable[..., tuple[jax.Array, jax.Array]]
TrainStep = Callable[[State, Examples, jax.Array], tuple[State, Metrics]]


def inputs_key(key: jax.Array, step: jax.Array | int) -> jax.Array:
  """Returns the key that prepares a step's batch, from the run's."""
  return jax.random.fold_in(jax.random.fold_in(key, step), _INPUTS)


def make_train_step(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  inputs: Inputs,
  passes: objective.Passes = ((1.0,),),
  backend: str = 'jit',
  *,
  cut: bool = False,
  microbatches: int = 1,
  average: float = 0.0,
  platform: str = '',
) -> TrainStep:
  """Returns `train_step(state, batch, key) -> (state, metrics)`, pure.

  `key` is the run's; each step folds its number into it. A step prepares its
  batch by `inputs`, then makes one or more `passes`, see `objective.passes`:
  each goes forward and backward, and updates the parameters and the running
  statistics. The metrics are those of the network's own logits in their first
  pass, before its update: mean 'loss' in nats, 'accuracy' and, for K > 5,
  'top5_accuracy', by the labels even where targets are mixed.

  Under `jax.set_mesh` the batch is split over its devices.

  Args:
    model, optimizer, inputs, passes: what a step is made of, see above.
    backend: how the batch is split, see `parallel.py`.
    cut: whether each pass, of one head alone, goes through the layers below
      that head only, and changes nothing else: no other parameter, no other
      statistic.
    microbatches: parts of each pass, see `accumulation.py`.
    average: decay of the average of the parameters, which is updated once a
      step, see `average.py`; 0 for none.
    platform: that it will be lowered for, if not for this process's.
  """
  made = [_pass(model, weights, cut) for weights in passes]
  split = functools.partial(
    _split, backend=backend, microbatches=microbatches, platform=platform
  )
  own = max(range(len(passes)), key=lambda k: passes[k][0] if cut else -k)

  def train_step(state, batch, key):
    batch = shards.split(batch)
    x_NHWC, targets_NK = inputs(
      inputs_key(key, state.step), batch.images, batch.labels
    )
    key = jax.random.fold_in(key, state.step)
    logits = []
    for k, (network, gradient) in enumerate(made):
      dropout = jax.random.fold_in(key, k) if k else key
      params, collections = _read(state, network, x_NHWC)
      grads, collections, logits_NK = split(gradient)(
        params, collections, (x_NHWC, targets_NK), dropout
      )
      state = part.updated(state, optimizer, grads, collections)
      logits.append(logits_NK)
    metrics = _metrics(logits[own], targets_NK, batch.labels)
    return _followed(state, average), metrics

  return train_step


def _metrics(logits_NK, targets_NK, labels_N):
  loss_N = objective.cross_entropy(logits_NK, targets_NK)
  correct_N = objective.correct(logits_NK, labels_N)
  result = {'loss': loss_N.mean(), 'accuracy': correct_N.mean()}
  if logits_NK.shape[-1] > 5:
    result['top5_accuracy'] = objective.in_top5(logits_NK, labels_N).mean()
  return result


def _followed(state, decay):
  """Counts the step, and updates the average of the parameters."""
  if decay:
    follow = optax.incremental_update
    average = follow(state.params, state.average, 1 - decay)
    state = state.replace(average=average)
  return state.replace(step=state.step + 1)


def _pass(model, weights, cut):
  """Returns the network of a pass, if it is cut, and the gradient of its loss.

  That network is the one up to the head whose loss alone has a weight.
  """
  if not cut:
    return None, _gradient(model, weights)
  ((head, weight),) = [(head, w) for head, w in enumerate(weights) if w]
  network = models.up_to_head(model, head)
  return network, _gradient(network, (weight,))


def _split(gradient, backend, microbatches, platform):
  """Returns a gradient of a batch, split over devices and in parts."""
  spread = parallel.distributed(gradient, backend)
  return accumulation.in_parts(spread, microbatches, platform)


def _read(state, network, x_NHWC):
  """Returns the parameters and collections that a pass reads, maybe all."""
  if network is None:
    return state.params, state.collections
  reads = part.variables(network, x_NHWC)
  params = part.picked(state.params, reads.pop('params'))
  return params, part.picked(state.collections, reads)


def _gradient(model, weights):
  """Returns the gradient of a pass with these weights of the heads' losses."""

  def gradient(params, collections, batch, key):
    x_NHWC, targets_NK = batch

    def loss_fn(params):
      (logits, taps), new = model.apply(
        {'params': params, **collections},
        x_NHWC,
        train=True,
        mutable=list(collections),
        rngs={'dropout': key},
      )
      heads = objective.heads(logits, taps)
      loss = objective.weighted_loss(heads, targets_NK, weights)
      return loss, (heads[0], new)

    grads, (logits_NK, new) = jax.grad(loss_fn, has_aux=True)(params)
    return grads, new, logits_NK

  return gradient
