"""What a run would stumble over in its data."""

import math
from collections.abc import Iterator

import jax
import numpy as np

from bnresearch import knobs
from bnresearch.assembly import Parts, assemble
from bnresearch.config import ConfigError, changed
from bnresearch.runs import start
from bnresearch.training import stream


def check_images(parts: Parts) -> int:
  """Raises what training would raise about its data and starting weights.

  Returns how many bytes of images live on each device.

  Raises:
    MissingData, DamagedData: the data cannot be trained on.
    FileNotFoundError: there is nothing to start from.
    ConfigError: the images do not suit the functions they go through, or are
      fewer than a batch has; or a knob has no effect on this data.
  """
  config, spec = parts.config, parts.data.spec
  source, N = parts.data.source('train'), config.train.batch_size
  if config.start.path:
    start.check(parts)
  stream.check_shared_memory(source, config.data.workers, N, spec.image_shape)
  if len(source) < N:
    raise ConfigError(
      f'train.batch_size = {N}: is more than the {len(source)} training '
      f'examples of data.name = {config.data.name!r}. Take as many or fewer.'
    )
  images = jax.ShapeDtypeStruct((N, *spec.image_shape), np.uint8)
  labels_N = jax.ShapeDtypeStruct((N,), np.int32)
  try:
    resident = parts.training.is_resident()
    jax.eval_shape(parts.images.inputs, jax.random.key(0), images, labels_N)
  except ValueError as error:
    raise ConfigError(str(error)) from error
  if found := [*_in_vain(parts, resident)]:
    raise ConfigError(found)
  return len(source) * math.prod(spec.image_shape) if resident else 0


def _in_vain(parts: Parts, resident: bool) -> Iterator[str]:
  """Yields a refusal for each knob that has no effect on this data."""
  config = parts.config
  values = knobs.leaves(config)
  if parts.data.spec.image_shape[-1] == 1:
    why = f'the images of data.name = {config.data.name!r} are grey'
    for key in knobs.are_set(values, 'colours'):
      yield knobs.refusal(key, values, why)
  if not resident:
    for key in knobs.are_set(values, 'resident'):
      why = 'without effect, as the training images do not live on the device'
      yield knobs.refusal(key, values, why)
  if config.dry_run:
    return  # its data is synthetic
  for key in knobs.are_set(values, 'split'):
    other = assemble(changed(config, {key: knobs.KNOBS[key].default}))
    if all(
      other.data.source(split).digest == parts.data.source(split).digest
      for split in parts.data.splits
    ):
      why = 'without effect, as the data set has a test split of its own'
      yield knobs.refusal(key, values, why)
