"""How large the gradient of each parameter is: does it vanish or explode?

Glorot & Bengio 2010; Ioffe & Szegedy 2015, section 2. `growth` is 1 where the
gradient is as large at the bottom as at the top; below 1 it vanishes on its way
down.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView, _trees

SCALARS = ('norm', 'growth')


def measure(view: NetworkView) -> dict[str, jax.Array]:
  """Returns Euclidean norms of the loss's gradient, in nats per unit.

  {path: norm} for each parameter; 'norm', of all together; 'growth', the norm
  of the lowest layer's gradient over that of the highest.
  """
  squares = _trees.dots(view.gradient, view.gradient)
  own = [*_trees.layers(view.order.parameters).values()]
  lowest, highest = (
    _trees.together(squares, paths) for paths in (own[0], own[-1])
  )
  return {
    'norm': jnp.sqrt(_trees.together(squares, [*squares])),
    'growth': jnp.sqrt(lowest / highest),
    **{path: jnp.sqrt(square) for path, square in squares.items()},
  }
