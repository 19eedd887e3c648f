"""What several knobs of a config must be together."""

import dataclasses
import inspect
from collections.abc import Iterator
from typing import Any

from bnresearch import lookup

# (key, key): the first is a multiple of the second, unless that is 0, because a
# call of `log_every` steps is not interrupted, the best checkpoint is chosen by
# an evaluation, and groups, or parts, fill the batch.
_MULTIPLES = (
  ('train.steps', 'train.log_every'),
  ('eval.every', 'train.log_every'),
  ('probes.every', 'train.log_every'),
  ('checkpoint.every', 'eval.every'),
  ('train.batch_size', 'norm.group_size'),
  ('train.batch_size', 'train.microbatches'),
)


# What changes the statistics, and its value where it does not.
_OFF = {
  'norm.debias': False,
  'norm.group_variance': 'within',
  'norm.variance': 'two_pass',
  'norm.per_activation': (),
  'norm.stop_gradient': False,
  'norm.frozen_statistics': False,
}


# The architectures' own knobs, and the value that every architecture allows.
_OF_SOME_MODELS = {
  'variant': 'own',
  'features': (100, 100, 100),
  'units': 100,
  'recurrent_scale': 0.1,
  'forget_bias': 1.0,
  'blocks': (),
  'stem': 'paper',
  'head': 'own',
  'dropout_rate': -1.0,
  'auxiliary_heads': False,
  'lrn': 'own',
  'zero_init': False,
  'version': 'own',
  'strides_at': 'first',
  'padding': 'own',
  'five_by_five': 'own',
  'pool_projection': 128,
  'separable_stem': True,
  'normalized_stem': True,
  'reduction': 'strided',
  'asymmetric': True,
}


# The data sets' own knobs, and the value that every data set allows.
_OF_SOME_DATA = {
  'examples': 600,
  'folder': '',
  'validation': 0.1,
  'split_seed': 0,
  'skip_bad': False,
  'follow_links': False,
  'tfds_name': '',
  'subset': 'all',
  'image_size': 224,
}

# (key, its value where it does nothing, key, what that must be): the first one
# has an effect only together with the second.
_ONLY_WITH = (
  ('data.shards', 16, 'data.shuffle', 'within_shard'),
  ('augment.padding', 4, 'augment.crop', 'padded'),
  ('augment.area', (0.08, 1.0), 'augment.crop', 'resized'),
  ('augment.aspect', (0.75, 1.3333333), 'augment.crop', 'resized'),
  ('augment.brightness', 0.125, 'augment.photometric', ...),
  ('augment.contrast', 0.5, 'augment.photometric', ...),
  ('augment.saturation', 0.5, 'augment.photometric', ...),
  ('augment.hue', 0.2, 'augment.photometric', ...),
  ('augment.photometric_mode', 'four', 'augment.photometric', ...),
  ('augment.contrast', 0.5, 'augment.photometric_mode', 'four'),
  ('augment.hue', 0.2, 'augment.photometric_mode', 'four'),
  ('start.source', 'run', 'start.path', ...),
  ('start.checkpoint', 'best', 'start.path', ...),
  ('start.checkpoint', 'best', 'start.source', 'run'),
  ('start.exclude', (), 'start.path', ...),
)


def problems(values: dict[str, Any], known: set[str]) -> Iterator[str]:
  """Yields what is wrong with values together.

  Args:
    values: {dotted key: value}, complete.
    known: keys whose values are wrong alone, which was said already.
  """
  for key, divisor in _MULTIPLES:
    if known & {key, divisor}:
      continue
    if values[divisor] and values[key] % values[divisor]:
      yield _not_a_multiple(key, divisor, values)
  for key, off, needed, wanted in _ONLY_WITH:
    there = bool(values[needed]) if wanted is ... else values[needed] == wanted
    if values[key] != off and not there and not known & {key, needed}:
      yield (
        f'{key} = {values[key]!r}: without effect, as {needed} is '
        f'{values[needed]!r}. Leave it at {off!r}, or set {needed}'
        f'{"." if wanted is ... else f" = {wanted!r}."}'
      )
  seconds, delay = 60 * values['slurm.minutes'], values['slurm.signal_delay']
  if delay >= seconds and not known & {'slurm.minutes', 'slurm.signal_delay'}:
    yield (
      f'slurm.signal_delay = {delay}: needs to be below the {seconds} seconds '
      'of slurm.minutes, or a job would stop as soon as it starts.'
    )
  if not any(key.startswith('data.') for key in known):
    yield from _of_other_data(values)
  if not any(key.startswith('norm.') for key in known):
    yield from _without_effect(values)
    if not known & {'train.batch_size', 'train.microbatches'}:
      yield from _in_parts(values)
  clips = {'optim.clip_norm', 'optim.clip_adaptive'}
  if not known & clips and all(values[key] for key in clips):
    yield _clipped_twice(values)
  if not any(key.startswith('model.') for key in known):
    yield from _of_other_models(values)
  if not any(
    key.startswith(('model.', 'norm.', 'objective.')) for key in known
  ):
    yield from _between_groups(values)


