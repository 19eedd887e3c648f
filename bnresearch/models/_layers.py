"""The layers that networks are made of."""

import functools
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from bnresearch.models import _activations
from bnresearch.models._layer_options import OWN
from bnresearch.models._network_call import NetworkCall
from bnresearch.ops import convolution, pooling

Window = int | tuple[int, int]

# Options of a bare convolution, whose output the next layers normalize.
LINEAR: dict[str, Any] = {
  'normalized': False,
  'activated': False,
  'normalized_later': True,
}


class Conv(nn.Module):
  """Convolution, normalizer and activation.

  Attributes:
    features: output channels at width 1; with `depthwise`, per input channel.
    window: size of the kernel, (height, width) or one number for both.
    strides: the stride along both axes.
    padding: 'SAME', 'VALID', or a number of pixels on each side.
    groups: number of channel groups that are convolved separately.
    depthwise: whether to convolve each input channel separately.
    exact: whether there are `features` channels at any width.
    normalized: whether there is a normalizer.
    activated: whether there is a nonlinearity.
    initial_scale: the normalizer's initial scale; None for its own. 0 closes
      the residual branch that this layer ends.
    normalized_later: without a normalizer, whether later ones, assumed to be
      the network's usual kind, cancel the bias.
    kernel_init: the kernel's own initializer; None for the architecture's.
  """

  features: int
  window: Window = 1
  strides: int = 1
  padding: str | int = 'SAME'
  groups: int = 1
  depthwise: bool = False
  exact: bool = False
  normalized: bool = True
  activated: bool = True
  normalized_later: bool = False
  initial_scale: float | None = None
  kernel_init: nn.initializers.Initializer | None = None

  @nn.compact
  def __call__(self, x_NHWC: jax.Array, call: NetworkCall) -> jax.Array:
    """Returns (N, h, w, features)."""
    window, site = pair(self.window), '/'.join(self.path)
    call.check_window(site, x_NHWC, window, self.strides, self.padding)
    C, padding = x_NHWC.shape[-1], self.padding
    x_NHWC = call.layer(
      self,
      nn.Conv,
      x_NHWC,
      features=_features(self, call, C if self.depthwise else 0),
      kernel_size=window,
      strides=(self.strides, self.strides),
      padding=padding if isinstance(padding, str) else [(padding, padding)] * 2,
      feature_group_count=C if self.depthwise else self.groups,
      use_bias=_use_bias(self, call),
      init=self.kernel_init,
      conv_general_dilated=convolution.conv_general_dilated,
    )
    return _finish(self, x_NHWC, call)


class Dense(nn.Module):
  """Linear map of the flattened input, normalizer and activation.

  Attributes:
    features: units at width 1.
    normalized, activated, kernel_init: as in `Conv`.
  """

  features: int
  normalized: bool = True
  activated: bool = True
  kernel_init: nn.initializers.Initializer | None = None

  @nn.compact
  def __call__(self, x: jax.Array, call: NetworkCall) -> jax.Array:
    """Returns (N, features)."""
    x_NC = call.layer(
      self,
      nn.Dense,
      x.reshape(x.shape[0], -1),
      features=_features(self, call),
      use_bias=_use_bias(self, call),
      init=self.kernel_init,
    )
    return _finish(self, x_NC, call)


class Activation(nn.Module):
  """The network's nonlinearity alone, e.g. after the sum of two branches.

  Attributes:
    normalized: whether there is a normalizer, as in pre-activation (He et al.
      2016).
  """

  normalized: bool = False

  @nn.compact
  def __call__(self, x: jax.Array, call: NetworkCall) -> jax.Array:
    """Returns an array in the shape of `x`."""
    site = '/'.join(self.path)
    if call.activation == 'maxout':
      raise ValueError(
        f"activation = 'maxout': {site} has no layer just before its "
        'activation that could make the pieces. Take another activation.'
      )
    norm = call.norm(self) if self.normalized else None
    return call.normalize_and_activate(x, norm, site, activated=True)


