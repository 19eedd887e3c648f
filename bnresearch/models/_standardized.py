"""Layers whose kernel is standardized, see `ops/weight_standardization.py`."""

import functools

import flax.linen as nn

from bnresearch.ops import weight_standardization

KINDS = ('none', 'standard', 'scaled')


@functools.cache
def layer(cls: type[nn.Module], kind: str) -> type[nn.Module]:
  """Returns `cls` with a standardized kernel.

  What it returns is made as `cls` is, and has its parameters: `kernel` before
  it is standardized, and `bias`. With 'scaled', `gain` (C,) too, initially 1,
  of each output channel.

  Args:
    cls: nn.Dense or nn.Conv, or another whose parameter `kernel` has its
      output channels last.
    kind: 'none', which returns `cls`; 'standard' (Qiao et al. 2019,
      1903.10520) or 'scaled' (Brock et al. 2021, 2101.08692).

  Raises:
    ValueError: there is no such kind.
  """
  if kind not in KINDS:
    raise ValueError(
      f'weight_standardization = {kind!r}: needs one of {", ".join(KINDS)}.'
    )
  if kind == 'none':
    return cls

  # Not by nn.map_variables: it cannot add `gain`, and while initializing it
  # applies the layer twice.
  class Standardized(cls):  # ty: ignore[unsupported-base]
    def param(self, name, init_fn, *init_args, **options):
      value = super().param(name, init_fn, *init_args, **options)
      if name != 'kernel':
        return value
      if kind == 'standard':
        return weight_standardization.standard(value)
      ones, C = nn.initializers.ones, value.shape[-1]
      gain_C = super().param('gain', ones, (C,), self.param_dtype)
      return weight_standardization.scaled(value, gain_C)

  return Standardized
