"""From names to objects: the only file that turns a config's names into them.

An entry of a room takes as options those of its room's config group that it
has by name, so that a new file needs no line here.
"""

import fnmatch
import functools
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from bnresearch import augment, data, lookup
from bnresearch.augment import mixing
from bnresearch.data import synthetic
from bnresearch.images import crops
from bnresearch.knobs.tree import Config
from bnresearch.models import Layers
from bnresearch.probes import Batch, NetworkView
from bnresearch.runs import splits

Crop = Callable[[np.ndarray], np.ndarray]
RandomCrop = Callable[[np.ndarray, np.ndarray], np.ndarray]
Inputs = Callable[..., tuple[jax.Array, jax.Array]]  # of key, images, labels

CROP_COUNTS = (1, 10, 144)


def norm_options(config: Config, **changed: Any) -> dict[str, Any]:
  """Returns the options of `config.norm` that its normalizers have.

  Args:
    config: the complete config.
    **changed: options that differ from `config.norm`.
  """
  options = {}
  for name in (config.norm.name, *(name for _, name in sites(config))):
    cls = lookup.find('norms', name).Norm
    options |= lookup.picked(cls, {**config.norm, **changed})
  return options


def model(config: Config, num_classes: int, **norm_changed: Any) -> nn.Module:
  """Returns the network of `config.model` with `config.norm`.

  Options that are 'own' or (), and a dropout rate of -1, are left to the
  architecture. `config.train` says in what it computes, and what it keeps.
  """
  cls = lookup.find('models', config.model.name).Model
  words = {'yes': True, 'no': False}
  options = {
    key: words.get(value, value) if type(value) is str else value
    for key, value in config.model.items()
    if not _is_own(key, value)
  }
  layers = Layers(
    norm=_norm(config, norm_changed),
    dtype=jnp.bfloat16 if config.train.dtype == 'bfloat16' else None,
    remat=config.train.remat,
    **lookup.picked(Layers, options),
  )
  return cls(num_classes, layers, **lookup.picked(cls, options))


def _is_own(key, value):
  """Says whether an option is left to the architecture."""
  given = 'own', (), -1.0 if key == 'dropout_rate' else 'own'
  return type(value) in (str, tuple, float) and value in given


def _norm(config, changed):
  """Returns the function from a layer's path to its normalizer.

  Of the patterns in `config.norm.sites` that fit a path, the last one counts.
  Of those in `config.norm.per_activation`, one is enough.
  """
  by_pattern = [('*', config.norm.name), *sites(config)]

  def norm(site):
    fits = functools.partial(fnmatch.fnmatchcase, site)
    apart = any(map(fits, config.norm.per_activation))
    name = [norm for pattern, norm in by_pattern if fits(pattern)][-1]
    cls = lookup.find('norms', name).Norm
    own = {**config.norm, 'per_activation': apart, **changed}
    return functools.partial(cls, **lookup.picked(cls, own))

  return norm


def sites(config: Config) -> list[tuple[str, str]]:
  """Returns `config.norm.sites` as (pattern, name of a norm)."""
  return [site.rpartition('=')[::2] for site in config.norm.sites]


def evaluated_model(config: Config, num_classes: int) -> nn.Module:
  """Returns the same network for evaluation.

  Where the statistics of a batch normalize, it is the batch that is evaluated:
  groups, frozen statistics and renormalization are matters of training.
  """
  no_groups = {'group_size': 0, 'frozen_statistics': False}
  return model(config, num_classes, **no_groups, r_max=1.0, d_max=0.0)


def spec(config: Config) -> data.Spec:
  """Returns what `config.data` holds, without loading a split.

  A dry run needs no data: where there is none, it has ten classes.

  Raises:
    MissingData, DamagedData: only the data itself tells, and it is not here.
  """
  entry = lookup.find('data', config.data.name)
  try:
    return entry.spec(**_keywords(entry.spec, config.data))
  except data.MissingData:
    if not config.dry_run:
      raise
    size = config.data.image_size
    return data.Spec((size, size, 3), tuple('0123456789'))


