"""What each knob of a config may be."""

import math
import re
from collections.abc import Callable
from typing import Any, NamedTuple

from bnresearch import lookup, paths


class Rule(NamedTuple):
  """`holds(value)` says whether it may be; `needs` is that in words."""

  needs: str
  holds: Callable[[Any], bool]
  choices: tuple[str, ...] = ()


def _number(kind, low, high=math.inf, *, above=False, below=False) -> Rule:
  needs = f'{"an" if kind is int else "a"} {kind.__name__} '
  needs += f'above {low}' if above else f'of at least {low}'
  if high < math.inf:
    needs += f' and {"below" if below else "at most"} {high}'

  def holds(value):
    return (
      type(value) is kind
      and (low < value if above else low <= value)
      and (value < high if below else value <= high)
      and (kind is int or math.isfinite(value))
    )

  return Rule(needs, holds)


def _choice(*choices: str) -> Rule:
  return Rule(f'one of {", ".join(choices)}', choices.__contains__, choices)


def _entry(room: str) -> Rule:
  return _choice(*lookup.names(room))


def _each(rule: Rule, *, some: bool) -> Rule:
  """A tuple of what `rule` allows; with `some`, not an empty one."""
  return Rule(
    f'a tuple, each element {rule.needs}',
    lambda value: (
      type(value) is tuple
      and all(map(rule.holds, value))
      and (len(value) > 0 or not some)
    ),
  )


def _is_site(value: Any) -> bool:
  if type(value) is not str:
    return False
  pattern, _, norm = value.rpartition('=')
  return bool(pattern) and norm in lookup.names('norms')


def _is_option(value: Any) -> bool:
  name = value.partition('=')[0] if type(value) is str else ''
  return name.replace('-', '').isalnum() and not name.startswith('-')


_TEXT = Rule('a text', lambda value: type(value) is str)
_PATH = Rule(
  'a path on this machine',
  lambda value: type(value) is str and paths.is_here(value),
)
_RANGE = Rule(
  'two floats above 0, the smaller one first',
  lambda v: (
    type(v) is tuple
    and [type(x) for x in v] == [float] * 2
    and 0 < v[0] <= v[1] < math.inf
  ),
)
_FLAG = Rule('True or False', lambda value: type(value) is bool)
_STEPS = _number(int, 1)
_STATISTICS = _choice('ema', 'batch')

