"""The training step, pure; and the call that makes many of them."""

from collections.abc import Callable
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from bnresearch.engine import objective
from bnresearch.engine.state import State


class Examples(NamedTuple):
  """Images uint8 NHWC and labels int32 (N,); a batch, or a whole split."""

  images: jax.Array
  labels: jax.Array


Metrics = dict[str, jax.Array]
TrainStep = Callable[[State, Examples, jax.Array], tuple[State, Metrics]]


def make_train_step(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  pixels: Callable[[jax.Array], jax.Array],
  passes: objective.Passes = ((1.0,),),
) -> TrainStep:
  """Returns `train_step(state, batch, key) -> (state, metrics)`, pure.

  `key` is the run's; each step folds its number into it. A step is one or more
  `passes`, see `objective.passes`: each goes forward and backward, updates the
  parameters and lets the statistics follow. The metrics are those of the
  network's own logits on this batch in the first pass, before any update: mean
  'loss' in nats, 'accuracy'.
  """

  def one_pass(state, batch, dropout, weights):
    x_NHWC = pixels(batch.images)

    def loss_fn(params):
      (logits_NK, taps), collections = model.apply(
        {'params': params, **state.collections},
        x_NHWC,
        train=True,
        mutable=list(state.collections),
        rngs={'dropout': dropout},
      )
      heads = objective.heads(logits_NK, taps)
      loss = objective.weighted_loss(heads, batch.labels, weights)
      return loss, (logits_NK, collections)

    gradient = jax.grad(loss_fn, has_aux=True)
    grads, (logits_NK, collections) = gradient(state.params)
    updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
    params = optax.apply_updates(state.params, updates)
    return State(state.step, params, collections, opt_state), logits_NK

  def train_step(state, batch, key):
    key = jax.random.fold_in(key, state.step)
    logits = []
    for k, weights in enumerate(passes):
      dropout = jax.random.fold_in(key, k) if k else key
      state, logits_NK = one_pass(state, batch, dropout, weights)
      logits.append(logits_NK)
    loss_N = objective.cross_entropy(logits[0], batch.labels)
    correct_N = objective.correct(logits[0], batch.labels)
    metrics = {'loss': loss_N.mean(), 'accuracy': correct_N.mean()}
    return state.replace(step=state.step + 1), metrics

  return train_step


def make_advance(
  train_step: TrainStep,
  scan: str,
  example: tuple[State, Examples],
  batch_size: int,
) -> Callable[..., tuple[State, Metrics]]:
  """Returns `advance(state, split, indices_TN, key) -> (state, metrics)`.

  It makes T steps, the t-th on the examples `indices_TN[t]` of a split that
  lives on the device, and returns each step's metrics, (T,). The state that
  it is given is donated: use the returned one.

  Args:
    train_step: see `make_train_step`.
    scan: 'always' compiles the T steps into one `lax.scan`, 'never' calls the
      compiled step T times, 'auto' scans unless XLA runs the gradient of a
      convolution on a CPU, which inside a loop is about 50 times slower.
    example: a state and a split, for the shapes.
    batch_size: of the steps.
  """

  def batch_at(split, indices):
    # Rows of bytes: XLA gathers them six times faster than images.
    N, *image_shape = split.images.shape
    rows = split.images.reshape(N, -1)[indices]
    images = rows.reshape(*indices.shape, *image_shape)
    return Examples(images, split.labels[indices])

  def one(state, split, indices_N, key):
    return train_step(state, batch_at(split, indices_N), key)

  def scanned(state, split, indices_TN, key):
    # All T batches are gathered before the loop: a loop that holds the whole
    # split risks a copy of it in every step.
    return jax.lax.scan(
      lambda state, batch: train_step(state, batch, key),
      state,
      batch_at(split, indices_TN),
    )

  call_one = jax.jit(one, donate_argnums=0)

  def called(state, split, indices_TN, key):
    rows = []
    for indices_N in indices_TN:
      state, metrics = call_one(state, split, indices_N, key)
      rows.append(metrics)
    return state, jax.tree.map(lambda *column: jnp.stack(column), *rows)

  if scan == 'auto':
    state, split = example
    indices_N = jnp.zeros(batch_size, jnp.int32)
    program = jax.make_jaxpr(one)(state, split, indices_N, jax.random.key(0))
    convolves = 'conv_general_dilated' in str(program)
    slow = convolves and jax.default_backend() == 'cpu'
    scan = 'never' if slow else 'always'
  return called if scan == 'never' else jax.jit(scanned, donate_argnums=0)
