"""The smallest images that a network takes."""

import bisect
import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp


class TooSmall(ValueError):
  """Images are too small for a network; the message names the least size."""

  def __init__(self, call: Any, site: str, why: str):
    super().__init__(site, why)
    self.call, self.site, self.why = call, site, why

  def __reduce__(self):
    # Pickled as its message: a call holds arrays.
    return ValueError, (str(self),)

  def __str__(self) -> str:
    model, (_, H, W, C) = self.call.model, self.call.shape
    size = smallest_size(model, C)
    hint = ''
    if getattr(model, 'stem', None) == 'paper':
      hint = " Or take the model's stem = 'small'."
    return (
      f'Images of {H}x{W} pixels are too small for this network: at '
      f'{self.site}, {self.why}. It needs {size}x{size} or more.{hint}'
    )


def images(model: nn.Module, size: int, channels: int) -> jax.ShapeDtypeStruct:
  """Returns the shape of one square image as `model` takes it."""
  shape = (1, size, size, channels)
  if model.layers.input_format == 'NCHW':
    shape = (1, channels, size, size)
  return jax.ShapeDtypeStruct(shape, jnp.float32)


def shapes(model: nn.Module, size: int, channels: int = 3) -> Any:
  """Returns the shapes of a network's variables, for square images.

  Args:
    model: the network.
    size: height and width of the images, in pixels.
    channels: channels of the images.
  """
  init = functools.partial(model.init, train=False)
  return jax.eval_shape(init, jax.random.key(0), images(model, size, channels))


def smallest_size(model: nn.Module, channels: int = 3) -> int:
  """Returns the size of the smallest square images that a network takes.

  Searches by shapes alone; a deep network takes seconds.
  """

  def takes(size):
    try:
      shapes(model, size, channels)
    except TooSmall:
      return False
    return True

  high = 1
  while not takes(high):
    high *= 2
  return bisect.bisect_left(range(high), True, high // 2 + 1, key=takes)
