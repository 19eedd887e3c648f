"""What a knob needs to have an effect: one that is set in vain is refused.

`KNOBS` has the knobs that need something: their default, and conditions on
other knobs, all of which must hold where the knob differs from its default. Any
other knob always has an effect. `tests/test_knobs.py` proves both of every knob
there is.
"""

from collections.abc import Collection
from typing import Any, NamedTuple

from bnresearch.knobs import conditions as needs
from bnresearch.knobs.conditions import Condition, Values


class Knob(NamedTuple):
  """A knob that needs something.

  Attributes:
    default: the value of configs/default.py.
    conditions: see above; the first one that fails is told.
    shown_by: '', or what else says whether it has one, a word for
      `engine/beforehand.py`: 'network', 'heads', 'devices' and 'probes', once
      they are made; 'colours', 'resident' and 'split', once the data is there.
  """

  default: Any
  conditions: tuple[Condition, ...] = ()
  shown_by: str = ''


def without_effect(
  values: Values, known: Collection[str] = ()
) -> dict[str, str]:
  """Returns {key: problem} of the knobs that are set in vain.

  Args:
    values: see above.
    known: keys whose values are wrong alone, which was said already.
  """
  found = {}
  if {'norm.sites', *(room.chooser for room in needs.ROOMS.values())} & {
    *known
  }:
    return found
  for key, knob in KNOBS.items():
    if values[key] == knob.default or key in known:
      continue
    for condition in knob.conditions:
      if why := condition.obstacle(key, values):
        found[key] = refusal(key, values, why, condition.remedy(key, values))
        break
  return found


def refusal(key: str, values: Values, why: str, remedy: str = '') -> str:
  """Returns the problem of a knob that is set in vain."""
  other = f', or {remedy}' if remedy else ''
  return (
    f'{key} = {values[key]!r}: {why}. Leave it at {KNOBS[key].default!r}'
    f'{other}.'
  )


def are_set(values: Values, *shown_by: str) -> list[str]:
  """Returns the knobs that differ from their default, of some `shown_by`."""
  return [
    key
    for key, knob in KNOBS.items()
    if knob.shown_by in shown_by and values[key] != knob.default
  ]


