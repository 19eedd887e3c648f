"""Optimizers and learning-rate schedules by name, all of them optax's."""

import fnmatch
from collections.abc import Sequence
from typing import Any

import jax
import optax

# The knobs of `optim` that each optimizer takes, as their comments say; others
# are not passed on. Optax has more of these names, such as `nesterov` in
# `nadam`, which is Adam once that is False (Dozat 2016), and in `adam`, which
# is NAdam once it is True.
OPTIONS = {
  'sgd': ('momentum', 'nesterov'),
  'adam': (),
  'adamw': ('weight_decay',),
  'adagrad': (),
  'lamb': ('weight_decay',),
  'lion': ('weight_decay',),
  'nadam': (),
  'rmsprop': ('momentum', 'nesterov'),
}
ALL = ('*',)  # parameters


def make(
  steps: int,
  passes: int = 1,
  *,
  name: str,
  l2: float = 0.0,
  clip_norm: float = 0.0,
  clip_adaptive: float = 0.0,
  trained: tuple[str, ...] = ALL,
  learning_rate: float,
  schedule: str = 'constant',
  warmup_steps: int = 0,
  decay_rate: float = 0.1,
  decay_steps: int = 1000,
  **options: float | bool,
) -> optax.GradientTransformation:
  """Returns an optimizer for a run of `steps`, from the knobs of `optim`.

  A step makes `passes` updates, all at the step's learning rate. An optimizer
  takes those of the other `options` that `OPTIONS` lists for it.
  `momentum = 0` keeps no velocity at all, which saves its time and memory.

  `clip_norm` is the largest norm of the gradient, over all parameters together;
  a larger gradient is scaled down (Pascanu et al. 2012, 1211.5063).
  `clip_adaptive` does so with the gradient of each unit, an output channel's
  weights or a whole vector: its largest norm is that factor times the norm of
  the unit's parameters, which counts as at least 0.001. The logits are left out
  (Brock et al. 2021, 2102.06171, section 4.1).

  `trained` has patterns of paths, as `fnmatch` reads them; parameters that none
  fits stay as they are, and have no part in the norm that is clipped. Running
  statistics follow the batches in any case.
  """
  options = {key: options[key] for key in OPTIONS[name] if key in options}
  if 'weight_decay' in options:
    options['mask'] = is_kernel  # what is decayed
  rate = rate_of(
    steps,
    learning_rate=learning_rate,
    schedule=schedule,
    warmup_steps=warmup_steps,
    decay_rate=decay_rate,
    decay_steps=decay_steps,
  )
  options['learning_rate'] = lambda updates: rate(updates // passes)
  if _is_off(options.get('momentum', 1)):
    options['momentum'] = None
  chain = []
  # The gradient of the loss is clipped, and not what l2 adds to it.
  if not _is_off(clip_norm):
    chain.append(optax.clip_by_global_norm(clip_norm))
  if not _is_off(clip_adaptive):
    clip = optax.adaptive_grad_clip(clip_adaptive)
    chain.append(optax.masked(clip, is_below_logits))
  if not _is_off(l2):
    chain.append(optax.add_decayed_weights(l2, mask=is_kernel))
  whole = optax.chain(*chain, getattr(optax, name)(**options))
  return whole if trained == ALL else _of_some(whole, trained)


def _of_some(whole, patterns):
  parts = {True: whole, False: optax.set_to_zero()}
  return optax.partition(parts, lambda params: are_trained(params, patterns))


def rate_of(
  steps: int,
  *,
  learning_rate: float,
  schedule: str,
  warmup_steps: int,
  decay_rate: float,
  decay_steps: int,
) -> optax.Schedule:
  """Returns the learning rate as a function of the step, warm-up included."""
  peak = learning_rate
  after_warmup = {
    'constant': lambda: optax.constant_schedule(peak),
    'cosine': lambda: optax.cosine_decay_schedule(
      peak, max(1, steps - warmup_steps)
    ),
    'exponential': lambda: optax.exponential_decay(
      peak, decay_steps, decay_rate
    ),
    'step': lambda: optax.exponential_decay(
      peak, decay_steps, decay_rate, staircase=True
    ),
  }[schedule]()
  if not warmup_steps:
    return after_warmup
  warmup = optax.linear_schedule(0.0, peak, warmup_steps)
  return optax.join_schedules([warmup, after_warmup], [warmup_steps])


def are_trained(params: Any, patterns: Sequence[str]) -> Any:
  """Returns, for each parameter, whether a pattern fits its path, 'a/bias'."""

  def fits(path, _):
    name = '/'.join(key.key for key in path)
    return any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)

  return jax.tree_util.tree_map_with_path(fits, params)


def is_below_logits(params: Any) -> Any:
  """Returns, for each parameter, whether it is outside the logits' layers."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: all(key.key != 'logits' for key in path), params
  )


def _is_off(value):
  """Returns whether an option is 0; a traced one never is, see `traced`."""
  return not isinstance(value, jax.core.Tracer) and value == 0


def is_kernel(params: Any) -> Any:
  """Returns, for each parameter, whether it is one of the kernels."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1].key == 'kernel', params
  )
