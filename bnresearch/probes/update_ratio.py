"""How far the next update moves a layer's weights, for their size.

Of scale-invariant weights, those below a normalizer, only the direction counts:
the angle between w and w + update (Kosson et al. 2023, 2305.17212), and the
effective learning rate, learning rate / ||w||^2 (van Laarhoven 2017,
1706.05350). Here the optimizer's own update says what the learning rate is:
||update|| / ||gradient||, which is the learning rate of plain SGD; of others it
includes momentum, or the division by Adam's second moment, and weight decay.
The update is the next one, on the fixed batch of gradients.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView, _trees

SCALARS = ('ratio', 'angle', 'rate')


def measure(view: NetworkView) -> dict[str, jax.Array]:
  """Returns four numbers for the kernel of each layer.

  {layer/ratio: ||update|| / ||w||; layer/angle: in radians; layer/rate: the
  effective learning rate, ||update|| / (||gradient|| ||w||^2), NaN without a
  gradient; layer/norm: ||w||, in the kernel's units}. The scalars are means
  over layers.
  """
  trees = (view.params, view.update, view.gradient)
  weights, updates, gradients = map(_trees.by_path, trees)
  result, of_layers = {}, []
  for layer in _trees.layers(view.order.parameters):
    path = f'{layer}/kernel'.removeprefix('/')
    found = _numbers(weights[path], updates[path], gradients[path])
    of_layers.append(found)
    result |= {f'{layer}/{name}': x for name, x in found.items()}
  for name in SCALARS:
    result[name] = jnp.stack([x[name] for x in of_layers]).mean()
  return result


def _numbers(w, update, gradient):
  w, update = w.ravel(), update.ravel()
  norm, length = _norm(w), _norm(update)
  along = jnp.vdot(update, w / norm)
  # Of the angle's cosine nothing is left in float32 if the angle is small.
  across = _norm(update - along * (w / norm))
  return {
    'ratio': length / norm,
    'angle': jnp.arctan2(across, norm + along),
    'rate': length / (_norm(gradient.ravel()) * norm**2),
    'norm': norm,
  }


def _norm(x):
  """Returns the Euclidean norm; the squares of small numbers do not vanish."""
  largest = jnp.abs(x).max()
  unit = jnp.where(largest > 0, largest, 1)
  return unit * jnp.linalg.norm(x / unit)
