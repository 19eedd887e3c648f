"""Internal covariate shift by gradients. Santurkar et al. 2018, 1805.11604.

Definition 2.1: `G` is a layer's gradient, `G'` the same on the same examples
after the layers below have made their update. Here the update is the
optimizer's own next one, and the parameters below are all those that the
forward pass meets before the layer's, those of normalizers included.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView, _trees

SCALARS = ('cosine', 'relative')
WALKS = True


def measure(view: NetworkView) -> dict[str, jax.Array]:
  """Returns how far the gradient of each layer moves.

  {layer/norm: ||G' - G||, in nats per unit; layer/relative: ||G' - G|| / ||G||;
  layer/cosine: of the angle between both}. 'relative' and 'cosine' are means
  over the layers that have parameters below. It takes a gradient per layer.
  """
  order = view.order.parameters
  result = {}
  for layer, paths in _trees.layers(order).items():
    below = order[: order.index(paths[0])]
    if not below:
      continue
    chosen = {path: jnp.bool_(path in below) for path in order}
    there = _trees.moved_in(view.params, view.update, chosen)
    found = _shift(view.gradient, view.gradient_at(there))
    of_layer = {name: _trees.together(x, paths) for name, x in found.items()}
    result |= {f'{layer}/{k}': x for k, x in _numbers(of_layer).items()}
  for name in SCALARS:
    of_layers = [x for key, x in result.items() if key.endswith(f'/{name}')]
    result[name] = jnp.stack(of_layers or [jnp.array(jnp.nan)]).mean()
  return result


@jax.jit
def _shift(before, after):
  """Returns squares and products of two gradients, by parameter."""
  moved = _trees.moved(after, before, -1)
  return {
    'moved': _trees.dots(moved, moved),
    'product': _trees.dots(before, after),
    'before': _trees.dots(before, before),
    'after': _trees.dots(after, after),
  }


@jax.jit
def _numbers(sums):
  distance, length = jnp.sqrt(sums['moved']), jnp.sqrt(sums['before'])
  return {
    'norm': distance,
    'relative': distance / length,
    'cosine': sums['product'] / (length * jnp.sqrt(sums['after'])),
  }
