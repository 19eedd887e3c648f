"""From names to objects: the only file that turns a config's names into them.

An entry of a room takes as options those of its room's config group that it
has by name, so that a new file needs no line here.
"""

import dataclasses
import functools
import inspect
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from bnresearch import data, lookup
from bnresearch.data import synthetic
from bnresearch.probes import Batch, View
from bnresearch.records.config_file import Config

_DRY_RUN_EXAMPLES = 40


def norm(config: Config, **changed: Any) -> Callable[..., nn.Module]:
  """Returns the factory of `config.norm`'s normalizers.

  Args:
    config: the complete config.
    **changed: options that differ from `config.norm`.
  """
  cls = lookup.find('norms', config.norm.name).Norm
  return functools.partial(cls, **_fields(cls, {**config.norm, **changed}))


def model(config: Config, num_classes: int, **norm_changed: Any) -> nn.Module:
  """Returns the network of `config.model` with `config.norm`."""
  cls = lookup.find('models', config.model.name).Model
  options = _fields(cls, config.model) | {
    'num_classes': num_classes,
    'norm': norm(config, **norm_changed),
  }
  if 'activation' in options:
    options['activation'] = getattr(nn, options['activation'])
  return cls(**options)


def evaluated_model(config: Config, num_classes: int) -> nn.Module:
  """Returns the same network for evaluation.

  Where the statistics of a batch normalize, it is the batch that is evaluated:
  groups, frozen statistics and renormalization are matters of training.
  """
  only_in_training = {
    'group_size': 0,
    'frozen_statistics': False,
    'r_max': 1.0,
    'd_max': 0.0,
  }
  return model(config, num_classes, **only_in_training)


def spec(config: Config) -> data.Spec:
  """Returns what `config.data` holds, without reading it."""
  return lookup.find('data', config.data.name).SPEC


def source(config: Config, split: str) -> data.Source:
  """Returns a split, 'train' or 'test', of `config.data`.

  A dry run gets synthetic images of the data set's shape and classes.

  Raises:
    ValueError: there is no such split.
    MissingData: its files are not here.
  """
  if split not in ('train', 'test'):
    raise ValueError(f'split = {split!r}: needs train or test.')
  if config.dry_run:
    return synthetic.like(spec(config), split, _DRY_RUN_EXAMPLES)
  load = lookup.find('data', config.data.name).load
  return load(split, **_keywords(load, config.data))


def pixels(config: Config) -> Callable[[jax.Array], jax.Array]:
  """Returns the function from uint8 images to the network's input."""
  return functools.partial(data.pixels, **_keywords(data.pixels, config.data))


def probes(config: Config) -> Callable[[View, Batch], dict[str, jax.Array]]:
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


def _fields(cls, group):
  """Picks from a config group what a dataclass has a field for."""
  own = {field.name for field in dataclasses.fields(cls)} - {'name', 'parent'}
  return {key: value for key, value in group.items() if key in own}


def _keywords(function, group):
  """Picks from a config group what a function has a keyword-only option for."""
  options = inspect.signature(function).parameters.values()
  own = {o.name for o in options if o.kind is o.KEYWORD_ONLY}
  return {key: value for key, value in group.items() if key in own}
