"""Converts arrays by a source's names to variables in our layout."""

import dataclasses
import os
import pathlib
from collections.abc import Collection
from typing import Any, NamedTuple

import flax
import numpy as np
import safetensors.numpy

from bnresearch.pretrained import _pth


class SourceLayer(NamedTuple):
  """One of our layers, as named in a source.

  Attributes:
    layer: the source's name of the layer with kernel and bias, if there is one.
    norm: the source's name of the layer's normalizer, if there is one.
    maps: (C, H, W) of the maps that PyTorch flattens before this layer.
    has_bias: whether the source's layer has a bias. If not, any bias of ours
      is 0.
  """

  layer: str | None = None
  norm: str | None = None
  maps: tuple[int, int, int] | None = None
  has_bias: bool = True


def basic_conv(name: str) -> SourceLayer:
  """Returns torchvision's `BasicConv2d`: a convolution and its norm."""
  return SourceLayer(f'{name}.conv', f'{name}.bn')


Names = dict[str, SourceLayer]
Arrays = dict[str, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Source:
  """How a framework names and lays out its trained variables.

  Attributes:
    separator: separates the names of a layer and its variable.
    layer: {our variable: theirs}; a kernel may have one of several names.
    norm: {(our collection, our variable): theirs}.
    ignored: names of their variables that we do not need.
  """

  separator: str
  layer: dict[str, tuple[str, ...]]
  norm: dict[tuple[str, str], str]
  ignored: tuple[str, ...] = ()


SOURCES = {
  'keras': Source(
    separator='/',
    layer={'kernel': ('kernel', 'depthwise_kernel'), 'bias': ('bias',)},
    norm={
      ('params', 'scale'): 'gamma',
      ('params', 'bias'): 'beta',
      ('batch_stats', 'mean'): 'moving_mean',
      ('batch_stats', 'var'): 'moving_variance',
    },
    ignored=('seed_generator_state',),
  ),
  'torchvision': Source(
    separator='.',
    layer={'kernel': ('weight',), 'bias': ('bias',)},
    norm={
      ('params', 'scale'): 'weight',
      ('params', 'bias'): 'bias',
      ('batch_stats', 'mean'): 'running_mean',
      ('batch_stats', 'var'): 'running_var',
    },
    ignored=('num_batches_tracked',),
  ),
}
SOURCES['timm'] = SOURCES['torchvision']  # both use PyTorch


_TORCH = ('.pth', '.pt', '.bin')  # all the same format


class Unmatched(ValueError):
  """Weights do not fit a network; the message lists all faults."""


def read(path: str | os.PathLike) -> Arrays:
  """Returns the arrays of a file by name; nothing in the file is run.

  Args:
    path: `.safetensors`, `.npz`, or what `torch.save` wrote: `.pth`, `.pt` or
      `.bin`.

  Raises:
    ValueError: the file has another format, or `_pth.read` refuses it.
  """
  ending = pathlib.Path(path).suffix
  if ending == '.npz':
    with np.load(path, allow_pickle=False) as arrays:
      return dict(arrays)
  if ending == '.safetensors':
    return safetensors.numpy.load_file(path)
  if ending in _TORCH:
    return _pth.read(path)
  raise ValueError(
    f'{path}: needs .safetensors, .npz or, of PyTorch, {", ".join(_TORCH)}.'
  )


def convert(
  arrays: Arrays,
  source: Source,
  names: Names,
  template: Any,
  excluded: Collection[str] = (),
) -> dict[str, Any]:
  """Returns arrays in the tree and layout of `template`.

  Args:
    arrays: arrays by the source's names.
    source: the names and layout of the arrays.
    names: the source's names of our layers, by our paths.
    template: the shapes of our variables.
    excluded: as in `load`.

  Raises:
    Unmatched: see `load`.
  """
  left, problems, found = dict(arrays), [], {}
  for path, leaf in flax.traverse_util.flatten_dict(template, sep='/').items():
    collection, _, inside = path.partition('/')
    candidates, maps = _candidates(source, names, collection, inside)
    name = next((name for name in candidates if name in left), None)
    if path in excluded:
      left.pop(name, None)
    elif name is not None:
      found[path] = _as_ours(name, left.pop(name), maps, leaf.shape)
      problems += _faults(name, found[path], path, leaf.shape)
    elif _has_none(names, inside):
      found[path] = np.zeros(leaf.shape, leaf.dtype)
    else:
      wanted = ' or '.join(candidates) or 'of a name that is not known'
      problems.append(f'{path}: {wanted}, is missing')
  problems += [
    f'{name}: belongs to no layer of ours'
    for name in left
    if not name.endswith(source.ignored)
  ]
  if problems:
    raise Unmatched('\n  '.join(['These variables do not fit:', *problems]))
  return flax.traverse_util.unflatten_dict(found, sep='/')


def _faults(name, value, path, shape):
  """Yields the faults of an array in our layout."""
  if value.shape != shape:
    yield f'{name}: {value.shape} in our layout, {path} is {shape}'
  if wrong := np.count_nonzero(~np.isfinite(value)):
    yield f'{name}: {wrong} of {value.size} values are not finite'
  if path.endswith('/norm/var') and (wrong := np.count_nonzero(value < 0)):
    yield f'{name}: {wrong} of {value.size} variances are negative'


def _has_none(names, inside):
  """Returns whether a variable is a bias that the source's layer lacks."""
  path, _, variable = inside.rpartition('/')
  return variable == 'bias' and not names.get(path, SourceLayer()).has_bias


def _candidates(source, names, collection, inside):
  """Returns the source's possible names of our variable, and its `maps`."""
  path, _, variable = inside.rpartition('/')
  if path.endswith('/norm'):
    prefix = names.get(path.removesuffix('/norm'), SourceLayer()).norm
    variables = [source.norm.get((collection, variable))]
    maps = None
  else:
    prefix, _, maps, _ = names.get(path, SourceLayer())
    variables = source.layer.get(variable, ())
  found = [f'{prefix}{source.separator}{v}' for v in variables if prefix and v]
  return found, maps


def _as_ours(name, value, maps, shape):
  """Returns an array in our layout: channels last, outputs last."""
  if name.endswith('.weight') and value.ndim == 4:  # (O, I, h, w)
    value = value.transpose(2, 3, 1, 0)
  elif name.endswith('.weight') and value.ndim == 2:
    if maps:
      value = value.reshape(-1, *maps).transpose(0, 2, 3, 1)
    value = value.reshape(len(value), -1).T
  if value.shape == (1, 1, *shape):  # logits made by a 1x1
    value = value[0, 0]
  elif value.ndim == 4:
    h, w, C, outputs = value.shape  # outputs per channel, if depthwise
    if shape == (h, w, 1, C * outputs):
      value = value.reshape(shape)
  with np.errstate(over='ignore'):  # infinite values are refused later
    return np.asarray(value, np.float32)
