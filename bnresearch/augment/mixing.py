"""Cutout, mixup and label smoothing."""

import jax
import jax.numpy as jnp


def cutout(key: jax.Array, image_HWC: jax.Array, *, cutout: int) -> jax.Array:
  """Returns the image with a square of zeros; DeVries & Taylor 2017.

  arXiv 1708.04552. The square's centre is any pixel of the image, so part of
  the square may lie outside.

  Differs from the paper: zeros are black, while the paper sets pixels to zero
  after subtracting the mean; an odd side is kept, while the authors' code
  shortens it by one.

  Args:
    key: the image's own key.
    image_HWC: any dtype, which is kept.
    cutout: side of the square in pixels.

  Raises:
    ValueError: the square is wider than the image.
  """
  H, W, _ = image_HWC.shape
  if cutout > min(H, W):
    raise ValueError(
      f'cutout = {cutout}: must be at most {min(H, W)}, the shorter side of '
      f'images of {H} x {W}; make it smaller, or 0 for none.'
    )
  row, column = jax.random.randint(key, (2,), 0, jnp.array([H, W]))
  rows_H, columns_W = _within(row, H, cutout), _within(column, W, cutout)
  square_HW = rows_H[:, None] & columns_W[None, :]
  return jnp.where(square_HW[..., None], 0, image_HWC)


def _within(centre, n, side):
  from_first = jnp.arange(n) - (centre - side // 2)
  return (from_first >= 0) & (from_first < side)


def mixup(
  key: jax.Array,
  images_NHWC: jax.Array,
  targets_NK: jax.Array,
  *,
  mixup: float,
) -> tuple[jax.Array, jax.Array]:
  """Returns each example mixed with another one; Zhang et al. 2017.

  arXiv 1710.09412: w x_i + (1 - w) x_j, for images and targets, with w from
  Beta(alpha, alpha). As in the authors' code, a batch has one w, and j is a
  permutation of its examples.

  Args:
    key: the batch's key.
    images_NHWC: uint8 or float32.
    targets_NK: probabilities.
    mixup: alpha, above 0.

  Returns:
    Images and targets, float32.
  """
  weight_key, partner_key = jax.random.split(key)
  weight = jax.random.beta(weight_key, mixup, mixup)
  partner_N = jax.random.permutation(partner_key, len(images_NHWC))
  mixed = lambda x, y: weight * x + (1 - weight) * y
  return (
    mixed(images_NHWC, images_NHWC[partner_N]),
    mixed(targets_NK, targets_NK[partner_N]),
  )


def smooth(targets_NK: jax.Array, label_smoothing: float) -> jax.Array:
  """Returns targets with part of the probability spread over all K classes.

  Szegedy et al. 2015, section 7, arXiv 1512.00567.

  Args:
    targets_NK: probabilities.
    label_smoothing: the part, spread evenly; 0.1 in the paper.
  """
  K = targets_NK.shape[-1]
  return (1 - label_smoothing) * targets_NK + label_smoothing / K