NormActivation = functools.partial(Activation, normalized=True)


class Logits(nn.Module):
  """From features to logits.

  Attributes:
    num_classes: K.
    dropout_rate: dropout on the input.
    use_bias: whether each class has a bias.
    kernel_init: the kernel's own initializer; None for the architecture's.
  """

  num_classes: int
  dropout_rate: float = 0.0
  use_bias: bool = True
  kernel_init: nn.initializers.Initializer | None = None

  @nn.compact
  def __call__(self, x: jax.Array, call: NetworkCall) -> jax.Array:
    """Returns (N, K) from (N, C), and also from a map (N, h, w, C).

    Logits are at least float32, whatever dtype the layers compute in.

    For a map, logits are averaged over positions, unless `call.layers.squeeze`
    is False.
    """
    call.check_end(self)
    x = call.dropout(x, self.dropout_rate)
    logits = call.layer(
      self,
      nn.Dense,
      x,
      features=self.num_classes,
      use_bias=self.use_bias,
      init=self.kernel_init,
      standardized=False,
    )
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    if not call.layers.squeeze:
      return logits if x.ndim == 4 else logits[:, None, None]
    return logits.mean((1, 2)) if x.ndim == 4 else logits


# Of the field `last_pooling`: what comes between the last map and the logits.
LAST_POOLINGS = OWN, 'average', 'none'


def pool(
  kind: str,
  x_NHWC: jax.Array,
  window: Window,
  strides: int,
  padding: str | int,
  call: NetworkCall,
) -> jax.Array:
  """Returns the maxima ('max') or averages ('avg') of windows.

  An average leaves out padding, unless `call.layers.count_padding` is True.

  Raises:
    TooSmall: the map is smaller than the window, see
      `NetworkCall.check_window`.
  """
  size, steps = pair(window), pair(strides)
  call.check_window(f'{kind} pooling', x_NHWC, size, strides, padding)
  pads = padding if isinstance(padding, str) else [pair(padding)] * 2
  if kind == 'max':
    return pooling.max_pool(x_NHWC, size, steps, pads)
  counted = call.layers.count_padding and pads != 'VALID'
  return pooling.average_pool(x_NHWC, size, steps, pads, counted)


def before_logits(x_NHWC: jax.Array, last_pooling: str) -> jax.Array:
  """Returns the features of logits: 'average' (N, C), or 'none' (N, H*W*C)."""
  if last_pooling == 'none':
    return x_NHWC.reshape(x_NHWC.shape[0], -1)
  return x_NHWC.mean((1, 2))


def pair(window: Window) -> tuple[int, int]:
  """Returns (height, width), which may be given as one number for both."""
  return (window, window) if isinstance(window, int) else tuple(window)


def _finish(module, x, call):
  """Applies the normalizer and activation of a Conv or Dense."""
  norm = None
  if module.normalized:
    wanted = {} if module.activated else {'activates': False}
    if getattr(module, 'initial_scale', None) is not None:
      wanted['initial_scale'] = module.initial_scale
    norm = call.norm(module, **wanted)
  return call.normalize_and_activate(
    x, norm, '/'.join(module.path), activated=module.activated
  )


def _features(module, call, inputs=0):
  """Returns a layer's output channels, including maxout's pieces.

  A depthwise layer makes `features` channels per input channel.
  """
  own = module.features
  if inputs:
    features = inputs * own
  else:
    exact = getattr(module, 'exact', False)
    features = own if exact else call.features(own)
  wide = module.activated and call.activation == 'maxout'
  return features * _activations.PIECES if wide else features


def _use_bias(module, call):
  """Returns whether a layer has a bias: not if a normalizer cancels it."""
  before = call.layers.norm_position == 'before'
  if module.normalized:
    cancelled = before or not module.activated
    cancelled = cancelled and call.cancels_bias(module)
  else:
    cancelled = before and getattr(module, 'normalized_later', False)
    cancelled = cancelled and call.cancels_bias(None)
  return call.layers.keep_bias or not cancelled
