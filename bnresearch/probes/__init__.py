"""Probes: one measurement per file, each a `measure(view, **options)`.

A probe looks at a network at one step through a `NetworkView`, and returns
{name: array}. A name is the path of a layer, or of a parameter, and perhaps a
quantity: 'hidden_1/mean'. The file's `SCALARS` are the names of results that
are one number of the whole network, such as 'growth'; tables of runs and
targets take these. Options have the names of `config.probes`.

All probes are compiled as one program, which shares what they have in common.
A probe whose file says `WALKS = True` is not: it asks for losses, gradients or
curvatures at many points. It runs in Python, and calls the functions of its
view. These are compiled once. It must never read an array's values.

A probe that compares with the record before has an option `previous`: its own
results then, NaN in the first record of a run.

What a network lacks, such as running statistics, has no results, and no scalar.
A number is NaN only where it is undefined.
"""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from bnresearch import lazy
from bnresearch.probes import _sorted

__getattr__ = lazy.files(__name__, __path__)


class Batch(NamedTuple):
  """Examples: float images, as the network gets them, and integer labels."""

  images_NHWC: jax.Array
  labels_N: jax.Array


class Functions(NamedTuple):
  """What a network can be asked for; pure, compiled, made once for a run.

  `offsets` {site: array} are added to the taps of these layers, in the taps'
  own shapes: derivatives by them are derivatives by a layer's pre-activations.
  Without dropout, all of them.

  Attributes:
    forward: `(params, collections, images_NHWC, offsets)` to `(logits_NK,
      taps)`, under `config.probes.statistics`.
    loss: `(params, collections, batch, offsets)` to the objective, in nats,
      under `config.probes.gradient_statistics`.
    gradient: of `loss`, by the parameters.
    curvature: `(params, collections, batch, direction)` to the Hessian of
      `loss` times a direction, a tree like the parameters.
    update: `(gradient, opt_state, params)` to the optimizer's next update.
    of_batch: `(params, collections, images_NHWC)` to collections with the
      statistics of this batch in place of running ones.
    layers: `(params, collections, images_NHWC, values)` to `(logits_NK, taps)`,
      where each layer takes the taps below it from `values` {site: tap}, under
      the statistics in `collections`: no example depends on another. It is not
      compiled, so that a probe can take it apart.
  """

  forward: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]
  loss: Callable[..., jax.Array]
  gradient: Callable[..., Any]
  curvature: Callable[..., Any]
  update: Callable[..., Any]
  of_batch: Callable[..., Any]
  layers: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]


def functions(
  forward: Callable[..., tuple[jax.Array, dict[str, jax.Array]]],
  loss: Callable[..., jax.Array],
  update: Callable[..., Any],
  of_batch: Callable[..., Any],
  layers: Callable[..., tuple[jax.Array, dict[str, jax.Array]]],
) -> Functions:
  """Returns the functions of a network, with the derivatives of its loss."""
  gradient = jax.grad(loss)

  def curvature(params, collections, batch, direction):
    at = lambda params: gradient(params, collections, batch, {})
    return jax.jvp(at, (params,), (direction,))[1]

  made = forward, loss, gradient, curvature, update, of_batch
  return Functions(*map(jax.jit, made), layers)


@dataclasses.dataclass(frozen=True, eq=False)
class NetworkView:
  """A network at one step, and two fixed batches.

  Derivatives are by `params`, on `batch`, with the statistics that
  `config.probes.gradient_statistics` names: 'batch', those of the batch, at
  every point anew; 'frozen', those of the batch at `params`, at every point;
  'ema', the running ones.

  Attributes:
    params: the parameters.
    collections: all other state, including running statistics.
    opt_state: the optimizer's state.
    train: training examples, as many as share a step's statistics; without
      augmentation.
    test: the first test examples.
    functions: see `Functions`.
    order: what a forward pass meets, a `models.Order`: `sites`, the names of
      the taps; `open`, those that can be offset, and `shapes`, theirs;
      `activations`, what follows each, and `nonlinearity` as a function;
      `parameters`, all paths.
    epsilon: what normalizers add to variances.
    statistics: `config.probes.statistics`, 'ema' or 'batch'.
    frozen: whether `config.probes.gradient_statistics` is 'frozen'.
    split: 'train' or 'test', the batch of losses and gradients.
  """

  params: Any
  collections: Any
  opt_state: Any
  train: Batch
  test: Batch
  functions: Functions
  order: Any
  epsilon: float | jax.Array = 0.0
  statistics: str = 'ema'
  frozen: bool = False
  split: str = 'train'

  @functools.cached_property
  def _passed(self):
    return self.functions.forward(
      self.params, self.collections, self.test.images_NHWC, {}
    )

  @property
  def logits_NK(self) -> jax.Array:
    """The logits of the test examples."""
    return self._passed[0]

  @functools.cached_property
  def maps(self) -> dict[str, jax.Array]:
    """The taps of the test examples, each (N, ..., C), bottom to top."""
    return {site: self._passed[1][site] for site in self.order.sites}

  @functools.cached_property
  def taps(self) -> dict[str, jax.Array]:
    """The same, each (V, C): V values per channel."""
    return {site: x.reshape(-1, x.shape[-1]) for site, x in self.maps.items()}

  @functools.cached_property
  def sorted(self) -> dict[str, jax.Array]:
    """The same, each (C, V), every channel sorted; at least float32."""
    return {site: _sorted.of_channels(x) for site, x in self.taps.items()}

  @property
  def batch(self) -> Batch:
    """The batch of losses and gradients."""
    return self.train if self.split == 'train' else self.test

  @functools.cached_property
  def base(self) -> Any:
    """The collections with which losses are computed."""
    if not self.frozen:
      return self.collections
    return self.functions.of_batch(
      self.params, self.collections, self.batch.images_NHWC
    )

  @functools.cached_property
  def still(self) -> Any:
    """The collections with which running statistics normalize as taps are."""
    if self.statistics == 'ema':
      return self.collections
    return self.functions.of_batch(
      self.params, self.collections, self.test.images_NHWC
    )

  @functools.cached_property
  def gradient(self) -> Any:
    """The gradient of the loss."""
    return self.gradient_at(self.params)

  @functools.cached_property
  def update(self) -> Any:
    """What the optimizer would add to the parameters next, given `gradient`."""
    return self.functions.update(self.gradient, self.opt_state, self.params)

  def loss_at(self, params: Any) -> jax.Array:
    """Returns the loss at other parameters."""
    return self.functions.loss(params, self.base, self.batch, {})

  def gradient_at(self, params: Any, batch: Batch | None = None) -> Any:
    """Returns the gradient at other parameters, or on other examples."""
    return self.functions.gradient(params, self.base, batch or self.batch, {})

  def curvature_along(self, direction: Any) -> Any:
    """Returns the Hessian of the loss times a tree like the parameters."""
    return self.functions.curvature(
      self.params, self.base, self.batch, direction
    )