RULES = {
  'seed': _number(int, 0, 2**32 - 1),
  'dry_run': _FLAG,
  'sweep': Rule(
    'a tuple of {"dotted.key": value}',
    lambda v: (
      type(v) is tuple
      and all(isinstance(p, dict) for p in v)
      and all(type(key) is str for p in v for key in p)
    ),
  ),
  'label': Rule(
    'letters, digits, _, -, + and .',
    lambda value: (
      type(value) is str and bool(re.fullmatch(r'([\w+-][\w.+-]*)?', value))
    ),
  ),
  'data.name': _entry('data'),
  'data.binarize': _FLAG,
  'data.binarize_threshold': _number(float, 0, 1, below=True),
  'data.mean': _each(_number(float, -math.inf), some=True),
  'data.std': _each(_number(float, 0, above=True), some=True),
  'data.examples': _number(int, 1),
  'data.folder': _PATH,
  'data.held_out': _number(float, 0, 1, below=True),
  'data.validation': _number(float, 0, 1, above=True, below=True),
  'data.split_seed': _number(int, 0, 2**32 - 1),
  'data.skip_bad': _FLAG,
  'data.follow_links': _FLAG,
  'data.tfds_name': _TEXT,
  'data.subset': _choice('all', '10pct', '1pct'),
  'data.image_size': _number(int, 1),
  'data.shuffle': _choice('full', 'within_shard', 'none'),
  'data.shards': _number(int, 1),
  'data.on_device': _choice('auto', 'always', 'never'),
  'data.workers': _number(int, 0),
  'augment.crop': _choice('none', 'padded', 'resized'),
  'augment.padding': _number(int, 1),
  'augment.area': Rule(
    f'{_RANGE.needs}, at most 1',
    lambda v: _RANGE.holds(v) and v[1] <= 1,
  ),
  'augment.aspect': _RANGE,
  'augment.flip': _FLAG,
  'augment.shift': _number(float, 0, 1),
  'augment.rotate': _number(float, 0, 180),
  'augment.scale': _number(float, 0, 1, below=True),
  'augment.photometric': _number(float, 0),
  'augment.brightness': _number(float, 0),
  'augment.contrast': _number(float, 0),
  'augment.saturation': _number(float, 0),
  'augment.hue': _number(float, 0, 0.5),
  'augment.photometric_mode': _choice('four', 'fast'),
  'augment.cutout': _number(int, 0),
  'augment.mixup': _number(float, 0),
  'model.name': _entry('models'),
  'model.variant': _TEXT,
  'model.features': _each(_number(int, 1), some=True),
  'model.units': _number(int, 1),
  'model.recurrent_scale': _number(float, 0, above=True),
  'model.forget_bias': _number(float, -100),
  'model.blocks': _each(_number(int, 0), some=False),
  'model.stem': _choice('paper', 'medium', 'small'),
  'model.head': _choice('own', 'dense', 'conv'),
  'model.width': _number(float, 0, above=True),
  'model.min_width': _number(int, 1),
  'model.activation': _choice(
    'own',
    'relu',
    'relu6',
    'sigmoid',
    'tanh',
    'elu',
    'gelu',
    'silu',
    'softplus',
    'prelu',
    'maxout',
  ),
  'model.initializer': _choice(
    'own',
    'xavier',
    'kaiming',
    'orthogonal',
    'normal',
    'truncated_normal',
    'lsuv',
  ),
  'model.init_std': _number(float, 0, above=True),
  'model.init_gain': _number(float, 0, above=True),
  'model.norm_position': _choice('before', 'after'),
  'model.keep_bias': _FLAG,
  'model.weight_standardization': _choice('none', 'standard', 'scaled'),
  'model.dropout_rate': Rule(
    'a float of at least 0 and below 1, or -1',
    lambda v: type(v) is float and (0 <= v < 1 or v == -1),
  ),
  'model.auxiliary_heads': _FLAG,
  'model.lrn': _choice('own', 'yes', 'no'),
  'model.count_padding': _FLAG,
  'model.zero_init': _FLAG,
  'model.version': _choice('own', 'v1', 'v1.5', 'v2'),
  'model.strides_at': _choice('first', 'last'),
  'model.padding': _choice('own', 'same', 'symmetric'),
  'model.five_by_five': _choice('own', '5x5', 'two_3x3', '3x3'),
  'model.pool_projection': Rule('one of 96, 128', (96, 128).__contains__),
  'model.separable_stem': _FLAG,
  'model.normalized_stem': _FLAG,
  'model.reduction': _choice('strided', 'pooled'),
  'model.asymmetric': _FLAG,
  'norm.name': _entry('norms'),
  'norm.sites': Rule(
    "a tuple of 'PATTERN=NORM', the norm one of "
    f'{", ".join(lookup.names("norms"))}',
    lambda v: type(v) is tuple and all(map(_is_site, v)),
  ),
  'norm.momentum': _number(float, 0, 1, below=True),
  'norm.epsilon': _number(float, 0),
  'norm.running_variance': _choice('unbiased', 'biased'),
  'norm.debias': _FLAG,
  'norm.group_size': _number(int, 0),
  'norm.group_variance': _choice('within', 'pooled'),
  'norm.variance': _choice('two_pass', 'one_pass'),
  'norm.per_activation': _each(_TEXT, some=False),
  'norm.stop_gradient': _FLAG,
  'norm.frozen_statistics': _FLAG,
  'norm.frozen_affine': _FLAG,
  'norm.use_scale': _FLAG,
  'norm.use_bias': _FLAG,
  'norm.initial_scale': _number(float, 0),
  'norm.backward': _choice('equations', 'autodiff'),
  'norm.r_max': _number(float, 1),
  'norm.d_max': _number(float, 0),
  'norm.renorm_start': _number(int, 0),
  'norm.r_max_at': _STEPS,
  'norm.d_max_at': _STEPS,
  'norm.channel_groups': _number(int, 1),
  'norm.whitened_channels': _number(int, 1),
  'norm.whitening_iterations': _number(int, 1),
  'norm.learn_epsilon': _FLAG,
  'norm.order': _choice('l1', 'l2', 'linf'),
  'norm.noise_shift': _number(float, 0),
  'norm.noise_scale': _number(float, 0),
  'norm.noise_jitter': _number(float, 0),
  'objective.auxiliary': _choice('none', 'weighted', 'alternating'),
  'objective.auxiliary_weight': _number(float, 0),
  'objective.label_smoothing': _number(float, 0, 1, below=True),
  'train.steps': _STEPS,
  'train.batch_size': _number(int, 1),
  'train.log_every': _STEPS,
  'train.scan': _choice('auto', 'always', 'never'),
  'train.microbatches': _number(int, 1),
  'train.dtype': _choice('float32', 'bfloat16'),
  'train.remat': _choice('none', 'linear', 'blocks'),
  'train.average': _number(float, 0, 1, below=True),
  'optim.name': _choice(
    'sgd', 'adam', 'adamw', 'adagrad', 'lamb', 'lion', 'nadam', 'rmsprop'
  ),
  'optim.learning_rate': _number(float, 0, above=True),
  'optim.momentum': _number(float, 0, 1, below=True),
  'optim.nesterov': _FLAG,
  'optim.weight_decay': _number(float, 0),
  'optim.l2': _number(float, 0),
  'optim.clip_norm': _number(float, 0),
  'optim.clip_adaptive': _number(float, 0),
  'optim.schedule': _choice('constant', 'cosine', 'exponential', 'step'),
  'optim.warmup_steps': _number(int, 0),
  'optim.decay_rate': _number(float, 0, 1, above=True),
  'optim.decay_steps': _STEPS,
  'start.path': _PATH,
  'start.source': _choice('run', 'keras', 'timm', 'torchvision'),
  'start.checkpoint': Rule(
    'best, latest or a step',
    lambda v: v in ('best', 'latest') or (type(v) is str and v.isdecimal()),
  ),
  'start.exclude': _each(_TEXT, some=False),
  'slurm.partition': _TEXT,
  'slurm.minutes': _number(int, 1),
  'slurm.requeues': _number(int, 0),
  'slurm.signal_delay': _number(int, 1),
  'slurm.cpus': _number(int, 1),
  'slurm.gpus': _number(int, 0),
  'slurm.memory': _number(int, 0),
  'slurm.array_parallelism': _number(int, 1),
  'slurm.options': Rule(
    "a tuple of 'NAME=VALUE' or 'NAME', long options of sbatch without --",
    lambda v: type(v) is tuple and all(map(_is_option, v)),
  ),
  'parallel.backend': _choice('jit', 'shard_map', 'pmap'),
  'parallel.devices': _number(int, 0),
  'eval.every': _STEPS,
  'eval.batch_size': _number(int, 1),
  'eval.statistics': _STATISTICS,
  'eval.crop': _choice('centre', 'whole'),
  'eval.crop_fraction': _number(float, 0, 1, above=True),
  'eval.population_batches': _number(int, 1),
  'probes.names': _each(_entry('probes'), some=False),
  'probes.every': _STEPS,
  'probes.examples': _number(int, 1),
  'probes.statistics': _STATISTICS,
  'probes.percentiles': _each(_number(float, 0, 100), some=True),
  'probes.saturation_threshold': _number(float, 0, above=True),
  'checkpoint.every': _STEPS,
  'checkpoint.keep': _number(int, 1),
}