KNOBS: dict[str, Knob] = {
  'data.binarize_threshold': Knob(0.5, (needs.knob('data.binarize', True),)),
  'data.examples': Knob(600, (needs.DATA,)),
  'data.folder': Knob('', (needs.DATA,)),
  'data.validation': Knob(0.1, (needs.DATA,), 'split'),
  'data.split_seed': Knob(0, (needs.SPLIT,), 'split'),
  'data.skip_bad': Knob(False, (needs.DATA,)),
  'data.follow_links': Knob(False, (needs.DATA,)),
  'data.tfds_name': Knob('', (needs.DATA,)),
  'data.subset': Knob('all', (needs.DATA,)),
  'data.image_size': Knob(224, (needs.DATA,)),
  'data.shards': Knob(16, (needs.knob('data.shuffle', 'within_shard'),)),
  'data.workers': Knob(0, (needs.OWN_SIZES,)),
  'augment.padding': Knob(4, (needs.knob('augment.crop', 'padded'),)),
  'augment.area': Knob((0.08, 1.0), (needs.RESIZED,)),
  'augment.aspect': Knob((0.75, 1.3333333), (needs.RESIZED,)),
  'augment.brightness': Knob(0.125, (needs.PHOTOMETRIC,)),
  'augment.contrast': Knob(0.5, (needs.PHOTOMETRIC, needs.FOUR)),
  'augment.saturation': Knob(0.5, (needs.PHOTOMETRIC,), 'colours'),
  'augment.hue': Knob(0.2, (needs.PHOTOMETRIC, needs.FOUR), 'colours'),
  'augment.photometric_mode': Knob('four', (needs.PHOTOMETRIC,)),
  'model.variant': Knob('own', (needs.MODEL,)),
  'model.features': Knob((100, 100, 100), (needs.MODEL,)),
  'model.units': Knob(100, (needs.MODEL,)),
  'model.recurrent_scale': Knob(0.1, (needs.MODEL, needs.SCALED, needs.SCALE)),
  'model.forget_bias': Knob(1.0, (needs.MODEL,)),
  'model.blocks': Knob((), (needs.MODEL,)),
  'model.stem': Knob('paper', (needs.MODEL,)),
  'model.head': Knob('own', (needs.MODEL,)),
  'model.width': Knob(1.0, (), 'network'),
  'model.min_width': Knob(16, (needs.NARROW,), 'network'),
  'model.activation': Knob('own', (), 'network'),
  'model.init_std': Knob(0.1, (), 'network'),
  'model.init_gain': Knob(1.0, (needs.CONVOLVES,)),
  'model.norm_position': Knob('before', (), 'network'),
  'model.keep_bias': Knob(False, (), 'network'),
  'model.dropout_rate': Knob(-1.0, (needs.MODEL,)),
  'model.auxiliary_heads': Knob(False, (needs.MODEL,), 'heads'),
  'model.lrn': Knob('own', (needs.MODEL,)),
  'model.count_padding': Knob(False, (needs.CONVOLVES,), 'network'),
  'model.zero_init': Knob(
    False, (needs.MODEL, needs.SCALED, needs.SCALE, needs.ENDS_A_BRANCH)
  ),
  'model.version': Knob('own', (needs.MODEL,)),
  'model.strides_at': Knob('first', (needs.MODEL,)),
  'model.padding': Knob('own', (needs.MODEL,), 'network'),
  'model.five_by_five': Knob('own', (needs.MODEL,)),
  'model.pool_projection': Knob(128, (needs.MODEL,)),
  'model.separable_stem': Knob(True, (needs.MODEL,)),
  'model.normalized_stem': Knob(True, (needs.MODEL,)),
  'model.reduction': Knob('strided', (needs.MODEL,)),
  'model.asymmetric': Knob(True, (needs.MODEL,)),
  'norm.momentum': Knob(0.99, (needs.NORM, needs.NOT_FROZEN)),
  'norm.epsilon': Knob(1e-5, (needs.NORM,)),
  'norm.running_variance': Knob('unbiased', (needs.NORM, needs.NOT_FROZEN)),
  'norm.debias': Knob(False, (needs.NORM, needs.NOT_FROZEN)),
  'norm.group_size': Knob(0, (needs.NORM,)),
  'norm.group_variance': Knob(
    'within', (needs.NORM, needs.NOT_FROZEN, needs.knob('norm.group_size'))
  ),
  'norm.variance': Knob('two_pass', (needs.NORM,)),
  'norm.per_activation': Knob((), (needs.NORM,)),
  'norm.stop_gradient': Knob(False, (needs.NORM, needs.NOT_FROZEN)),
  'norm.frozen_statistics': Knob(False, (needs.NORM,)),
  'norm.frozen_affine': Knob(False, (needs.NORM, needs.AFFINE)),
  'norm.use_scale': Knob(True, (needs.NORM,)),
  'norm.use_bias': Knob(True, (needs.NORM,)),
  'norm.initial_scale': Knob(1.0, (needs.NORM, needs.GAMMA, needs.SCALE)),
  'norm.backward': Knob(
    'equations',
    (needs.NORM, needs.NOT_FROZEN, needs.knob('norm.stop_gradient', False)),
  ),
  'norm.r_max': Knob(3.0, (needs.NORM,)),
  'norm.d_max': Knob(5.0, (needs.NORM,)),
  'norm.renorm_start': Knob(5000, (needs.NORM,)),
  'norm.r_max_at': Knob(40_000, (needs.NORM,)),
  'norm.d_max_at': Knob(25_000, (needs.NORM,)),
  'norm.channel_groups': Knob(32, (needs.NORM,)),
  'norm.whitened_channels': Knob(64, (needs.NORM,)),
  'norm.whitening_iterations': Knob(5, (needs.NORM,)),
  'norm.learn_epsilon': Knob(False, (needs.NORM,)),
  'norm.order': Knob('l1', (needs.NORM,)),
  'norm.noise_shift': Knob(0.5, (needs.NORM,)),
  'norm.noise_scale': Knob(0.25, (needs.NORM,)),
  'norm.noise_jitter': Knob(0.1, (needs.NORM,)),
  'objective.auxiliary': Knob('weighted', (needs.HEADS,)),
  'objective.auxiliary_weight': Knob(
    0.3, (needs.HEADS, needs.knob('objective.auxiliary', 'weighted'))
  ),
  'train.scan': Knob('auto', (), 'resident'),
  'optim.momentum': Knob(0.0, (needs.OPTIMIZER,)),
  'optim.nesterov': Knob(
    False, (needs.OPTIMIZER, needs.knob('optim.momentum'))
  ),
  'optim.weight_decay': Knob(0.0, (needs.OPTIMIZER,)),
  'optim.schedule': Knob('constant', (needs.STEPS_DOWN,)),
  'optim.decay_rate': Knob(0.1, (needs.DECAYS,)),
  'optim.decay_steps': Knob(1000, (needs.DECAYS,)),
  'start.source': Knob('run', (needs.knob('start.path'),)),
  'start.checkpoint': Knob(
    'best', (needs.knob('start.path'), needs.knob('start.source', 'run'))
  ),
  'start.exclude': Knob((), (needs.knob('start.path'),)),
  'parallel.backend': Knob('jit', (), 'devices'),
  'eval.statistics': Knob('ema', (needs.NORM_OF_BATCHES,)),
  'eval.crop': Knob('centre', (needs.OWN_SIZES,)),
  'eval.crop_fraction': Knob(0.875, (needs.OWN_SIZES,)),
  'eval.population_batches': Knob(100, (needs.NORM_OF_BATCHES,)),
  'probes.every': Knob(500, (needs.PROBED,)),
  'probes.examples': Knob(1000, (needs.PROBED,), 'probes'),
  'probes.statistics': Knob(
    'ema', (needs.PROBED, needs.NORM_OF_BATCHES), 'probes'
  ),
  'probes.percentiles': Knob((15.0, 50.0, 85.0), (needs.PROBED, needs.PROBE)),
  'probes.saturation_threshold': Knob(4.0, (needs.PROBED, needs.PROBE)),
}
