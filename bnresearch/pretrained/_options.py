"""The options that a network needs to have the logits of a source's network.

Names and shapes of weights do not show paddings, strides, epsilons and
activations. So `OPTIONS` of the architecture's file lists what each source
needs: {source: {knob: value}}, where a value may also be a tuple of allowed
values, or a function of the model. Other knobs need the values given here, and
the architecture's own fields their defaults.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

_COMMON = {
  'model.activation': ('own', 'relu'),
  'model.norm_position': 'before',
  'model.weight_standardization': 'none',
  'model.count_padding': False,
  'norm.epsilon': 1e-5,
}

# Fields that names and shapes show, and fields that matter only in training.
_FREE = (
  *('parent', 'name', 'num_classes', 'layers', 'variant', 'blocks', 'head'),
  *('auxiliary_heads', 'dropout_rate', 'zero_init'),
)


def problems(
  model: nn.Module,
  norms: list[str],
  own: Mapping[str, Any],
) -> list[str]:
  """Returns what is wrong with the options of a model, by knobs.

  Args:
    model: the network.
    norms: paths of the layers whose normalizers will be loaded.
    own: the source's options.
  """
  fields = {
    f'model.{field.name}': field.default
    for field in dataclasses.fields(model)
    if field.name not in _FREE
  }
  found = []
  for knob, needs in (_COMMON | fields | own).items():
    needs = needs(model) if callable(needs) else needs
    allowed = needs if isinstance(needs, tuple) else (needs,)
    group, _, name = knob.partition('.')
    for value in _values(model, norms, group, name):
      if value not in allowed:
        words = ' or '.join(repr(v) for v in allowed if v is not None)
        found.append(f'{knob} = {value!r}: needs {words}')
  return found


def _values(model, norms, group, name):
  """Returns the values of an option, which may differ between layers."""
  if group == 'norm':
    made = [model.layers.norm(path)() for path in norms]
    return sorted({getattr(norm, name) for norm in made if hasattr(norm, name)})
  return [getattr(model if hasattr(model, name) else model.layers, name)]
