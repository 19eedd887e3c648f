"""How the gradient grows on its way down, layer by layer.

Yang et al. 2019, 1902.08129: with BN at the start of training, the gradient by
the pre-activations grows exponentially with depth, its square by pi / (pi - 1),
or 1.47, a layer with ReLU. Glorot & Bengio 2010, figure 7, see it vanish.
"""

import jax
import jax.numpy as jnp

from bnresearch.probes import NetworkView

SCALARS = ('growth',)


def measure(view: NetworkView) -> dict[str, jax.Array]:
  """Returns norms of the loss's gradient by the layers' pre-activations.

  {tap: its norm over all examples, positions and channels, in nats per unit;
  'images': likewise by the network's input}. 'growth' is the factor a tap, on
  the way down: (norm at the lowest / norm at the highest)^(1 / (taps - 1)); it
  is 1 where there are not two. Taps in a loop over time have no gradient of
  their own here. It takes one gradient.
  """
  batch = view.batch
  N = batch.labels_N.shape[0]
  zeros = {
    site: jnp.zeros((N, *view.order.shapes[site])) for site in view.order.open
  }

  def loss(offsets, images_NHWC):
    moved = batch._replace(images_NHWC=images_NHWC)
    return view.functions.loss(view.params, view.base, moved, offsets)

  _ = view.base  # which must not be made while the loss is differentiated
  by_tap, by_image = jax.grad(loss, (0, 1))(zeros, batch.images_NHWC)
  norms = {site: jnp.linalg.norm(by_tap[site].ravel()) for site in zeros}
  taps = [*norms.values()] or [jnp.ones(())]
  growth = (taps[0] / taps[-1]) ** (1 / max(1, len(taps) - 1))
  images = jnp.linalg.norm(by_image.ravel())
  return {'growth': growth, 'images': images, **norms}
