"""The probes of a run as one pure function of the network's state."""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax

from bnresearch.evaluation import evaluate
from bnresearch.models import AUXILIARY
from bnresearch.probes import Batch, NetworkView

Probe = Callable[[NetworkView, Batch], dict[str, jax.Array]]


def measured(
  probes: Mapping[str, Probe], view: NetworkView, batch: Batch
) -> dict[str, jax.Array]:
  """Returns the probes' results by 'probe/<probe>/<name in its result>'."""
  return {
    f'probe/{probe}/{name}': value
    for probe, measure in probes.items()
    for name, value in measure(view, batch).items()
  }


def make_measure(
  probes: Mapping[str, Probe],
  model: nn.Module,
  pixels: Callable[[jax.Array], jax.Array],
  statistics: str,
) -> Callable[..., dict[str, jax.Array]]:
  """Returns the pure `measure(params, collections, images, labels_N)`.

  Args:
    probes: probes by name; they do not get the taps of auxiliary heads.
    model: see `evaluate.make_forward`.
    pixels: turns images into the network's input.
    statistics: see `evaluate.make_forward`.
  """
  whole = evaluate.make_forward(model, statistics)

  def forward(params, collections, x_NHWC):
    logits_NK, taps = whole(params, collections, x_NHWC)
    heads = [name for name in taps if name.startswith(AUXILIARY)]
    return logits_NK, {k: x for k, x in taps.items() if k not in heads}

  def measure(params, collections, images, labels_N):
    view = NetworkView(params, collections, forward)
    return measured(probes, view, Batch(pixels(images), labels_N))

  return measure
