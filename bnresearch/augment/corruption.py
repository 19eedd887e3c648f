"""Corruptions of test images, in five strengths. Hendrycks & Dietterich 2019.

arXiv 1903.12261, "Benchmarking neural network robustness to common corruptions
and perturbations". Noise and contrast have ImageNet-C's amounts. Its blurs are
for photographs of 224 pixels, and it turns nothing: the amounts of blur and
rotation are ours, for images of about 28.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np

from bnresearch.augment import colour, geometry

# The amounts, from the weakest to the strongest.
AMOUNTS = {
  # Standard deviation of Gaussian noise; white is 1.
  'noise': (0.08, 0.12, 0.18, 0.26, 0.38),
  # Standard deviation of a Gaussian, in pixels.
  'blur': (0.5, 0.75, 1.0, 1.5, 2.0),
  # Factor on the difference from an image's mean.
  'contrast': (0.4, 0.3, 0.2, 0.1, 0.05),
  # Degrees, counter-clockwise.
  'rotation': (10.0, 20.0, 30.0, 40.0, 50.0),
}
STRENGTHS = range(1, 6)

_REACH = 4  # standard deviations of a blur after which its weights are cut


def corrupt(
  key: jax.Array, images_NHWC: jax.Array, *, kind: str, strength: int
) -> jax.Array:
  """Returns corrupted images, rounded to uint8 as files would be.

  Args:
    key: of the noise; each image has its own.
    images_NHWC: uint8, 0 to 255.
    kind: one of `AMOUNTS`.
    strength: 1 to 5.

  Raises:
    ValueError: there is no such kind or strength.
  """
  if kind not in AMOUNTS:
    raise ValueError(f'kind = {kind!r}: needs one of {", ".join(AMOUNTS)}.')
  if strength not in STRENGTHS:
    raise ValueError(
      f'strength = {strength}: needs 1, the weakest, to {STRENGTHS[-1]}.'
    )
  amount = AMOUNTS[kind][strength - 1]
  x_NHWC = images_NHWC.astype(jnp.float32)
  if kind == 'noise':
    x_NHWC += 255 * amount * jax.random.normal(key, x_NHWC.shape)
  elif kind == 'blur':
    x_NHWC = blur(x_NHWC, amount)
  elif kind == 'contrast':
    x_NHWC = jax.vmap(lambda x_HWC: _contrast(x_HWC, amount))(x_NHWC)
  else:
    turn = lambda x_HWC: geometry.warp(x_HWC, degrees=amount)
    x_NHWC = jax.vmap(turn)(x_NHWC)
  return jnp.clip(jnp.round(x_NHWC), 0, 255).astype(jnp.uint8)


def blur(x_NHWC: jax.Array, deviation: float) -> jax.Array:
  """Returns images convolved with a Gaussian; the border is repeated outside.

  Args:
    x_NHWC: float.
    deviation: the Gaussian's, in pixels; its weights end at four of them.
  """
  reach = math.ceil(_REACH * deviation)
  weights = np.exp(-0.5 * np.square(np.arange(-reach, reach + 1) / deviation))
  weights /= weights.sum()
  for axis in (1, 2):
    size = x_NHWC.shape[axis]
    edges = [(reach, reach) if k == axis else (0, 0) for k in range(4)]
    padded = jnp.pad(x_NHWC, edges, mode='edge')
    x_NHWC = sum(
      float(weight) * jax.lax.slice_in_dim(padded, k, k + size, axis=axis)
      for k, weight in enumerate(weights)
    )
  return x_NHWC


def _contrast(x_HWC, factor):
  C = x_HWC.shape[-1]
  planes = colour.contrast([x_HWC[..., c] for c in range(C)], factor)
  return jnp.stack(planes, -1)
