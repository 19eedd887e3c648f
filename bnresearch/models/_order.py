"""Where a network's taps are made, in which order; how to change them."""

import contextlib
import itertools
from collections.abc import Callable, Generator, Mapping
from typing import NamedTuple

import flax.linen as nn
import flax.traverse_util
import jax
import numpy as np

from bnresearch.models import _activations
from bnresearch.models._network_call import AUXILIARY, Tap


class Order(NamedTuple):
  """What a forward pass meets, from bottom to top.

  Attributes:
    sites: names of the taps, without auxiliary heads.
    open: those of them that can be offset: all but taps in a loop over time.
    parameters: paths of the parameters, 'hidden_1/kernel'.
    activations: {tap: name of the nonlinearity that follows}; '' where a
      normalizer contains it, and no entry for the gates of an LSTM.
    places: {tap, parameter or module: its place among all}.
    shapes: {open tap: shape of one example's}.
  """

  sites: tuple[str, ...]
  open: tuple[str, ...]
  parameters: tuple[str, ...]
  activations: Mapping[str, str]
  places: Mapping[str, float]
  shapes: Mapping[str, tuple[int, ...]]

  def nonlinearity(self, tap: str) -> Callable[[jax.Array], jax.Array] | None:
    """Returns what follows a tap; None if it is not of single numbers."""
    return _activations.function(self.activations.get(tap, ''))


def order(model: nn.Module, image_shape: tuple[int, int, int]) -> Order:
  """Returns the order of taps and parameters; nothing is computed.

  Args:
    model: without rematerialization, for which JAX sorts dicts by name.
    image_shape: (H, W, C) of the network's input.
  """
  x_NHWC = jax.ShapeDtypeStruct((1, *image_shape), np.float32)
  shapes, made, activations, found = {}, {}, {}, []

  def note(following, args, kwargs, context):
    if isinstance(context.module, Tap):
      site, here = context.module.site, context.module.scope.root.variables()
      shapes[site] = args[0].shape
      activations[site] = context.module.activation
      made[site] = len(jax.tree.leaves(here.get('params', {})))
    return following(*args, **kwargs)

  def look(x_NHWC):
    with nn.intercept_methods(note):
      (_, taps), variables = model.init_with_output(
        jax.random.key(0), x_NHWC, train=False
      )
    sites = [site for site in taps if not site.startswith(AUXILIARY)]
    open_ = [s for s in sites if shapes.get(s) == taps[s].shape]
    paths = flax.traverse_util.flatten_dict(variables['params'], sep='/')
    # A tap made after n parameters comes between the n-th and the next.
    places = {}
    for k, path in enumerate(paths):
      for layer in itertools.accumulate(path.split('/'), '{}/{}'.format):
        places.setdefault(layer, k)
    places |= {site: made.get(site, len(paths)) - 0.5 for site in sites}
    of_one = {site: shapes[site][1:] for site in open_}
    found.append(
      Order(
        tuple(sites), tuple(open_), tuple(paths), activations, places, of_one
      )
    )

  jax.eval_shape(look, x_NHWC)
  return found[0]


@contextlib.contextmanager
def offset(offsets: Mapping[str, jax.Array]) -> Generator[None]:
  """Lets networks that are applied in the body add offsets to their taps.

  The tap itself, and all that follows from it, is that of the sum: a derivative
  by an offset is one by the layer's pre-activation.

  Args:
    offsets: {site: array of the tap's shape}, of `Order.open`; other taps stay
      as they are.
  """

  def add(following, args, kwargs, context):
    x = following(*args, **kwargs)
    if isinstance(context.module, Tap) and context.module.site in offsets:
      return x + offsets[context.module.site].astype(x.dtype)
    return x

  with nn.intercept_methods(add) if offsets else contextlib.nullcontext():
    yield


@contextlib.contextmanager
def replace(
  values: Mapping[str, jax.Array],
) -> Generator[dict[str, jax.Array]]:
  """Lets networks that are applied in the body take taps from `values`.

  It yields a dict that gets what each of these taps would have been, given the
  others: a network falls into its layers.

  Args:
    values: {site: array of the tap's shape}, of `Order.open`, of a network
      without rematerialization.
  """
  found: dict[str, jax.Array] = {}

  def take(following, args, kwargs, context):
    x = following(*args, **kwargs)
    if isinstance(context.module, Tap) and context.module.site in values:
      site = context.module.site
      found[site] = x
      return values[site].astype(x.dtype)
    return x

  with nn.intercept_methods(take):
    yield found


@contextlib.contextmanager
def change(function: Callable[[str, jax.Array], jax.Array]) -> Generator[None]:
  """Lets networks that are applied in the body change their taps.

  Args:
    function: of a tap's site and value, which may be one time step's; it
      returns an array of the same shape and dtype.
  """

  def changed(following, args, kwargs, context):
    x = following(*args, **kwargs)
    if isinstance(context.module, Tap):
      return function(context.module.site, x)
    return x

  with nn.intercept_methods(changed):
    yield
