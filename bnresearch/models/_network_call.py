"""One call of a network: what its layers read, and where they put taps."""

import copy
from typing import Any

import flax.linen as nn
import jax
from jax.ad_checkpoint import checkpoint_name

from bnresearch import lookup
from bnresearch.models import (
  _activations,
  _initializers,
  _refusals,
  _remat,
  _standardized,
)
from bnresearch.models._dropout import Dropout
from bnresearch.models._layer_options import OWN, Layers
from bnresearch.models._size import TooSmall

AUXILIARY = 'auxiliary_logits_'


class Tap(nn.Module):
  """Passes the input of a nonlinearity on; `_order.py` may offset it.

  Attributes:
    site: the name of the tap.
    activation: the name of the nonlinearity that follows; '' where a normalizer
      contains it.
  """

  site: str
  activation: str = ''

  def __call__(self, x: jax.Array) -> jax.Array:
    """Returns `x`, of any shape."""
    return x


class NetworkCall:
  """One call of a network: all layers read it, and write their taps to it.

  Attributes:
    layers: options that the network's layers share.
    train: which statistics normalize, see `norms`.
    mask: (N,) bool, the examples that enter the batch statistics, or None.
    taps: the input of each nonlinearity, by the layer's site.
  """

  def __init__(
    self,
    model: nn.Module,
    x: jax.Array,
    *,
    train: bool,
    mask: jax.Array | None,
    activation: str = 'relu',
    init: nn.initializers.Initializer = _initializers.KAIMING,
  ):
    """Begins a call of `model` on `x`.

    Args:
      model: the network, with fields `num_classes` and `layers`.
      x: the images.
      train: see above.
      mask: see above.
      activation: the architecture's own activation.
      init: the architecture's own kernel initializer.

    Raises:
      ValueError: `x` is no batch of images, or `num_classes` is below 2.
    """
    _refusals.check_choices(model)
    self.layers: Layers = model.layers
    self.train, self.mask = train, mask
    self.taps: dict[str, jax.Array] = {}
    self.model = model.clone(parent=None, name=None)
    self._heads = 0  # met so far
    self._own_activation, self._own_init = activation, init
    form = self.layers.input_format
    _refusals.check_images(x, form)
    x = x if form == 'NHWC' else x.transpose(0, 2, 3, 1)
    x = x.astype(self.layers.dtype or x.dtype)
    if rate := self.layers.input_dropout_rate:
      x = Dropout(rate, name='input_dropout')(x, train=train)
    self.images_NHWC = x
    self.shape = self.images_NHWC.shape

  @property
  def activation(self) -> str:
    """The name of the activation."""
    name = self.layers.activation
    return self._own_activation if name == OWN else name

  def features(self, own: int) -> int:
    """Returns the channels of a layer that was published with `own`."""
    layers = self.layers
    return max(int(own * layers.width), min(layers.min_width, own))

  def layer(
    self,
    module: nn.Module,
    cls: type[nn.Module],
    x: jax.Array,
    *,
    init: nn.initializers.Initializer | None = None,
    standardized: bool = True,
    **options,
  ) -> jax.Array:
    """Applies a new layer, whose parameters are `module`'s own.

    Args:
      module: the module that gets the layer.
      cls: nn.Conv or nn.Dense.
      x: the layer's input.
      init: its own initializer; None for the architecture's.
      standardized: whether to standardize its kernel, if the network's are.
      **options: options of `cls`.

    Raises:
      ValueError: its kernel was made for another number of channels.
    """
    if standardized:
      cls = _standardized.layer(cls, self.layers.weight_standardization)
    _refusals.check_kernel(module, x.shape[-1], options)
    options['dtype'] = self.layers.dtype
    kind, std = self.layers.initializer, self.layers.init_std
    here = _initializers.at(self.layers.init_sites, '/'.join(module.path))
    if here:
      kind, std = here.name, std if here.std is None else here.std
    if kind == OWN:
      init = init or self._own_init
    elif kind == 'lsuv':
      init = _initializers.unit_variance(cls(**options, parent=None), x)
    else:
      init = _initializers.find(kind, std)
    if issubclass(cls, nn.Conv):
      init = _initializers.times(self.layers.init_gain, init)
    layer = cls(**options, kernel_init=init)
    nn.share_scope(module, layer)
    return checkpoint_name(layer(x), _remat.LINEAR)

  def block(self, module: nn.Module, x: jax.Array) -> jax.Array:
    """Returns `module(x, call)`; `layers.remat` says what it keeps."""
    if self.layers.remat == 'none':
      return module(x, self)

    def run(module, x):
      inside = self.with_own_taps()
      return module(x, inside), inside.taps

    run = nn.remat(run, policy=_remat.policy(self.layers.remat))
    x, taps = run(module, x)
    self.taps.update(taps)
    return x

  def norm(self, module: nn.Module, **wanted) -> nn.Module:
    """Makes and returns the normalizer of `module`, named 'norm'.

    `wanted` holds options for it; a normalizer ignores those it lacks.
    """
    make = self.layers.norm('/'.join(module.path))
    cls: Any = getattr(make, 'func', make)
    return make(name='norm', **lookup.picked(cls, wanted))

  def cancels_bias(self, module: nn.Module | None) -> bool:
    """Returns whether the normalizer of `module` cancels a bias.

    None stands for the network's usual normalizer, that of the path ''.
    """
    make = self.layers.norm('/'.join(module.path) if module else '')
    return getattr(getattr(make, 'func', make), 'cancels_bias', False)

  def normalize_and_activate(
    self,
    x: jax.Array,
    norm: nn.Module | None,
    site: str,
    *,
    activated: bool,
    name: str = 'activation',
  ) -> jax.Array:
    """Applies a normalizer, if any, and the activation, in the right order.

    The tap of `site` is the input of the nonlinearity, or of the normalizer
    that contains it. `activated` False leaves out the nonlinearity. `name`
    names the activation's parameters, if it has any.
    """
    normalize = lambda x: (
      x if norm is None else norm(x, train=self.train, mask=self.mask)
    )
    if not activated:
      return normalize(x)
    if getattr(norm, 'activates', False):
      if self.activation == 'maxout':
        raise ValueError(
          f"activation = 'maxout': at {site} the normalizer is the activation. "
          'Take another of the two.'
        )
      self.taps[site] = x = Tap(site, name=f'{name}_tap')(x)
      return normalize(x)
    before = self.layers.norm_position == 'before'
    if before:
      x = normalize(x)
    kind, name_of_tap = self.activation, f'{name}_tap'
    self.taps[site] = x = Tap(site, kind, name=name_of_tap)(x)
    x = _activations.apply(kind, x, name=name)
    return x if before else normalize(x)

  def with_own_taps(self) -> 'NetworkCall':
    """Returns the same call without taps, for the body of a loop."""
    inside = copy.copy(self)
    inside.taps = {}
    return inside

  def ends_with(self, head: nn.Module, x_NHWC: jax.Array) -> bool:
    """Applies an auxiliary head, unless the network ends with another one.

    Args:
      head: the next one from the bottom, which returns logits (N, K).
      x_NHWC: its input.

    Returns:
      Whether the network ends with it and returns `end()`.
    """
    self._heads += 1
    last = self.layers.up_to_head
    if last in (0, self._heads):
      self.taps[f'{AUXILIARY}{self._heads}'] = head(x_NHWC, self)
    return last == self._heads

  def end(self) -> tuple[jax.Array, dict[str, jax.Array]]:
    """Returns the logits of the head that a network ends with, and its taps."""
    (name,) = [tap for tap in self.taps if tap.startswith(AUXILIARY)]
    return self.taps.pop(name), self.taps

  def check_end(self, module: nn.Module) -> None:
    """Refuses a network's own logits where it ends with a head.

    Raises:
      ValueError: `module`, which makes the logits, lies above all heads.
    """
    if self.layers.up_to_head and module.path == ('logits',):
      raise ValueError(
        f'up_to_head = {self.layers.up_to_head}: this network has '
        f'{self._heads} auxiliary heads. Take one of these, or 0.'
      )

  def dropout(self, x: jax.Array, rate: float) -> jax.Array:
    """Zeroes a fraction `rate` in training, given an rng 'dropout'.

    Statistics are estimated without that rng, so without dropout.
    """
    return Dropout(rate)(x, train=self.train)

  def check_window(self, site, x_NHWC, window, strides, padding) -> None:
    """Refuses a map that is too small for the window or stride at `site`.

    Raises:
      TooSmall: the window does not fit, or strides meet a single pixel.
    """
    _, H, W, _ = x_NHWC.shape
    if padding != 'SAME':
      more = 0 if padding == 'VALID' else 2 * padding
      if H + more < window[0] or W + more < window[1]:
        why = f'a window of {window[0]}x{window[1]} meets a map of {H}x{W}'
        raise TooSmall(self, site, why)
    if strides > 1 and (H == 1 or W == 1):
      why = f'a stride of {strides} meets a map of {H}x{W}'
      raise TooSmall(self, site, why)
