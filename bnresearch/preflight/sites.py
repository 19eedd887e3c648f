"""Which layers the patterns of a config fit: one that fits none is wrong.

So is one that changes nothing. Both would be silently ignored. The patterns are
those of norms, of initializers and of what is trained.
"""

import fnmatch
import functools
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.assembly import Parts


class Met(NamedTuple):
  """A normalizer as a network applies it.

  Attributes:
    norm: its options, `per_activation` perhaps among them.
    positions: per example, 1 in a fully connected layer.
  """

  norm: nn.Module
  positions: int


def met(
  network: nn.Module, image_shape: tuple[int, int, int]
) -> dict[str, Met]:
  """Returns {path of a layer: its normalizer}, without computing anything."""
  found = {}

  def note(next_function, args, kwargs, context):
    module = context.module
    if module.name == 'norm' and context.method_name == '__call__':
      site = '/'.join(module.path[:-1])
      found[site] = Met(module, math.prod(args[0].shape[1:-1]))
    return next_function(*args, **kwargs)

  x_NHWC = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
  init = functools.partial(network.init, train=False)
  with nn.intercept_methods(note):
    jax.eval_shape(init, jax.random.key(0), x_NHWC)
  return found


def check(parts: Parts) -> None:
  """Refuses a pattern of `sites` or `per_activation` that changes no layer.

  It also refuses a `norm.name` that no layer has, because `sites` gives every
  layer another norm.

  Raises:
    ValueError: names the pattern, and all layers.
  """
  norm = parts.config.norm
  if not (norm.sites or norm.per_activation):
    return
  layers = met(parts.network.model, parts.network.input_shape)
  for pattern in norm.per_activation:
    there = _fitting('norm.per_activation', pattern, layers)
    if not any(_is_apart(layers[site]) for site in there):
      raise ValueError(
        f'norm.per_activation: {pattern!r} is without effect: of the layers '
        'that it fits, none has both several positions and a norm with such '
        f'an option. They are {", ".join(there)}.'
      )
  patterns = parts.network.norm_patterns
  chosen = _chosen(patterns, layers)
  for k, (pattern, name) in enumerate(patterns[1:], start=1):
    there = _fitting('norm.sites', pattern, layers)
    if _chosen(patterns[:k] + patterns[k + 1 :], layers) == chosen:
      raise ValueError(
        f"norm.sites: '{pattern}={name}' is without effect: the layers that it "
        f'fits have the same norm without it. They are {", ".join(there)}.'
      )
  if norm.name not in chosen.values():
    raise ValueError(
      f'norm.name = {norm.name!r}: is without effect, as every layer '
      'has another norm by norm.sites. Make it the one that most layers have.'
    )


def check_initializers(parts: Parts, params: Mapping[str, Any]) -> None:
  """Refuses a pattern of `model.init_sites` that changes no layer.

  Args:
    parts: of the run.
    params: the parameters of its network, or their shapes.

  Raises:
    ValueError: names the pattern, and all layers.
  """
  model = parts.config.model
  layers = {
    '/'.join(key.key for key in path[:-1])
    for path, _ in jax.tree_util.tree_leaves_with_path(params)
    if path[-1].key == 'kernel'
  }
  sites = [site.rpartition('=')[::2] for site in model.init_sites]
  patterns = [('*', model.initializer), *sites]
  chosen = _chosen(patterns, layers)
  for k, (pattern, init) in enumerate(sites, start=1):
    there = _fitting('model.init_sites', pattern, layers, 'layer with a kernel')
    if _chosen(patterns[:k] + patterns[k + 1 :], layers) == chosen:
      raise ValueError(
        f"model.init_sites: '{pattern}={init}' is without effect: the layers "
        'that it fits have the same initializer without it. They are '
        f'{", ".join(there)}.'
      )


def check_trained(parts: Parts, params: Mapping[str, Any]) -> None:
  """Refuses a pattern of `optim.trained` that no parameter fits.

  Args:
    parts: of the run.
    params: the parameters of its network, or their shapes.

  Raises:
    ValueError: names the pattern, and all parameters.
  """
  names = {
    '/'.join(key.key for key in path)
    for path, _ in jax.tree_util.tree_leaves_with_path(params)
  }
  for pattern in parts.config.optim.trained:
    _fitting('optim.trained', pattern, names, 'parameter')


def _fitting(key, pattern, names, what='layer with a norm'):
  """Returns the names that a pattern fits, at least one."""
  there = fnmatch.filter(sorted(names), pattern)
  if not there:
    raise ValueError(
      f'{key}: {pattern!r} fits no {what}. There are '
      f'{", ".join(sorted(names))}.'
    )
  return there


def _is_apart(layer):
  return getattr(layer.norm, 'per_activation', False) and layer.positions > 1


def _chosen(patterns, layers):
  """Returns {layer: name}, by the last pattern that fits."""
  return {
    site: [name for p, name in patterns if fnmatch.fnmatchcase(site, p)][-1]
    for site in layers
  }
