"""Kernel initializers by name; each architecture's own is in its file."""

import fnmatch
from collections.abc import Sequence
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

# He et al. 2015, 1502.01852: preserves variance through ReLUs.
KAIMING = nn.initializers.he_normal()

_OF_SHAPE = {
  'xavier': nn.initializers.glorot_uniform(),  # Glorot & Bengio 2010
  'kaiming': KAIMING,
  'orthogonal': nn.initializers.orthogonal(),  # Saxe et al. 2014, 1312.6120
}
_OF_STD = {
  'normal': nn.initializers.normal,
  'truncated_normal': nn.initializers.truncated_normal,  # at two deviations
}
NAMES = (*_OF_SHAPE, *_OF_STD, 'lsuv')


class Site(NamedTuple):
  """The initializer of some layers, written 'PATTERN=NAME' or '...=NAME:STD'.

  Attributes:
    pattern: of the layers' paths, as fnmatch reads it.
    name: one of `NAMES`, or 'own', the layer's own.
    std: of 'normal' and 'truncated_normal'; None for `Layers.init_std`.
  """

  pattern: str
  name: str
  std: float | None


def site(text: str) -> Site:
  """Reads a site.

  Raises:
    ValueError: the text is none.
  """
  pattern, _, init = text.rpartition('=')
  name, colon, std = init.partition(':')
  try:
    found = Site(pattern, name, float(std) if colon else None)
  except ValueError:
    found = Site('', name, None)
  known = name in _OF_STD if colon else name in ('own', *NAMES)
  if not (found.pattern and known):
    raise ValueError(
      f"init_sites: {text!r} is none. Write 'PATTERN=NAME', the name own or "
      f"one of {', '.join(NAMES)}, or 'PATTERN=NAME:STD' for "
      f'{" and ".join(_OF_STD)}.'
    )
  return found


def at(sites: Sequence[str], path: str) -> Site | None:
  """Returns the last site whose pattern fits the path of a layer, if any."""
  fitting = [
    found
    for found in map(site, sites)
    if fnmatch.fnmatchcase(path, found.pattern)
  ]
  return fitting[-1] if fitting else None


def find(name: str, std: float) -> nn.initializers.Initializer:
  """Returns an initializer by name, except 'lsuv', which depends on data."""
  return _OF_SHAPE[name] if name in _OF_SHAPE else _OF_STD[name](std)


def times(
  gain: float, init: nn.initializers.Initializer
) -> nn.initializers.Initializer:
  """Returns an initializer that multiplies the values of `init` by `gain`."""
  return lambda *args: gain * init(*args)


def unit_variance(
  layer: nn.Module, x: jax.Array
) -> nn.initializers.Initializer:
  """Returns the LSUV initializer of a layer (Mishkin & Matas 2016, 1511.06422).

  The kernel is orthonormal, divided by the standard deviation of the layer's
  output for `x`. One pass initializes the network bottom to top, so each layer
  sees the outputs of the initialized layers below. If its output is constant,
  such as all zeros, the kernel stays orthonormal.

  Args:
    layer: the unbound layer; its own initializer is not used.
    x: its input, from real images.
  """

  def init(key, shape, dtype=jnp.float32):
    kernel = nn.initializers.orthogonal()(key, shape, dtype)
    same = layer.clone(kernel_init=lambda *_: kernel, parent=None)
    y, _ = same.init_with_output(key, x)
    std = y.std()
    return kernel / jnp.where(std > 0, std, 1)

  return init