def source(config: Config, split: str) -> data.Source:
  """Returns a split of `config.data`, one of `splits.of`.

  A dry run gets synthetic images of the data set's shape and classes.

  Raises:
    ValueError: there is no such split.
    MissingData: its files are not here.
  """
  if split not in (known := splits.of(config)):
    raise ValueError(f'split = {split!r}: needs one of {", ".join(known)}.')
  stored = 'test' if split == 'test' else 'train'
  if config.dry_run:
    found = synthetic.like(spec(config), stored, 40)
  else:
    load = lookup.find('data', config.data.name).load
    found = load(stored, **_keywords(load, config.data))
  return data.held_out(found, split, **_keywords(data.held_out, config.data))


def crop(config: Config, crop_count: int = 1) -> Crop:
  """Returns the host's function from an image of any size to what is evaluated.

  uint8 in, uint8 out, of the size that the data set's spec says. Where a data
  set's images all have that size, others are taken whole.

  Args:
    config: its `eval` says which crop.
    crop_count: 1; 10 or 144, the crops of `images/crops.py`, one more axis.

  Raises:
    ValueError: images of one small size have not so many, see `crops.of_small`.
  """
  entry = lookup.find('data', config.data.name)
  options = _keywords(entry.spec, config.data)
  if 'image_size' not in options:
    size = entry.spec(**options).image_shape[0]
    trained = _keywords(crops.of_small, config.augment)
    return crops.of_small(size, crop_count, **trained)
  size = options['image_size']
  if crop_count == 144:
    return functools.partial(crops.googlenet, size=size)
  if config.eval.crop == 'whole' and crop_count == 1:
    return functools.partial(crops.whole, size=size)
  return functools.partial(
    crops.ten if crop_count == 10 else crops.centre,
    size=size,
    fraction=config.eval.crop_fraction,
  )


def random_crop(config: Config) -> RandomCrop:
  """Returns the same for training: of an image and draws, uniform in [0, 1).

  It crops at random, `ATTEMPTS` draws of 4, or else as for evaluation.
  """
  if config.augment.crop == 'resized':
    return functools.partial(
      crops.random_resized,
      size=config.data.image_size,
      area=config.augment.area,
      aspect=config.augment.aspect,
    )
  return functools.partial(_without_draws, crop(config))


def _without_draws(function, image, uniform_A4):
  return function(image)


def pixels(config: Config) -> Callable[[jax.Array], jax.Array]:
  """Returns the function from images to the network's input."""
  return functools.partial(data.pixels, **_keywords(data.pixels, config.data))


def augmented(config: Config, source: data.Source) -> Inputs:
  """Returns the device's part of the augmentation of training batches.

  Args:
    config: the complete config.
    source: what the batches come from; where its images have sizes of their
      own, they have been cropped on the host.

  Returns:
    A function of a key, images uint8 NHWC and labels (N,) that gives images of
    0 to 255, uint8 or float32, and targets, (N, K) probabilities.
  """
  change = functools.partial(
    augment.training,
    **_keywords(augment.training, config.augment),
    crop_done=not isinstance(source, data.Arrays),
  )
  smoothing = config.objective.label_smoothing
  K = len(source.class_names)

  def make(key, images, labels_N):
    images, targets_NK = change(key, images, jax.nn.one_hot(labels_N, K))
    if smoothing:
      targets_NK = mixing.smooth(targets_NK, label_smoothing=smoothing)
    return images, targets_NK

  return make


def inputs(config: Config, source: data.Source) -> Inputs:
  """Returns the same, but with the network's input in place of the images."""
  change, to_pixels = augmented(config, source), pixels(config)

  def make(key, images, labels_N):
    images, targets_NK = change(key, images, labels_N)
    return to_pixels(images), targets_NK

  return make


def probes(
  config: Config,
) -> Callable[[NetworkView, Batch], dict[str, jax.Array]]:
  """Returns one function that makes all of `config.probes`' measurements.

  Its names are 'probe/<probe>/<what the probe names>'.
  """
  measures = {
    name: lookup.find('probes', name).measure for name in config.probes.names
  }

  def measure_all(view, batch):
    return {
      f'probe/{probe}/{name}': value
      for probe, measure in measures.items()
      for name, value in measure(
        view, batch, **_keywords(measure, config.probes)
      ).items()
    }

  return measure_all


def _keywords(function, group):
  """Picks from a config group what a function has a keyword-only option for."""
  options = inspect.signature(function).parameters.values()
  own = {o.name for o in options if o.kind is o.KEYWORD_ONLY}
  return {key: value for key, value in group.items() if key in own}
