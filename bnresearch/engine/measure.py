"""The probes of a run, compiled into one function of its state."""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax

from bnresearch import build
from bnresearch.data import Source
from bnresearch.engine import evaluate, parallel, stream
from bnresearch.models import AUXILIARY
from bnresearch.probes import Batch, View
from bnresearch.records.config_file import Config


def make(
  config: Config, model: nn.Module, source: Source
) -> Callable[[Any, Any], dict[str, jax.Array]]:
  """Returns the compiled probes, `measure(params, collections)`.

  Args:
    config: says which probes, and on how many of the first examples.
    model: see `build.evaluated_model`.
    source: where these examples come from.
  """
  pixels, examples = build.pixels(config), config.probes.examples
  images, labels_N = parallel.shared(
    next(stream.in_order(source, build.crop(config), examples, examples))
  )
  whole = evaluate.make_forward(model, config.probes.statistics)
  probes = build.probes(config)

  def forward(params, collections, x_NHWC):
    logits_NK, taps = whole(params, collections, x_NHWC)
    heads = [name for name in taps if name.startswith(AUXILIARY)]
    return logits_NK, {k: x for k, x in taps.items() if k not in heads}

  @jax.jit
  def measure(params, collections, images, labels_N):
    view = View(params, collections, forward)
    return probes(view, Batch(pixels(images), labels_N))

  return lambda params, collections: measure(
    params, collections, images, labels_N
  )
