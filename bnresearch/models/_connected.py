"""Fully connected layers, also as convolutions over whole maps."""

import flax.linen as nn
import jax

from bnresearch.models._layers import Conv, Dense
from bnresearch.models._network_call import NetworkCall


def connect(
  model: nn.Module,
  name: str,
  features: int,
  x: jax.Array,
  call: NetworkCall,
  *,
  head: str,
  **options,
) -> jax.Array:
  """Applies a new layer whose units see all positions of a map.

  With `head` 'dense' the layer is a `Dense` on the flattened map. With 'conv'
  it is a convolution whose window covers the map that its kernel was made for.
  On that map the two are equal, up to the kernel's shape; on a larger map the
  convolution moves to all positions (LeCun et al. 1998, section III; Simonyan
  & Zisserman 2014, 1409.1556, section 3.2).

  Args:
    model: the module that gets the layer.
    name: the layer's name.
    features: its units at width 1.
    x: its input, (N, h, w, C), or (N, C) for 'dense'.
    call: see `NetworkCall`.
    head: 'dense' or 'conv'.
    **options: options of `Dense`.

  Returns:
    (N, units), or for 'conv' (N, positions down, positions across, units).

  Raises:
    ValueError: the kernel was made for a larger map.
  """
  if head == 'dense':
    return call.block(Dense(features, **options, name=name), x)
  _, H, W, _ = x.shape
  kernel = model.variables.get('params', {}).get(name, {}).get('kernel')
  h, w = (H, W) if kernel is None else kernel.shape[:2]
  if h > H or w > W:
    raise ValueError(
      f'{name} meets a map of {H}x{W}, and its kernel is for {h}x{w}: were '
      'these parameters made for larger images?'
    )
  conv = Conv(features, (h, w), padding='VALID', **options, name=name)
  return call.block(conv, x)
