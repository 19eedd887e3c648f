"""The probes of a run, compiled into one function of its state."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from bnresearch import build
from bnresearch.data import Source
from bnresearch.evaluation import evaluate
from bnresearch.knobs.tree import Config
from bnresearch.models import AUXILIARY
from bnresearch.probes import Batch, NetworkView
from bnresearch.training import parallel, stream


def make(
  config: Config, model: nn.Module, source: Source
) -> Callable[[Any, Any], dict[str, jax.Array]]:
  """Returns the compiled probes, `measure(params, collections)`.

  Args:
    config: says which probes, and on how many of the first examples.
    model: see `build.evaluated_model`.
    source: where these examples come from.
  """
  measure, batch = (
    jax.jit(make_measure(config, model)),
    examples(config, source),
  )
  return lambda params, collections: measure(params, collections, *batch)


def examples(config: Config, source: Source) -> stream.Examples:
  """Returns the probe batch, on the device."""
  N = config.probes.examples
  return parallel.shared(
    next(stream.in_order(source, build.crop(config), N, N))
  )


def make_measure(
  config: Config, model: nn.Module
) -> Callable[..., dict[str, jax.Array]]:
  """Returns the pure `measure(params, collections, images, labels_N)`."""
  pixels, probes = build.pixels(config), build.probes(config)
  whole = evaluate.make_forward(model, config.probes.statistics)

  def forward(params, collections, x_NHWC):
    logits_NK, taps = whole(params, collections, x_NHWC)
    heads = [name for name in taps if name.startswith(AUXILIARY)]
    return logits_NK, {k: x for k, x in taps.items() if k not in heads}

  def measure(params, collections, images, labels_N):
    view = NetworkView(params, collections, forward)
    return probes(view, Batch(pixels(images), labels_N))

  return measure
