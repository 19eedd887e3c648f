"""Singular values of each layer's Jacobian, and of the whole network's.

Ioffe & Szegedy 2015, 1502.03167, section 3.3, conjecture that BN brings the
singular values of layer Jacobians close to 1, which preserves gradients
(Saxe et al. 2013, 1312.6120).

A layer is what lies between a tap and the taps, or the image, that it is made
of: nonlinearity, linear map, normalizer, all branches. The Jacobian is that of
one example. Statistics of normalizers stand still, whichever
`config.probes.statistics` names, so no example depends on another; what a
change of the batch's statistics adds is left out. Early in training, running
statistics lag behind: 'batch' is then what the network trains with.

Where one side has at most 128 numbers, all singular values are exact. Otherwise
there are two estimates: the mean square, by Hutchinson's from one random vector
an example, and the largest one, by power iteration, from below.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.extend
import jax.numpy as jnp

from bnresearch.probes import NetworkView, _trees
from bnresearch.statistics import shards

SCALARS = ('rms', 'largest', 'network/rms', 'network/largest')
SMALL = 128
ITERATIONS = 10


class _Map(NamedTuple):
  """A function of some arrays, each (N, ...), example by example."""

  function: Callable[..., jax.Array]
  inputs: tuple[jax.Array, ...]


def measure(
  view: NetworkView, *, jacobian_examples: int
) -> dict[str, jax.Array]:
  """Returns singular values s_1 >= s_2 ..., means over examples.

  {tap/rms: sqrt(mean of the squares); tap/largest: s_1; tap/singular_values:
  all of them by rank, where they are exact}, and likewise 'logits' for the
  layer of the logits, and 'network' for all from image to logits. 'rms' and
  'largest' are geometric means over the layers. An exact layer takes as many
  passes through it as its narrow side has numbers, the others about 20.

  Args:
    view: of the network.
    jacobian_examples: the first ones of the test batch.
  """
  images = view.test.images_NHWC[:jacobian_examples]
  images = shards.undivided(images)
  maps = _layers(view, images)
  maps['network'] = _Map(lambda x: _forward(view, x, {})[0], (images,))
  found = {name: _singular_values(layer) for name, layer in maps.items()}
  result = {}
  for name in ('rms', 'largest'):
    of_layers = [x[name] for layer, x in found.items() if layer != 'network']
    result[name] = jnp.exp(jnp.log(jnp.stack(of_layers)).mean())
  for layer, numbers in found.items():
    result |= {f'{layer}/{name}': x for name, x in numbers.items()}
  return result


def _forward(view, images, values):
  return view.functions.layers(view.params, view.still, images, values)


def _layers(view, images):
  """Returns {tap: _Map}, and 'logits'."""
  N, _ = images.shape[0], view.still
  shapes = {
    site: jax.ShapeDtypeStruct((N, *view.order.shapes[site]), images.dtype)
    for site in view.order.open
  }
  traced, (_, found) = jax.make_jaxpr(
    lambda images, values: _forward(view, images, values), return_shape=True
  )(images, shapes)
  # Images, then values by name, as a dict is flattened.
  inputs = ['images', *sorted(shapes)]
  outputs = ['logits', *sorted(found)]
  parts = {name: _part(traced, k) for k, name in enumerate(outputs)}
  at = {'images': images}
  for site in view.order.open:
    function, used = parts[site]
    at[site] = function(*(at[inputs[k]] for k in used))
  return {
    name: _Map(parts[name][0], tuple(at[inputs[k]] for k in parts[name][1]))
    for name in (*view.order.open, 'logits')
  }


def _part(traced, output):
  """Returns the program of one output, and the places of its inputs."""
  program = traced.jaxpr
  result = program.outvars[output]
  needed, kept = {result}, []
  for equation in reversed(program.eqns):
    if needed & {*equation.outvars}:
      kept.append(equation)
      needed |= {x for x in equation.invars if isinstance(x, type(result))}
  used = [k for k, x in enumerate(program.invars) if x in needed]
  pruned = program.replace(
    eqns=kept[::-1],
    invars=[program.invars[k] for k in used],
    outvars=[result],
  )
  closed = jax.extend.core.ClosedJaxpr(pruned, traced.consts)
  run = jax.extend.core.jaxpr_as_fun(closed)
  return lambda *values: run(*values)[0], used


def _singular_values(layer):
  y, pull = jax.vjp(layer.function, *layer.inputs)
  # Not `jax.linearize`: some operations have a rule for the backward pass only.
  transposed = jax.linear_transpose(pull, y)
  push = lambda *v: transposed(v)[0]
  rows = math.prod(y.shape[1:])
  columns = sum(math.prod(x.shape[1:]) for x in layer.inputs)
  if min(rows, columns) > SMALL:
    return _estimated(push, pull, layer.inputs, min(rows, columns))
  if rows <= columns:
    J = jax.vmap(lambda e: _flat(pull(_of_all(e, y))))(jnp.eye(rows))
  else:
    J = jax.vmap(lambda e: _flat([push(*_split(e, layer.inputs))]))(
      jnp.eye(columns)
    )
  found = jnp.linalg.svd(jnp.moveaxis(J, 1, 0), compute_uv=False)
  return {
    'rms': jnp.sqrt(jnp.square(found).mean(-1)).mean(),
    'largest': found[:, 0].mean(),
    'singular_values': found.mean(0),
  }


def _estimated(push, pull, inputs, rank):
  keys = jax.random.split(jax.random.key(0), len(inputs))
  v = _of_unit_length(map(_trees.gaussian, keys, inputs))

  def again(k, carry):
    v, gains_N, first_N = carry
    w = push(*v)
    gains_N = jnp.linalg.norm(_flat([w]), axis=-1)
    return _of_unit_length(pull(w)), gains_N, jnp.where(k, first_N, gains_N)

  zeros_N = jnp.zeros(v[0].shape[0], v[0].dtype)
  start = v, zeros_N, zeros_N
  _, gains_N, first_N = jax.lax.fori_loop(0, ITERATIONS, again, start)
  # A random unit vector of D numbers gains the sum of the squares over D.
  D = _flat(v).shape[1]
  return {
    'rms': jnp.sqrt(D / rank * jnp.square(first_N).mean()),
    'largest': gains_N.mean(),
  }


def _of_unit_length(v):
  v = tuple(v)
  length_N = jnp.linalg.norm(_flat(v), axis=-1)
  inverse_N = jnp.where(length_N > 0, 1 / length_N, 0)
  return tuple(
    x * inverse_N.reshape(-1, *[1] * (x.ndim - 1)).astype(x.dtype) for x in v
  )


def _flat(arrays):
  """Returns arrays (N, ...) side by side, (N, D)."""
  return jnp.concatenate([x.reshape(x.shape[0], -1) for x in arrays], axis=1)


def _of_all(e, like):
  """Returns the same vector for all examples, in the shape of `like`."""
  one = e.reshape(1, *like.shape[1:]).astype(like.dtype)
  return jnp.broadcast_to(one, like.shape)


def _split(e, inputs):
  ends, result = 0, []
  for x in inputs:
    size = math.prod(x.shape[1:])
    result.append(_of_all(e[ends : ends + size], x))
    ends += size
  return result
