"""Augmentation: random changes of training images, on the device.

It runs inside the compiled step. Images of varying sizes are first cropped on
the host, by `images/crops.py`. The files are

  geometry    flips, crops, shifts, turns and scales of one image
  colour      brightness, contrast, saturation and hue of one image
  mixing      cutout; mixup and label smoothing, which also change the targets
  corruption  noise, blur, contrast, rotation of test images, in five strengths

To add an augmentation of images, write `function(key, image_HWC, *, knobs)` in
the file where it belongs. Add its knobs to `config.augment`, off by default,
as lines of `knobs/table.py`, and to `training` below, under a new number:
its key is derived from that number, so that the others keep their draws.
"""

import functools

import jax
import jax.numpy as jnp

from bnresearch.augment import colour, geometry, mixing

CROPS = ('none', 'padded', 'resized')

_CROP, _AFFINE, _FLIP, _COLOUR, _CUTOUT, _MIXUP = range(6)


def training(
  key: jax.Array,
  images_NHWC: jax.Array,
  targets_NK: jax.Array,
  *,
  crop: str,
  padding: int,
  area: tuple[float, float],
  aspect: tuple[float, float],
  flip: bool,
  shift: float,
  rotate: float,
  scale: float,
  photometric: float,
  brightness: float,
  contrast: float,
  saturation: float,
  hue: float,
  photometric_mode: str,
  cutout: int,
  mixup: float,
  crop_done: bool = False,
) -> tuple[jax.Array, jax.Array]:
  """Returns the batch after crop, affine map, flip, colours, cutout and mixup.

  Images are uint8 0 to 255, and become float32 if needed; targets are
  probabilities. Disabled changes do nothing. An image's draws depend on the key
  and its place in the batch, which must be the batch of all devices.

  The options are those of `config.augment`; `crop_done` says that the host has
  done the crop 'resized'. ValueError: an option does not suit these images.
  """
  if crop not in CROPS:
    raise ValueError(f'crop = {crop!r}: must be one of {", ".join(CROPS)}.')
  each, x = functools.partial(_each, key), images_NHWC
  if crop == 'padded':
    x = each(_CROP, geometry.padded_crop, x, padding=padding)
  elif crop == 'resized' and not crop_done:
    x = each(_CROP, geometry.resized_crop, x, area=area, aspect=aspect)
  if shift or rotate or scale:
    moves = {'shift': shift, 'rotate': rotate, 'scale': scale}
    x = each(_AFFINE, geometry.affine, x, **moves)
  if flip:
    x = each(_FLIP, geometry.flip, x)
  if photometric:
    amounts = photometric, brightness, contrast, saturation, hue
    x = each(_COLOUR, _recolour, x, amounts=amounts, mode=photometric_mode)
  if cutout:
    x = each(_CUTOUT, mixing.cutout, x, cutout=cutout)
  if mixup:
    mixup_key = jax.random.fold_in(key, _MIXUP)
    return mixing.mixup(mixup_key, x, targets_NK, mixup=mixup)
  return x, targets_NK


def _each(key, number, function, images_NHWC, **knobs):
  keys_N = jax.random.split(jax.random.fold_in(key, number), len(images_NHWC))
  return jax.vmap(functools.partial(function, **knobs))(keys_N, images_NHWC)


def _recolour(key, image_HWC, *, amounts, mode):
  names = 'photometric', 'brightness', 'contrast', 'saturation', 'hue'
  knobs = dict(zip(names, amounts))
  image_HWC = image_HWC.astype(jnp.float32) / 255
  return 255 * colour.distort(key, image_HWC, **knobs, photometric_mode=mode)
