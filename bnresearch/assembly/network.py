"""The network of a run, from `config.model` and `config.norm`."""

import fnmatch
import functools
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from bnresearch import conventions, lookup, models
from bnresearch.assembly.data_set import DataSet
from bnresearch.knobs import Config
from bnresearch.models import Layers

# Where evaluation normalizes by batch statistics, they are the whole batch's:
# groups, frozen statistics and renormalization belong to training.
_EVALUATED = {
  'group_size': 0,
  'frozen_statistics': False,
  'r_max': 1.0,
  'd_max': 0.0,
}


class Network:
  """By the knobs of `model`, `norm` and `train`, for the classes of a data set.

  Options that are 'own' or (), and a dropout rate of -1, are left to the
  architecture. `config.train` has the dtype, and what is recomputed.
  """

  def __init__(self, config: Config, data_set: DataSet):
    self._model, self._norm = config.model, config.norm
    self._train, self._data_set = config.train, data_set

  @functools.cached_property
  def input_shape(self) -> tuple[int, int, int]:
    """The shape of an image as the network takes it, (H, W, C) or (C, H, W)."""
    H, W, C = self._data_set.spec.image_shape
    return (H, W, C) if self._model.input_format == 'NHWC' else (C, H, W)

  @functools.cached_property
  def model(self) -> nn.Module:
    """The network as it is trained."""
    return self.with_norms()

  @functools.cached_property
  def evaluated(self) -> nn.Module:
    """The same network for evaluation."""
    return self.with_norms(**_EVALUATED)

  @functools.cached_property
  def whole(self) -> nn.Module:
    """The network for evaluation, without rematerialization."""
    if self._train.remat == 'none':
      return self.evaluated
    return self.with_norms(remat='none', **_EVALUATED)

  @functools.cached_property
  def order(self) -> models.Order:
    """What a forward pass meets, from bottom to top."""
    return models.order(self.whole, self.input_shape)

  def with_norms(self, *, remat: str = '', **changed: Any) -> nn.Module:
    """Returns the network, with these options of its norms changed.

    `remat` is `config.train.remat` unless given.
    """
    cls = lookup.find('models', self._model.name).Model
    words = {'yes': True, 'no': False}
    options = {
      key: words.get(value, value) if type(value) is str else value
      for key, value in self._model.items()
      if not _is_own(key, value)
    }
    layers = Layers(
      norm=lambda site: self._norm_at(site, changed),
      dtype=jnp.bfloat16 if self._train.dtype == 'bfloat16' else None,
      remat=remat or self._train.remat,
      **lookup.picked(Layers, options),
    )
    K = len(self._data_set.spec.class_names)
    return cls(K, layers, **lookup.picked(cls, options))

  def _norm_at(self, site, changed):
    """Returns the normalizer of the layer at a path.

    The last pattern of `config.norm.sites` that fits the path counts. One
    pattern of `config.norm.per_activation` is enough.
    """
    fits = functools.partial(fnmatch.fnmatchcase, site)
    apart = any(map(fits, self._norm.per_activation))
    name = [norm for pattern, norm in self.norm_patterns if fits(pattern)][-1]
    cls = lookup.find('norms', name).Norm
    own = {**self._norm, 'per_activation': apart, **changed}
    return functools.partial(cls, **lookup.picked(cls, own))

  @functools.cached_property
  def norm_patterns(self) -> list[tuple[str, str]]:
    """All (pattern of paths, name of a norm); the first one fits all layers."""
    sites = [site.rpartition('=')[::2] for site in self._norm.sites]
    return [('*', self._norm.name), *sites]

  @functools.cached_property
  def norm_options(self) -> dict[str, Any]:
    """The options of all its norms together."""
    options = {}
    for _, name in self.norm_patterns:
      cls = lookup.find('norms', name).Norm
      options |= lookup.picked(cls, self._norm)
    return options

  @functools.cached_property
  def conventions(self) -> list[str]:
    """Lines that say what the options of the norms mean, and warnings."""
    steps = self._train.steps
    return conventions.header(self._norm, steps, self.norm_options)


def _is_own(key, value):
  """Says whether an option is left to the architecture."""
  given = 'own', (), -1.0 if key == 'dropout_rate' else 'own'
  return type(value) in (str, tuple, float) and value in given
