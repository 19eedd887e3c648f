"""Checks of a network's options, images and kernels."""

import sys

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch import lookup


def check_choices(model: nn.Module) -> None:
  """Refuses a value that an architecture's file does not know.

  Raises:
    ValueError: a field has none of its allowed values, or `num_classes` is
      below 2.
  """
  file = sys.modules[type(model).__module__]
  choices = {
    'stem': ('paper', 'small'),
    'variant': getattr(file, 'VARIANTS', ()),
    **getattr(file, 'CHOICES', {}),
  }
  for name, allowed in choices.items():
    value = getattr(model, name, None)
    if value is not None and value not in allowed:
      known = lookup.suggest(str(value), map(str, allowed))
      raise ValueError(
        f'{name} = {value!r}: this network has none such. {known}'
      )
  if model.num_classes < 2:
    raise ValueError(
      f'num_classes = {model.num_classes}: needs 2 or more. For a yes or no, '
      'take two.'
    )


def check_images(x: jax.Array, form: str) -> None:
  """Refuses an array that is no batch of images.

  Raises:
    ValueError: it does not have four axes, an axis other than N is empty, or
      it is not floating.
  """
  if x.ndim != 4 or 0 in x.shape[1:]:
    raise ValueError(
      f'Images of shape {x.shape}: needs {form}, four axes, none empty but '
      'N. A single image is x[None].'
    )
  if not jnp.issubdtype(x.dtype, jnp.floating):
    raise ValueError(
      f'Images of dtype {x.dtype}: needs floating. Bytes become numbers from '
      '0 to 1 by bnresearch.data.pixels.'
    )


def check_kernel(module: nn.Module, C: int, options: dict) -> None:
  """Refuses a kernel of `module` that was not made for `C` channels.

  Args:
    module: a layer's module, which may already have its parameters.
    C: its input channels.
    options: the layer's options.

  Raises:
    ValueError: the kernel was made for another number.
  """
  kernel = module.variables.get('params', {}).get('kernel')
  if kernel is None:
    return
  made_for = kernel.shape[-2] * options.get('feature_group_count', 1)
  if getattr(module, 'depthwise', False):  # told by outputs per input channel
    made_for = kernel.shape[-1] * C // options['features']
  if made_for != C:
    raise ValueError(
      f'{"/".join(module.path)} meets {C} channels, and its kernel of '
      f'shape {kernel.shape} is for {made_for}: were these parameters made '
      'for other images?'
    )
