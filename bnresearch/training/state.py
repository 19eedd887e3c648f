"""The state of a run: all that a step changes, and nothing else."""

import hashlib
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import serialization, struct

# For what runs once: it takes half as long to compile, and gives the same bits.
COMPILED = {'xla_backend_optimization_level': 1}


class State(struct.PyTreeNode):
  """What is trained, checkpointed and restored.

  Attributes:
    step: number of completed updates, int32.
    params: the parameters.
    collections: all other state by collection name, `batch_stats` among it;
      {} for a network without any, so that one path serves both.
    opt_state: the optimizer's.
    average: of the parameters, see `average.py`; {} where none is kept.
  """

  step: jax.Array
  params: Any
  collections: Any
  opt_state: optax.OptState
  average: Any = struct.field(default_factory=dict)


def create(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  image_shape: tuple[int, int, int],
  seed: int,
  x_NHWC: jax.Array | None = None,
  *,
  averaged: bool = False,
) -> State:
  """Returns the state before the first update, a pure function of `seed`.

  It also depends on `x_NHWC`, a batch of the network's input, if there is one:
  the initializer 'lsuv' looks at it. If `averaged`, the average starts as the
  parameters.
  """
  if x_NHWC is None:
    x_NHWC = jnp.zeros((1, *image_shape))

  def init(key, x_NHWC):
    return traceable(model, optimizer, key, x_NHWC, averaged=averaged)

  compiled = jax.jit(init, compiler_options=COMPILED)
  return compiled(jax.random.key(seed), x_NHWC)


def traceable(
  model: nn.Module,
  optimizer: optax.GradientTransformation,
  key: jax.Array,
  x_NHWC: jax.Array,
  *,
  averaged: bool = False,
) -> State:
  """Does what `create` does, inside a function that will be compiled."""
  variables = model.init(key, x_NHWC, train=False)
  params = variables.pop('params')
  step = jnp.zeros((), jnp.int32)
  opt_state, average = optimizer.init(params), params if averaged else {}
  return State(step, params, variables, opt_state, average)


def nested(state: State | dict) -> dict[str, Any]:
  """Returns a state as nested dicts, its form on disk."""
  tree = serialization.to_state_dict(state)
  if not tree.get('average', True):  # the form from before averages
    del tree['average']
  return tree


def digest(state: State | dict) -> str:
  """Returns a hash of every byte of a state, by the path of its leaves."""
  hashed = hashlib.blake2b(digest_size=16)
  for path, leaf in jax.tree_util.tree_leaves_with_path(nested(state)):
    hashed.update(jax.tree_util.keystr(path).encode())
    hashed.update(np.ascontiguousarray(leaf).tobytes())
  return hashed.hexdigest()


def differences(saved: Any, wanted: Any) -> list[str]:
  """Returns a line for each leaf whose shape or dtype differs in two trees."""
  a, b = (
    {
      jax.tree_util.keystr(path, simple=True, separator='/'): (
        f'{np.dtype(leaf.dtype).name}{list(leaf.shape)}'
      )
      for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
    }
    for tree in (saved, wanted)
  )
  return [
    f'{name}: {a.get(name, "absent")} saved, {b.get(name, "absent")} wanted'
    for name in sorted(a.keys() | b.keys())
    if a.get(name) != b.get(name)
  ]
