"""The loss along a line and in a plane. Li et al. 2018, 1712.09913, section 4.

Directions are Gaussian, drawn once for all runs, and normalized by filter: each
output channel of a kernel gets the norm of the channel in the network, so that
a rescaled filter, with BN after it, leaves the picture as it is. As in the
paper's figures, biases and the parameters of normalizers do not move.
"""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp

from bnresearch.probes import NetworkView, _trees

SCALARS = ('rise',)


def measure(
  view: NetworkView,
  *,
  slice_points: int,
  plane_points: int,
  slice_radius: float,
  slice_seed: int,
) -> dict[str, jax.Array]:
  """Returns losses (A,) on a line and (B, B) in a plane, in nats.

  'line' and 'plane' are the losses at `params + a * first (+ b * second)`, with
  a by row and b by column; 'line_at' (A,) and 'plane_at' (B,) are the values of
  a and b: 1 goes as far as each filter is long. 'rise' is the mean of the line
  less the loss of the network itself. It takes A + B^2 + 1 losses, of a third
  of a gradient each.

  Args:
    view: of the network.
    slice_points: A.
    plane_points: B; 0 for no plane.
    slice_radius: the largest a and b.
    slice_seed: of both directions.
  """
  keys = jax.random.split(jax.random.key(slice_seed))
  first, second = (_direction(view.params, key) for key in keys)
  # What is made in the body of a loop must not stay in the view.
  here, _ = view.loss_at(view.params), view.base

  def loss(place):
    a, b = place
    there = _trees.moved(view.params, first, a)
    return view.loss_at(_trees.moved(there, second, b))

  spread = functools.partial(jnp.linspace, -slice_radius, slice_radius)
  along, across = spread(slice_points), spread(plane_points)
  plane = [x.ravel() for x in jnp.meshgrid(across, across, indexing='ij')]
  line = along, jnp.zeros_like(along)
  places = tuple(jnp.concatenate(both) for both in zip(line, plane))
  # The body of this loop has no gradient, which XLA would make slow.
  losses = jax.lax.map(loss, places)
  line, plane = losses[:slice_points], losses[slice_points:]
  found = {'line': line, 'line_at': along, 'rise': line.mean() - here}
  if plane_points:
    plane = plane.reshape(plane_points, plane_points)
    found |= {'plane': plane, 'plane_at': across}
  return found


@jax.jit
def _direction(params, key):
  """Returns a random direction like `params`, normalized by filter."""
  flat, tree = jax.flatten_util.ravel_pytree(params)
  drawn = tree(_trees.gaussian(key, flat))

  def normalized(path, d, x):
    if _trees.name(path).rpartition('/')[2] != 'kernel':
      return jnp.zeros_like(x)
    axes = tuple(range(d.ndim - 1))
    square = lambda x: jnp.square(x).sum(axes, keepdims=True)
    return d * jnp.sqrt(square(x) / square(d))

  return jax.tree_util.tree_map_with_path(normalized, drawn, params)
