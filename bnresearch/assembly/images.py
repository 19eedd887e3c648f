"""How a run's images become the network's input, on host and device."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from bnresearch import augment, lookup
from bnresearch.assembly.data_set import DataSet
from bnresearch.augment import mixing
from bnresearch.data import Arrays, pixels
from bnresearch.images import crops
from bnresearch.knobs import Config
from bnresearch.training.step import Inputs
from bnresearch.training.stream import Crop, RandomCrop


class Images:
  """The functions set by knobs of `data`, `augment`, `eval` and `objective`."""

  def __init__(self, config: Config, data_set: DataSet):
    self._data, self._augment = config.data, config.augment
    self._eval, self._objective = config.eval, config.objective
    self._data_set, self._format = data_set, config.model.input_format

  def crop(self, crop_count: int = 1) -> Crop:
    """Returns the host's function that crops an image for evaluation.

    uint8 in, of any size; uint8 out, of the size in the data set's spec. Where
    a data set's images all have that size, others are taken whole.

    Args:
      crop_count: 1; or 10 or 144, the crops of `images/crops.py`, on one more
        axis.

    Raises:
      ValueError: there are not that many crops of images of one small size,
        see `crops.of_small`.
    """
    entry = lookup.find('data', self._data.name)
    options = lookup.keywords(entry.spec, self._data)
    if 'image_size' not in options:
      size = entry.spec(**options).image_shape[0]
      trained = lookup.keywords(crops.of_small, self._augment)
      return crops.of_small(size, crop_count, **trained)
    size = options['image_size']
    if crop_count == 144:
      return functools.partial(crops.googlenet, size=size)
    if self._eval.crop == 'whole' and crop_count == 1:
      return functools.partial(crops.whole, size=size)
    return functools.partial(
      crops.ten if crop_count == 10 else crops.centre,
      size=size,
      fraction=self._eval.crop_fraction,
    )

  @functools.cached_property
  def random_crop(self) -> RandomCrop:
    """The same for training, a function of an image and uniform draws.

    It crops at random, by `ATTEMPTS` draws of 4 numbers in [0, 1), or else as
    for evaluation.
    """
    if self._augment.crop == 'resized':
      own = lookup.keywords(crops.random_resized, self._augment)
      size = self._data.image_size
      return functools.partial(crops.random_resized, size=size, **own)
    return functools.partial(_without_draws, self.crop())

  @functools.cached_property
  def pixels(self) -> Callable[[jax.Array], jax.Array]:
    """The function from images to the network's input, in its format.

    Raises:
      ValueError, MissingData: there is nothing to fit a whitening to, see
        `DataSet.whitening`.
    """
    convert = functools.partial(pixels, **lookup.keywords(pixels, self._data))
    if whitening := self._data_set.whitening:
      convert = functools.partial(_whitened, convert, whitening)
    if self._format == 'NHWC':
      return convert
    return lambda images: convert(images).transpose(0, 3, 1, 2)

  @functools.cached_property
  def augmented(self) -> Inputs:
    """The device's part of the augmentation of training batches.

    It takes a key, images uint8 NHWC and labels (N,), and returns images of 0
    to 255, uint8 or float32, and targets, (N, K) probabilities. Images that
    differ in size were cropped on the host.
    """
    change = functools.partial(
      augment.training,
      **lookup.keywords(augment.training, self._augment),
      crop_done=not isinstance(self._data_set.source('train'), Arrays),
    )
    smoothing = self._objective.label_smoothing
    K = len(self._data_set.spec.class_names)

    def make(key, images, labels_N):
      images, targets_NK = change(key, images, jax.nn.one_hot(labels_N, K))
      if smoothing:
        targets_NK = mixing.smooth(targets_NK, label_smoothing=smoothing)
      return images, targets_NK

    return make

  @functools.cached_property
  def inputs(self) -> Inputs:
    """The same, but with the network's input in place of the images."""
    change, to_pixels = self.augmented, self.pixels

    def make(key, images, labels_N):
      images, targets_NK = change(key, images, labels_N)
      return to_pixels(images), targets_NK

    return make


def _whitened(convert, whitening, images):
  x_NHWC = convert(images)
  x_ND = x_NHWC.reshape(len(x_NHWC), -1) - whitening.mean_D[None]
  y_ND = jnp.matmul(x_ND, whitening.matrix_DD, precision='highest')
  return y_ND.reshape(x_NHWC.shape)


def _without_draws(function, image, uniform_A4):
  return function(image)