def _not_a_multiple(key, divisor, values):
  value, by = values[key], values[divisor]
  problem = f'{key} = {value}: must be a multiple of {divisor} = {by}.'
  if divisor != 'norm.group_size':
    return problem
  sizes = ', '.join(str(d) for d in range(1, value + 1) if value % d == 0)
  return f'{problem} Groups may be of {sizes}, or 0 for the whole batch.'


def _in_parts(values):
  """Finds statistics that no part of a batch can have."""
  N, parts = values['train.batch_size'], values['train.microbatches']
  options = set()
  for name in _norm_names(values):
    fields = _norm_fields(name)
    # Frozen, it has none of the batch.
    if 'frozen_statistics' in fields and values['norm.frozen_statistics']:
      continue
    options |= fields
  if parts == 1 or N % parts or 'group_size' not in options:
    return
  n, M = N // parts, values['norm.group_size']
  why = f'with train.microbatches = {parts}, a part has {n} examples'
  if not M or n % M:
    what = 'statistics of the whole batch' if not M else 'such groups'
    sizes = ', '.join(str(d) for d in range(1, n + 1) if n % d == 0)
    yield (
      f'norm.group_size = {M}: {why}, from which {what} cannot be had. Groups '
      f'may be of {sizes}.'
    )
  pooled = values['norm.group_variance'] == 'pooled'
  if pooled and 'group_variance' in options:
    yield (
      f"norm.group_variance = 'pooled': {why}, from which the variance between "
      "all groups of the batch cannot be had. Use 'within', or one part."
    )


def _clipped_twice(values):
  norm, adaptive = values['optim.clip_norm'], values['optim.clip_adaptive']
  return (
    f'optim.clip_norm = {norm}: optim.clip_adaptive = {adaptive} clips already.'
    ' Set one of them to 0.'
  )


def _norm_names(values):
  """Returns the norms in use, that of the network in general first."""
  sites = (site.rpartition('=')[2] for site in values['norm.sites'])
  return [values['norm.name'], *sites]


def _norm_fields(name):
  return {f.name for f in dataclasses.fields(lookup.find('norms', name).Norm)}


def _without_effect(values):
  """Finds what a norm that follows batches is told in vain."""
  found = []
  name, *others = _norm_names(values)
  options = {
    f'norm.{field}' for each in (name, *others) for field in _norm_fields(each)
  }
  # A norm of the example alone is the baseline of a sweep over these.
  if 'norm.momentum' in options:
    found += [
      f'{key} = {values[key]!r}: norm.name = {name!r} has no such option. '
      f'Leave it at {off!r}, or choose another norm, such as batch.'
      for key, off in _OFF.items()
      if key not in options and values[key] != off
    ]
  scale = values['norm.initial_scale']
  if scale != 1 and not values['norm.use_scale']:
    found.append(
      f'norm.initial_scale = {scale}: without effect, as norm.use_scale is '
      'False.'
    )
  if scale == 0 and values['norm.frozen_affine']:
    found.append(
      'norm.initial_scale = 0.0: with norm.frozen_affine nothing ever passes.'
    )
  return found


def _of_other_data(values):
  """Finds what a data set is told that does not have it."""
  name = values['data.name']
  entry = lookup.find('data', name)
  options = {
    option
    for function in (entry.spec, entry.load)
    for option in inspect.signature(function).parameters
  }
  if values['data.held_out']:
    options.add('split_seed')
  for key, off in _OF_SOME_DATA.items():
    value = values[f'data.{key}']
    if value != off and key not in options:
      yield (
        f'data.{key} = {value!r}: data.name = {name!r} has no such option. '
        f'Leave it at {off!r}, or choose another data.name.'
      )


def _of_other_models(values):
  """Finds what an architecture is told that does not have it."""
  set_here = {
    key: values[f'model.{key}']
    for key, off in _OF_SOME_MODELS.items()
    if values[f'model.{key}'] != off
  }
  if not set_here:
    return []  # without a look at the architecture, which imports much
  name = values['model.name']
  entry = lookup.find('models', name)
  fields = {field.name for field in dataclasses.fields(entry.Model)}
  found = [
    f'model.{key} = {value!r}: model.name = {name!r} has no such option. Leave '
    f'it at {_OF_SOME_MODELS[key]!r}.'
    for key, value in set_here.items()
    if key not in fields
  ]
  variant = set_here.get('variant')
  if 'variant' in fields and variant and variant not in entry.VARIANTS:
    found.append(
      f'model.variant = {variant!r}: of model.name = {name!r}, needs one of '
      f'{", ".join(entry.VARIANTS)}.'
    )
  return found


def _between_groups(values):
  """Finds what network, normalizer and objective are not together."""
  if (
    values['objective.auxiliary'] == 'alternating'
    and not (values['model.auxiliary_heads'])
  ):
    yield (
      "objective.auxiliary = 'alternating': the network has no auxiliary "
      'heads. Set model.auxiliary_heads.'
    )
  if values['model.zero_init']:
    scaled = 'initial_scale' in _norm_fields(values['norm.name'])
    if not (scaled and values['norm.use_scale']):
      yield (
        f'model.zero_init = True: norm.name = {values["norm.name"]!r} has no '
        'scale that could begin with 0.'
      )
    if values['model.version'] == 'v2':
      yield (
        "model.zero_init = True: no norm ends a branch of model.version = 'v2'."
      )
