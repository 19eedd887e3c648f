"""An update of a part of a network: the rest stays as it is.

Zero gradients would not do that: a velocity, a decay or Adam's moments move a
parameter even so.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from bnresearch.training.state import State


def variables(network: nn.Module, x_NHWC: jax.Array) -> dict[str, Any]:
  """Returns the shapes of what a network reads, without computing anything.

  Args:
    network: a part of another one, see `models.up_to_head`.
    x_NHWC: its input.
  """

  def init():
    one = jnp.zeros((1, *x_NHWC.shape[1:]), x_NHWC.dtype)
    return network.init(jax.random.key(0), one, train=False)

  return jax.eval_shape(init)


def picked(tree: Mapping[str, Any], like: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the leaves of nested dicts that another tree has, too."""
  return {
    name: picked(tree[name], inside)
    if isinstance(inside, Mapping)
    else tree[name]
    for name, inside in like.items()
  }


def merged(tree: Mapping[str, Any], part: Mapping[str, Any]) -> dict[str, Any]:
  """Returns nested dicts with the leaves of `part` in place of their own."""
  return {
    name: inside
    if name not in part
    else merged(inside, part[name])
    if isinstance(inside, Mapping)
    else part[name]
    for name, inside in tree.items()
  }


def updated(
  state: State,
  optimizer: optax.GradientTransformation,
  grads: Mapping[str, Any],
  collections: Mapping[str, Any],
) -> State:
  """Returns the state after one update of the parameters that have gradients.

  The others keep their values, and the optimizer's about them; its counters,
  such as that of Adam's bias correction, count all updates.

  Args:
    state: before it.
    optimizer: of all parameters.
    grads: gradients, of all parameters or some.
    collections: new values of all collections or some.
  """
  zeros = jax.tree.map(jnp.zeros_like, state.params)
  updates, opt_state = optimizer.update(
    merged(zeros, grads), state.opt_state, state.params
  )
  params = optax.apply_updates(state.params, updates)
  new = state.replace(
    params=params,
    collections=merged(state.collections, collections),
    opt_state=opt_state,
  )
  if jax.tree.structure(grads) == jax.tree.structure(state.params):
    return new
  no = jax.tree.map(lambda _: False, state.params)
  moves = merged(no, jax.tree.map(lambda _: True, grads))
  of_optimizer = optax.tree_map_params(
    optimizer,
    lambda _, moves: moves,
    opt_state,
    moves,
    transform_non_params=lambda _: True,
  )
  return new.replace(
    params=_where(moves, params, state.params),
    opt_state=_where(of_optimizer, opt_state, state.opt_state),
  )


def _where(moves, new, old):
  return jax.tree.map(
    lambda moves, new, old: new if moves else old, moves, new, old
  )
