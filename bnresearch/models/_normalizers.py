"""The normalizers of a network, and the layer that each one follows."""

import collections
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name

from bnresearch.ops import programs

_LAYER, _NORM = 'folded layer ', 'folded norm '


class Normalizer(NamedTuple):
  """A normalizer as a network applies it.

  Attributes:
    norm: the module, with its options.
    follows: whether its input is the output of the layer at its path, linen's
      Conv or Dense, nothing else uses that output, and both are applied once.
  """

  norm: nn.Module
  follows: bool


def normalizers(
  model: nn.Module, variables: Mapping[str, Any], x: Any
) -> dict[str, Normalizer]:
  """Returns {path of a layer: its normalizer}, without computing anything.

  Traces the network's evaluation, and reads from that program what each
  normalizer follows. Needs no knowledge of the architecture.

  Args:
    model: the network.
    variables: its variables, or their shapes.
    x: images in its input format, or their shape.
  """
  found = {}

  def mark(function, args, kwargs, context):
    module = context.module
    if context.method_name != '__call__':
      return function(*args, **kwargs)
    if module.name == 'norm':
      site = '/'.join(module.path[:-1])
      found[site] = module.clone(parent=None)
      args = checkpoint_name(args[0], f'{_NORM}{site}'), *args[1:]
    y = function(*args, **kwargs)
    # Not a subclass, such as one that standardizes its kernel at each use.
    if type(module) in (nn.Conv, nn.Dense):
      y = checkpoint_name(y, f'{_LAYER}{"/".join(module.path)}')
    return y

  def apply(variables, x):
    with nn.intercept_methods(mark):
      return model.apply(variables, x, train=False)

  program = jax.make_jaxpr(apply)(variables, x).jaxpr
  marks = list(_marks(program))
  times = collections.Counter(name for name, _ in marks)
  before = dict(marks)
  return {
    site: Normalizer(
      norm,
      before[f'{_NORM}{site}'] == f'{_LAYER}{site}'
      and times[f'{_NORM}{site}'] == times[f'{_LAYER}{site}'] == 1,
    )
    for site, norm in found.items()
  }


def _marks(program):
  """Yields each mark of a program, and the mark whose only use it is."""
  uses = collections.Counter(map(id, program.outvars))
  for equation in program.eqns:
    uses.update(map(id, equation.invars))
  mark_of = {}
  for equation in program.eqns:
    for inner in programs.inside(equation):
      yield from _marks(inner)
    if equation.primitive.name != 'name':
      continue
    (x,), (y,) = equation.invars, equation.outvars
    before = mark_of.get(id(x), '') if uses[id(x)] == 1 else ''
    name = equation.params['name']
    if name.startswith((_LAYER, _NORM)):
      yield name, before
      before = name
    mark_of[id(y)] = before
