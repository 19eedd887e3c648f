"""How much the loss rises nearby, straight up the gradient.

Foret et al. 2021, 2010.01412, equation 2: to first order, the largest loss
within a radius is at `w + radius * G / ||G||`. Kwon et al. 2021, 2102.11600,
equation 9, measure distance in units of each parameter: `||e / |w|||`; the
largest loss is then at `w + radius * w^2 G / ||w G||`. This does not change
where a rescaling of the parameters leaves the network as it is. Unlike their
code, we treat biases like the other parameters, and add nothing to |w|.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView, _trees

SCALARS = ('rise', 'adaptive_rise')
WALKS = True


def measure(
  view: NetworkView,
  *,
  sharpness_radius: float,
  adaptive_radius: float,
) -> dict[str, jax.Array]:
  """Returns two rises of the loss, in nats; NaN if the gradient is zero.

  It takes a gradient and three losses.

  Args:
    view: of the network.
    sharpness_radius: of 'rise', in units of the parameters.
    adaptive_radius: of 'adaptive_rise', where each parameter is the unit.
  """
  here, found = view.loss_at(view.params), {}
  steepest = _uphill(view.gradient), _uphill_by_size(view.gradient, view.params)
  radii = sharpness_radius, adaptive_radius
  for name, direction, radius in zip(SCALARS, steepest, radii):
    there = _trees.moved(view.params, direction, radius)
    found[name] = view.loss_at(there) - here
  return found


@jax.jit
def _uphill(gradient):
  norm = _trees.norm(gradient)
  return jax.tree.map(lambda g: g / norm, gradient)


@jax.jit
def _uphill_by_size(gradient, params):
  scaled = jax.tree.map(jnp.multiply, gradient, params)
  norm = _trees.norm(scaled)
  return jax.tree.map(lambda s, w: s * w / norm, scaled, params)
