"""Optimizers and learning-rate schedules by name, all of them optax's."""

import jax
import optax

from bnresearch.knobs.tree import Config

# What each optimizer takes of the knobs of `optim`, as their comments say: no
# other is passed on. Optax has more of them by name, such as `nesterov` in
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


def make(
  optim: Config, steps: int, passes: int = 1
) -> optax.GradientTransformation:
  """Returns the optimizer of `config.optim` for a run of `steps`.

  A step updates `passes` times, all by the step's learning rate.
  An optimizer takes those options of the group that `OPTIONS` has for it.
  `momentum = 0` keeps no velocity at all, which saves its time and memory.

  `clip_norm` scales a gradient whose norm, of all parameters together, is
  above it down to it (Pascanu et al. 2012, 1211.5063). `clip_adaptive` does so
  with the gradient of each unit, which is an output channel's weights or a
  whole vector, above that factor times the norm of its parameters, and that at
  least 0.001; of all layers but the logits (Brock et al. 2021, 2102.06171,
  section 4.1).
  """
  options = {key: optim[key] for key in OPTIONS[optim.name]}
  if 'weight_decay' in options:
    options['mask'] = is_kernel  # what is decayed
  rate = schedule(optim, steps)
  options['learning_rate'] = lambda updates: rate(updates // passes)
  if _is_off(options.get('momentum', 1)):
    options['momentum'] = None
  chain = []
  # What is clipped is the gradient of the loss; what l2 adds to it is not.
  if not _is_off(optim.clip_norm):
    chain.append(optax.clip_by_global_norm(optim.clip_norm))
  if not _is_off(optim.clip_adaptive):
    clip = optax.adaptive_grad_clip(optim.clip_adaptive)
    chain.append(optax.masked(clip, is_below_logits))
  if not _is_off(optim.l2):
    chain.append(optax.add_decayed_weights(optim.l2, mask=is_kernel))
  return optax.chain(*chain, getattr(optax, optim.name)(**options))


def schedule(optim: Config, steps: int) -> optax.Schedule:
  """Returns the learning rate as a function of the step, warm-up included."""
  peak = optim.learning_rate
  after_warmup = {
    'constant': lambda: optax.constant_schedule(peak),
    'cosine': lambda: optax.cosine_decay_schedule(
      peak, max(1, steps - optim.warmup_steps)
    ),
    'exponential': lambda: optax.exponential_decay(
      peak, optim.decay_steps, optim.decay_rate
    ),
    'step': lambda: optax.exponential_decay(
      peak, optim.decay_steps, optim.decay_rate, staircase=True
    ),
  }[optim.schedule]()
  if not optim.warmup_steps:
    return after_warmup
  warmup = optax.linear_schedule(0.0, peak, optim.warmup_steps)
  return optax.join_schedules([warmup, after_warmup], [optim.warmup_steps])


def is_below_logits(params):
  """Returns, for each parameter, whether it is none of the logits' layers."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: all(key.key != 'logits' for key in path), params
  )


def _is_off(value):
  """Returns whether an option is 0; one that is traced is not, see `traced`."""
  return not isinstance(value, jax.core.Tracer) and value == 0


def is_kernel(params):
  """Returns, for each parameter, whether it is one of the kernels."""
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1].key == 'kernel', params
  )
