"""Probes: one measurement per file, each a `measure(view, batch, **options)`.

A probe is a pure function, compiled together with the other probes. It takes a
`NetworkView` and a fixed batch of test images, and returns {name: array},
usually one array per tap. Its options have the names of `config.probes`.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from bnresearch import lazy

__getattr__ = lazy.files(__name__, __path__)


class NetworkView(NamedTuple):
  """A network at one step, as pure functions and arrays.

  Attributes:
    params: the parameters.
    collections: all other state, including running statistics.
    forward: `forward(params, collections, images_NHWC)` returns `(logits_NK,
      taps)`, normalized by the statistics named in `config.probes`. Images are
      float.
  """

  params: Any
  collections: Any
  forward: Callable[..., tuple[jax.Array, dict[str, jax.Array]]]

  def taps(self, images_NHWC: jax.Array) -> dict[str, jax.Array]:
    """Returns the pre-activations of every layer, V values per channel."""
    _, taps = self.forward(self.params, self.collections, images_NHWC)
    return {name: x.reshape(-1, x.shape[-1]) for name, x in taps.items()}


class Batch(NamedTuple):
  """The fixed probe batch: float images and integer labels."""

  images_NHWC: jax.Array
  labels_N: jax.Array
