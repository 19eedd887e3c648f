"""The probes of a run as one pure function of its network's state."""

from collections.abc import Callable, Mapping

import flax.linen as nn
import jax

from bnresearch.evaluation import evaluate
from bnresearch.models import AUXILIARY
from bnresearch.probes import Batch, View


def make_measure(
  probes: Mapping[str, Callable[[View, Batch], dict[str, jax.Array]]],
  model: nn.Module,
  pixels: Callable[[jax.Array], jax.Array],
  statistics: str,
) -> Callable[..., dict[str, jax.Array]]:
  """Returns the pure `measure(params, collections, images, labels_N)`.

  Its names are 'probe/<probe>/<what the probe names>'.

  Args:
    probes: by name; auxiliary heads are none of their taps.
    model: see `evaluate.make_forward`.
    pixels: makes the network's input of images.
    statistics: see `evaluate.make_forward`.
  """
  whole = evaluate.make_forward(model, statistics)

  def forward(params, collections, x_NHWC):
    logits_NK, taps = whole(params, collections, x_NHWC)
    heads = [name for name in taps if name.startswith(AUXILIARY)]
    return logits_NK, {k: x for k, x in taps.items() if k not in heads}

  def measure(params, collections, images, labels_N):
    view = View(params, collections, forward)
    batch = Batch(pixels(images), labels_N)
    return {
      f'probe/{probe}/{name}': value
      for probe, function in probes.items()
      for name, value in function(view, batch).items()
    }

  return measure
