"""The probes of a run as one function of the network's state."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from bnresearch import models
from bnresearch.evaluation import evaluate
from bnresearch.probes import Batch, Functions, NetworkView, functions
from bnresearch.statistics import population, shards
from bnresearch.training import objective
from bnresearch.training.state import State
from bnresearch.training.stream import Examples

GRADIENT_STATISTICS = ('batch', 'frozen', 'ema')
Found = dict[str, jax.Array]


class Probe(NamedTuple):
  """A probe with its options.

  Attributes:
    measure: `measure(view)`, or `measure(view, previous=...)`.
    walks: whether it asks for the network at many points, see `probes`.
    compares: whether it takes the record before.
  """

  measure: Callable[..., Found]
  walks: bool = False
  compares: bool = False


class Network(NamedTuple):
  """What of a state is measured."""

  params: Any
  collections: Any
  opt_state: Any


def network_of(state: State) -> Network:
  """Returns what of a state is measured."""
  return Network(state.params, state.collections, state.opt_state)


class Batches(NamedTuple):
  """The two fixed batches of a run, as the data set has them."""

  train: Examples
  test: Examples


def functions_of(
  evaluated: nn.Module,
  trained: nn.Module,
  optimizer: optax.GradientTransformation,
  weights: tuple[float, ...],
  statistics: str,
  gradient_statistics: str,
) -> Functions:
  """Returns the functions of a network that probes ask for.

  Args:
    evaluated: the network for evaluation, without rematerialization.
    trained: the network for training.
    optimizer: of the run.
    weights: of the heads' losses, see `objective.passes`.
    statistics: that normalize taps, see `evaluate.make_forward`.
    gradient_statistics: those of losses and gradients, see `NetworkView`.
  """
  of_batches = gradient_statistics == 'batch'
  network = evaluate.make_forward(evaluated, statistics)
  still = evaluate.make_forward(evaluated, 'ema')
  differentiated = evaluate.make_forward(
    trained, 'batch' if of_batches else 'ema'
  )

  def forward(params, collections, images_NHWC, offsets):
    with models.offset(offsets):
      return network(params, collections, images_NHWC)

  def loss(params, collections, batch, offsets):
    with models.offset(offsets):
      found = differentiated(params, collections, batch.images_NHWC)
    heads = objective.heads(*found)
    return objective.weighted_loss(heads, batch.labels_N, weights)

  def update(gradient, opt_state, params):
    return optimizer.update(gradient, opt_state, params)[0]

  def of_batch(params, collections, images_NHWC):
    apply = functools.partial(trained.apply, train=True)
    own = population.of_one_batch(apply, [*collections], 'pooled', set())
    found = own({'params': params, **collections}, images_NHWC)
    return {key: population.like(collections[key], found[key]) for key in found}

  def layers(params, collections, images_NHWC, values):
    with models.replace(values) as taps:
      logits_NK, _ = still(params, collections, images_NHWC)
    return logits_NK, taps

  return functions(forward, loss, update, of_batch, layers)


class Measure:
  """Measures the network of a state with all probes."""

  def __init__(
    self,
    probes: Mapping[str, Probe],
    functions: Functions,
    order: models.Order,
    pixels: Callable[[jax.Array], jax.Array],
    *,
    epsilon: float | jax.Array = 0.0,
    statistics: str = 'ema',
    frozen: bool = False,
    split: str = 'train',
  ):
    """Compiles nothing yet.

    Args:
      probes: by name.
      functions: of the network.
      order: what a forward pass of the network meets.
      pixels: turns images into the network's input.
      epsilon: see `NetworkView`.
      statistics: likewise.
      frozen: likewise.
      split: likewise.
    """
    self._probes, self._pixels = probes, pixels
    self._view = functools.partial(
      NetworkView,
      functions=functions,
      order=order,
      epsilon=epsilon,
      statistics=statistics,
      frozen=frozen,
      split=split,
    )
    self._prepare = jax.jit(self._prepared)
    self._together = jax.jit(self._measured_together)
    self._place = functools.cache(
      functools.partial(_place, places=order.places)
    )

  def __call__(
    self, network: Network, batches: Batches, previous: Mapping[str, jax.Array]
  ) -> Found:
    """Returns {'probe/<probe>/<name in its result>': array}.

    It can be traced. Otherwise it does not wait for the results.

    Args:
      network: to be measured.
      batches: the fixed examples.
      previous: what `compared` returns of the record before, or `unknown`.
    """
    prepared = self._prepare(batches)
    found = self._together(network, prepared, previous)
    walked = self._measured(network, prepared, previous, walks=True)
    return found | (_everywhere(walked) if walked else {})

  def compared(self, found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the results that the next record is compared with."""
    names = [name for name, probe in self._probes.items() if probe.compares]
    starts = tuple(f'probe/{name}/' for name in names)
    return {name: x for name, x in found.items() if name.startswith(starts)}

  def unknown(self, network: Network, batches: Batches) -> dict[str, Any]:
    """Returns NaN in place of the record before the first one."""
    probes = {name: p for name, p in self._probes.items() if p.compares}

    def first(network, batches):
      view = self._view(*network, *self._prepared(batches))
      measured = {
        name: probe.measure(view, previous=_Unknown())
        for name, probe in probes.items()
      }
      return _by_full_name(measured)

    shapes = jax.eval_shape(first, network, batches) if probes else {}
    return jax.tree.map(lambda x: np.full(x.shape, np.nan, x.dtype), shapes)

  def asks_for(self, network: Network, batches: Batches) -> set[str]:
    """Returns which of `Functions` the probes call; nothing is computed."""
    asked, functions = set(), self._view.keywords['functions']

    def noting(name, function):
      def call(*arguments):
        asked.add(name)
        return function(*arguments)

      return call

    noted = Functions(*map(noting, functions._fields, functions))

    def look(network, batches):
      view = self._view(*network, *self._prepared(batches), functions=noted)
      for probe in self._probes.values():
        before = {'previous': _Unknown()} if probe.compares else {}
        probe.measure(view, **before)

    jax.eval_shape(look, network, batches)
    return asked

  def in_order(self, found: Mapping[str, Any]) -> dict[str, Any]:
    """Returns results by probe, each from the bottom of the network up."""
    rank = {name: k for k, name in enumerate(self._probes)}

    def key(name):
      _, probe, path = name.split('/', 2)
      return rank[probe], self._place(path)

    return {name: found[name] for name in sorted(found, key=key)}

  def _prepared(self, batches):
    images = [self._pixels(shards.split(own.images)) for own in batches]
    return [Batch(x, own.labels) for x, own in zip(images, batches)]

  def _measured_together(self, network, prepared, previous):
    return _everywhere(self._measured(network, prepared, previous, walks=False))

  def _measured(self, network, prepared, previous, *, walks):
    view = self._view(*network, *prepared)
    measured = {}
    for name, probe in self._probes.items():
      if probe.walks == walks:
        options = {}
        if probe.compares:
          options['previous'] = _of_probe(name, previous)
        measured[name] = probe.measure(view, **options)
    return _by_full_name(measured)


class _Unknown(dict):
  """A record whose numbers are all NaN."""

  def __missing__(self, name):
    return jnp.nan


@jax.jit
def _everywhere(found):
  return jax.tree.map(shards.undivided, found)


def _by_full_name(measured):
  return {
    f'probe/{probe}/{name}': value
    for probe, found in measured.items()
    for name, value in found.items()
  }


def _of_probe(probe, found):
  start = f'probe/{probe}/'
  return {
    name.removeprefix(start): value
    for name, value in found.items()
    if name.startswith(start)
  }


def _place(path, places):
  """Returns the place of the tap or parameter that a name begins with.

  Numbers of the whole network come first.
  """
  parts = path.split('/')
  for end in range(len(parts), 0, -1):
    if '/'.join(parts[:end]) in places:
      return places['/'.join(parts[:end])]
  return -1.0
