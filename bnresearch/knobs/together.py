"""What several knobs of a config must satisfy together."""

from collections.abc import Iterator
from typing import Any

from bnresearch import lookup
from bnresearch.knobs import conditions

# (key, key): the first is a multiple of the second, unless that is 0, because
# nothing interrupts a call of `log_every` steps, an evaluation chooses the best
# checkpoint, and groups or parts fill the batch.
MULTIPLES = (
  ('train.steps', 'train.log_every'),
  ('eval.every', 'train.log_every'),
  ('probes.every', 'train.log_every'),
  ('checkpoint.every', 'eval.every'),
  ('train.batch_size', 'norm.group_size'),
  ('train.batch_size', 'train.microbatches'),
)


def problems(values: dict[str, Any], known: set[str]) -> Iterator[str]:
  """Yields the problems of values taken together.

  Args:
    values: {dotted key: value}, complete.
    known: keys already reported, because their values alone are wrong.
  """
  for key, divisor in MULTIPLES:
    if known & {key, divisor}:
      continue
    if key == 'probes.every' and not values['probes.names']:
      continue
    if values[divisor] and values[key] % values[divisor]:
      yield _not_a_multiple(key, divisor, values)
  if values['probes.names'] and not known & {'probes.steps', 'train.steps'}:
    yield from _never_probed(values)
  seconds, delay = 60 * values['slurm.minutes'], values['slurm.signal_delay']
  if delay >= seconds and not known & {'slurm.minutes', 'slurm.signal_delay'}:
    yield (
      f'slurm.signal_delay = {delay}: needs to be below the {seconds} seconds '
      'of slurm.minutes, or a job would stop as soon as it starts.'
    )
  if values['norm.frozen_affine'] and values['norm.initial_scale'] == 0:
    yield (
      'norm.initial_scale = 0.0: with norm.frozen_affine nothing ever passes.'
    )
  batch = {'train.batch_size', 'train.microbatches'}
  if not known & {'norm.name', 'norm.sites', *batch}:
    yield from _in_parts(values)
  if not known & batch:
    yield from _on_devices(values)
  clips = {'optim.clip_norm', 'optim.clip_adaptive'}
  if not known & clips and all(values[key] for key in clips):
    yield (
      f'optim.clip_norm = {values["optim.clip_norm"]}: optim.clip_adaptive = '
      f'{values["optim.clip_adaptive"]} clips already. Set one of them to 0.'
    )
  if not known & {'model.name', 'model.variant'}:
    yield from _variant(values)
  if not known & {'model.name', 'start.source'}:
    yield from _pretrained(values)
  warmup, steps = values['optim.warmup_steps'], values['train.steps']
  if warmup >= steps and not known & {'optim.warmup_steps', 'train.steps'}:
    yield (
      f'optim.warmup_steps = {warmup}: the run ends before the warm-up does, '
      f'at train.steps = {steps}. Warm up for fewer, or 0.'
    )


def _not_a_multiple(key, divisor, values):
  value, by = values[key], values[divisor]
  problem = f'{key} = {value}: must be a multiple of {divisor} = {by}.'
  if divisor != 'norm.group_size':
    return problem
  sizes = ', '.join(str(d) for d in range(1, value + 1) if value % d == 0)
  return f'{problem} Groups may be of {sizes}, or 0 for the whole batch.'


def _never_probed(values):
  """Finds steps to probe that the run does not make."""
  steps = values['train.steps']
  never = [step for step in values['probes.steps'] if step > steps]
  if never:
    yield (
      f'probes.steps = {values["probes.steps"]}: the run ends at train.steps = '
      f'{steps}, before {never[0]}. Leave out what comes later.'
    )


def _in_parts(values):
  """Finds statistics that no part of a batch can have."""
  N, parts = values['train.batch_size'], values['train.microbatches']
  options = set()
  for name in conditions.norms(values):
    fields = conditions.of_a_norm(name)
    # A frozen norm has no statistics of the batch.
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


def _on_devices(values):
  """Finds a batch that does not split evenly over the devices asked for."""
  N, parts = values['train.batch_size'], values['train.microbatches']
  devices = values['parallel.devices']
  if devices and N % parts == 0 and N // parts % devices:
    yield (
      f'parallel.devices = {devices}: must divide train.batch_size / '
      f'train.microbatches = {N // parts}, the examples that they share.'
    )


def _variant(values):
  """Finds a variant that an architecture does not have."""
  name, variant = values['model.name'], values['model.variant']
  if variant in ('', 'own'):
    return
  known = getattr(lookup.find('models', name), 'VARIANTS', ())
  if known and variant not in known:
    yield (
      f'model.variant = {variant!r}: of model.name = {name!r}, needs one of '
      f'{", ".join(known)}.'
    )


def _pretrained(values):
  """Finds a network that the source has no weights for."""
  name, source = values['model.name'], values['start.source']
  if source == 'run':
    return
  readable = name in lookup.names('pretrained')
  if not readable or not hasattr(lookup.find('pretrained', name), source):
    yield (
      f'start.source = {source!r}: no such weights are known of model.name = '
      f'{name!r}. Choose another source, or run.'
    )
