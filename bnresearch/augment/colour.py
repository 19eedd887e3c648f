"""Photometric distortion, as in slim's Inception preprocessing.

It changes brightness, saturation, hue and contrast of one image by random
amounts in a random order. Ioffe & Szegedy 2015, section 4.2.1, arXiv
1502.03167, reduce these distortions for the network with Batch Normalization,
as it sees each image fewer times.

The four changes are those of `tf.image`. They are functions of planes (H, W),
one per channel: red, green and blue, or a single one. Written with operations
on arrays (H, W, C), they took three times as long on a CPU.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

Planes = Sequence[jax.Array]
Amount = jax.Array | float

# Each image draws one of these orders.
ORDERS = {
  'four': (
    ('brightness', 'saturation', 'hue', 'contrast'),
    ('saturation', 'brightness', 'contrast', 'hue'),
    ('contrast', 'hue', 'brightness', 'saturation'),
    ('hue', 'saturation', 'contrast', 'brightness'),
  ),
  'fast': (('brightness', 'saturation'), ('saturation', 'brightness')),
}


def brighten(planes: Planes, delta: Amount) -> Planes:
  """Returns the planes with `delta` added."""
  return [x + delta for x in planes]


def contrast(planes: Planes, factor: Amount) -> Planes:
  """Returns the planes, each scaled about its mean."""
  return [x.mean() + factor * (x - x.mean()) for x in planes]


def saturate(planes: Planes, factor: Amount) -> Planes:
  """Returns the planes with HSV's saturation multiplied, and at most 1.

  The largest of the three values stays; the others move to or from it. Grey
  stays as it is.
  """
  if len(planes) == 1:
    return planes
  value, chroma = _value_and_chroma(*planes)
  # Saturation is chroma / value: this is the factor that makes it 1.
  most = jnp.maximum(value, 0) / jnp.where(chroma > 0, chroma, 1)
  return [value - jnp.minimum(factor, most) * (value - x) for x in planes]


def turn_hue(planes: Planes, delta: Amount) -> Planes:
  """Returns the planes with HSV's hue turned by `delta` circles.

  It turns from red through green to blue. A pixel keeps its largest and
  smallest value, though perhaps in other channels. Grey stays as it is.
  """
  if len(planes) == 1:
    return planes
  red, green, blue = planes
  value, chroma = _value_and_chroma(red, green, blue)
  between = jnp.where(
    value == red,
    green - blue,
    jnp.where(value == green, blue - red, red - green),
  )
  origin = jnp.where(value == red, 0, jnp.where(value == green, 2, 4))
  sixths = origin + between / jnp.where(chroma > 0, chroma, 1) + 6 * delta

  def channel(own):
    """Returns the largest value within a sixth of `own`, least beyond two."""
    apart = sixths - own
    apart = jnp.abs(apart - 6 * jnp.round(apart / 6))
    return value - chroma * jnp.clip(apart - 1, 0, 1)

  return [channel(own) for own in (0, 2, 4)]


def _value_and_chroma(red, green, blue):
  """Returns the largest value, and its difference from the smallest."""
  value = jnp.maximum(jnp.maximum(red, green), blue)
  return value, value - jnp.minimum(jnp.minimum(red, green), blue)


_CHANGES = {
  'brightness': brighten,
  'contrast': contrast,
  'saturation': saturate,
  'hue': turn_hue,
}


def distort(
  key: jax.Array,
  image_HWC: jax.Array,
  *,
  photometric: float,
  brightness: float,
  contrast: float,
  saturation: float,
  hue: float,
  photometric_mode: str,
) -> jax.Array:
  """Returns the image with its colours changed at random, clipped to [0, 1].

  Args:
    key: the image's own key.
    image_HWC: float32 in [0, 1], RGB or grey.
    photometric: strength, a factor on the next four.
    brightness: the greatest amount added, plus or minus.
    contrast: the factor is 1 plus or minus at most this, and not below 0.
    saturation: likewise.
    hue: the greatest turn, plus or minus, in circles.
    photometric_mode: 'four', in one of slim's four orders; or 'fast',
      brightness and saturation only, in one of two orders, where slim's latest
      code always takes brightness first.

  Raises:
    ValueError: the image has neither 3 channels nor 1; there is no such mode.
  """
  _check(image_HWC.shape, photometric_mode)
  amounts_key, order_key = jax.random.split(key)
  reach = {
    'brightness': brightness * photometric,
    'contrast': contrast * photometric,
    'saturation': saturation * photometric,
    'hue': hue * photometric,
  }
  amounts = _amounts(amounts_key, reach)
  orders = ORDERS[photometric_mode]
  order = jax.random.randint(order_key, (), 0, len(orders))
  C = image_HWC.shape[-1]
  planes = [image_HWC[..., c] for c in range(C)]
  for names in zip(*orders):
    planes = _turn(planes, names, amounts, order)
  return jnp.clip(jnp.stack(planes, -1), 0, 1)


def _turn(planes, names, amounts, order):
  """Returns the planes after the change that `names` lists for the order."""
  result = None
  for name in dict.fromkeys(names):
    changed = planes
    if name in amounts:
      changed = _CHANGES[name](planes, amounts[name])
    here = jnp.array([name == other for other in names])[order]
    pairs = zip(changed, result or changed)
    result = [jnp.where(here, new, old) for new, old in pairs]
  return result


def _amounts(key, reach):
  """Draws the amount of each enabled change."""
  reach_4 = np.array(list(reach.values()), np.float32)
  added_4 = np.array([name in ('brightness', 'hue') for name in reach])
  low_4 = np.where(added_4, -reach_4, np.maximum(0, 1 - reach_4))
  high_4 = np.where(added_4, reach_4, 1 + reach_4)
  amounts_4 = jax.random.uniform(key, (4,), minval=low_4, maxval=high_4)
  return {name: amounts_4[i] for i, name in enumerate(reach) if reach[name]}


def _check(shape, photometric_mode):
  if shape[-1] not in (1, 3):
    raise ValueError(
      f'photometric: images have {shape[-1]} channels, and must have 3, red, '
      f'green and blue, or 1; use photometric = 0.'
    )
  if photometric_mode not in ORDERS:
    raise ValueError(
      f'photometric_mode = {photometric_mode!r}: must be one of '
      f'{", ".join(ORDERS)}.'
    )
