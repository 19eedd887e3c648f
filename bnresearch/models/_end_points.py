"""Outputs of a network's modules, by the names of TF-Slim's `end_points`."""

import dataclasses
import sys
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax

from bnresearch.models._network_call import AUXILIARY

_LOGITS = 'logits'  # the layer's path in all networks


def end_points(
  model: nn.Module,
  variables: Mapping[str, Any],
  x: jax.Array,
  *,
  train: bool = False,
  rngs: dict[str, jax.Array] | None = None,
) -> dict[str, jax.Array]:
  """Returns the output of each module of a network, bottom to top, by name.

  Modules of the Inceptions have TF-Slim's names, such as 'Conv2d_1a_7x7',
  'MaxPool_2a_3x3' and 'Mixed_5c'; a name says a place, whatever the window
  there is. Those of other networks have the names of their layers here. All
  networks also have

    PreLogits     what the logits are a linear map of, after dropout: (N, C), or
                  a map where the network has one
    Logits        (N, K), see `Layers.squeeze`
    Predictions   probabilities, in the shape of the logits
    AuxLogits     (N, K), of an auxiliary head; of several, AuxLogits_1, ...

  Differs from slim: PreLogits of averages is (N, C), not (N, 1, 1, C). Pooling
  that local response normalization follows is what that gives.

  Inside `jax.jit`, the compiler removes what is not read. Networks that are
  applied as usual compute nothing for this.

  Args:
    model: one of `bnresearch.models`.
    variables: its variables.
    x: images in its input format.
    train: which statistics normalize; none are updated.
    rngs: {'dropout': key}, if dropout shall act.
  """
  found, before_logits = {}, []
  note = _noter(sys.modules[type(model).__module__], found, before_logits)
  plain = model.clone(layers=dataclasses.replace(model.layers, remat='none'))
  with nn.intercept_methods(note):
    logits, taps = plain.apply(variables, x, train=train, rngs=rngs)
  heads = [taps[name] for name in taps if name.startswith(AUXILIARY)]
  ending = [''] if len(heads) == 1 else [f'_{n}' for n in range(1, 3)]
  return {
    **found,
    **{f'AuxLogits{end}': head for end, head in zip(ending, heads)},
    'PreLogits': before_logits[0],
    'Logits': logits,
    'Predictions': jax.nn.softmax(logits),
  }


def _noter(file, found, before_logits):
  """Returns an interceptor of calls that collects what they return.

  Args:
    file: the network's, with the names.
    found: gets outputs by name.
    before_logits: gets the input of the logits' linear map.
  """
  names = getattr(file, 'END_POINTS', {})
  poolings = getattr(file, 'POOLINGS', {})
  inside, shapes = [], []  # paths of the calls we are in; maps seen

  def note(function, args, kwargs, context):
    path = '/'.join(context.module.path)
    # A layer and the linen layer that it is made of have the same path.
    if context.method_name != '__call__' or path in ('', *inside):
      return function(*args, **kwargs)
    name = names.get(path, _own_name(path))
    x = args[0]
    if path in poolings and shapes and x.shape != shapes[-1]:
      found[poolings[path]] = x
    inside.append(path)
    y = function(*args, **kwargs)
    inside.pop()
    if path.startswith(f'{_LOGITS}/'):
      before_logits.append(y)  # of dropout, which is all that is in there
    if name and isinstance(y, jax.Array):
      found[name] = y
      shapes.append(y.shape)
    return y

  return note


def _own_name(path):
  """Returns the name of an output that is in no table, '' for none."""
  no_module = _LOGITS, 'auxiliary_', 'Dropout', 'input_dropout'
  if '/' in path or path.startswith(no_module):
    return ''
  return path.capitalize() if path.startswith('mixed_') else path
