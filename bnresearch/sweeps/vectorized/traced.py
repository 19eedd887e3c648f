"""Numbers of a config that are traced: runs of one program differ in them."""

from collections.abc import Sequence

import jax
import numpy as np

from bnresearch.assembly import Parts, assemble
from bnresearch.knobs import Config, leaves

KEYS = (
  'seed',
  'optim.learning_rate',
  'optim.momentum',
  'optim.weight_decay',
  'optim.l2',
  'model.init_std',
  'norm.epsilon',
  'norm.momentum',
)


def kind(config: Config) -> str:
  """Returns the same text for configs that one program can train.

  They differ only in `KEYS` and in their labels; a zero makes a kind of its
  own, because what it turns off is not in the program.
  """
  values = leaves(config)
  del values['label']
  for key in KEYS:
    values[key] = key == 'seed' or values[key] != 0
  return repr(sorted(values.items()))


def why_not(parts: Parts) -> str:
  """Returns why a run cannot be a member, '' if it can."""
  config = parts.config
  if config.start.path:
    return 'it begins with trained weights (start.path)'
  if config.parallel.devices or config.parallel.backend != 'jit':
    return 'it shares its batches among devices (parallel.*), members do not'
  if config.train.average:
    return 'it averages parameters, whose statistics are estimated'
  if not parts.training.is_resident():
    return 'its images do not live on the device (data.on_device)'
  return ''


def values_of(configs: Sequence[Config]) -> dict[str, np.ndarray]:
  """Returns {key of `KEYS`: (R,)}, float32; seeds uint32."""
  flat = [leaves(config) for config in configs]
  return {
    key: np.asarray(
      [values[key] for values in flat],
      np.uint32 if key == 'seed' else np.float32,
    )
    for key in KEYS
  }


def at(parts: Parts, values: dict[str, jax.Array]) -> Parts:
  """Returns parts with traced values in place of numbers.

  A zero stays: all members have it.
  """
  config = parts.config.copy_and_resolve_references()
  fixed = leaves(config)
  with config.ignore_type(), config.unlocked():
    config.update_from_flattened_dict(
      {k: x for k, x in values.items() if k == 'seed' or fixed[k] != 0}
    )
  return assemble(config, parts)
