"""Inception with and without BN: Figures 2, 3, 4 of the BN paper, section 4.2.

Command:  python -m bnresearch.main --config=configs/inception.py
Expected: with scale=small and three seeds, highest accuracy on Fashion-MNIST:
          Inception 86.6 ± 0.7%; BN-Baseline 88.6 ± 0.1%, with 1.8 times fewer
          steps to Inception's accuracy; BN-x5 85.7 ± 0.5% and BN-x30 81.2 ±
          0.5% in a third of the steps; BN-x5-Sigmoid 85.1 ± 0.7%; Inception at
          five times the rate, or with sigmoids: chance.
Time:     37 minutes a seed on two quiet cores of an AMD EPYC; on one, 0.09 s a
          step without BN and 0.1 s with it.

After a colon, comma-separated:
  study=figure2          the paper's five curves, and its two networks without
                         BN that did not train; or
  study=modifications    BN-Baseline, alone and with each of the seven
                         modifications of section 4.2.1; BN-x5, complete and
                         without each of them; or
  study=ensemble         BN-x30, and the six networks of section 4.2.3; or
  study=photometric      Inception and BN-x5, over strengths of distortion; or
  study=auxiliary        Inception and BN-x5, over uses of auxiliary heads; or
  study=alternating      the same, over ways to train one head after the other;
                         or
  study=tuning           Inception with other learning rates
  scale=small            images of 28 to 32 pixels, a narrow network; or
  scale=paper            ImageNet at 224 pixels, as published
  data=fashion_mnist     for scale=small; or cifar10, digits, mnist, svhn, ...
  steps=9000             for scale=small, of Inception; a multiple of 300
  batch=32               for scale=paper; 32 is the paper's
  seeds=1                runs seeds 0 ... seeds-1 of each point

Both scales have the same points; they differ only by `_small` and `_paper`.
Where the paper is silent, we assume: momentum 0.9; slim's L2 weight of 4e-5;
LRN with Krizhevsky's constants; slim's distortions, and 'reduced' ones of half
the strength; 16 shards; a learning rate that decays as GoogLeNet's, by 4% every
8 epochs, so to 2% over Inception's 31 million steps; and for the ensemble,
which network has which variations, and that larger initial weights are twice as
large. Networks whose rate decays 6 times faster train for a third of the steps;
in the paper, for a fifth.

With scale=small the rate decays to 10% over Inception's steps; where it decays
6 times faster, to 1% over a third of them. Its initial value and this decay
are tuned for Inception, the network without BN, with one seed and 6,000 steps.
Rates of 0.005, 0.01, 0.02, 0.04 and 0.08, decaying to 2%, gave 77.5, 80.3,
82.3, 82.7 and 10.0%; 0.02 decaying to 10% and 30%, 84.0 and 82.4%; 0.04
decaying to 10%, 10.0% when it was stopped halfway.

With batch=256 there are an eighth of the steps, at 8 times the learning rate.
The paper does not scale so, and without a warm-up it may fail at the higher
rates. BN keeps its groups of 32 examples.
"""

from ml_collections import ConfigDict

from configs import default

NOT_TO_MIRROR = ('digits', 'mnist', 'svhn')  # a mirrored 2 is not a 2
_TINY = ('digits', 'synthetic')  # images of 8 pixels
_PAPERS_BATCH = 32


def get_config(arg: str = ''):
  """Returns the sweep over networks, or modifications, and seeds."""
  chosen = default.parse(
    arg,
    study=tuple(_STUDIES),
    scale=('small', 'paper'),
    data='fashion_mnist',
    steps=9000,
    batch=_PAPERS_BATCH,
    seeds=1,
  )
  config = _inception()
  if chosen['scale'] == 'small':
    _small(config, chosen['data'], chosen['steps'])
  else:
    _paper(config, chosen['batch'])
  config.sweep = tuple(
    {'label': label, **overrides, 'seed': overrides.get('seed', 0) + seed}
    for seed in range(chosen['seeds'])
    for label, overrides in _STUDIES[chosen['study']](config).items()
  )
  if not any('norm.name' in point for point in config.sweep):
    norm = default.get_config().norm  # without BN there are no statistics
    config.norm.momentum, config.norm.group_size = norm.momentum, 0
  return config


def _inception() -> ConfigDict:
  """Returns the paper's Inception, without BN."""
  config = default.get_config()
  config.data.mean = config.data.std = (0.5,)
  config.data.shuffle = 'none'
  config.augment.flip = True
  config.augment.photometric = 1.0
  config.model.name = 'inception_v2'
  config.model.dropout_rate = 0.4
  config.model.lrn = 'yes'
  config.norm.name = 'none'
  config.train.batch_size = _PAPERS_BATCH
  config.optim.momentum = 0.9
  config.optim.l2 = 4e-5
  config.optim.schedule = 'exponential'
  config.checkpoint.keep = 1
  return config


def _small(config: ConfigDict, data: str, steps: int) -> None:
  """Sets the knobs for small images."""
  if steps % 300:
    nearest = max(1, round(steps / 300)) * 300
    raise ValueError(
      f'steps={steps}: needs a multiple of 300, such as {nearest}.'
    )
  config.data.name = data
  config.augment.crop = 'padded'
  config.augment.padding = 2
  config.augment.flip = data not in NOT_TO_MIRROR
  config.model.stem = 'small' if data in _TINY else 'medium'
  config.model.width = 0.125
  config.model.min_width = 8
  config.norm.momentum = 0.99
  config.train.steps = steps
  config.train.log_every = 100
  config.optim.learning_rate = 0.02
  config.optim.decay_rate = 0.1
  config.optim.decay_steps = steps
  config.eval.every = 300
  config.eval.batch_size = 500
  config.checkpoint.every = 300


def _paper(config: ConfigDict, batch: int) -> None:
  """Sets the knobs for ImageNet."""
  if batch not in (32, 64, 128, 256):  # which keep all numbers whole
    raise ValueError(f'batch={batch}: needs 32, 64, 128 or 256.')
  times = batch // _PAPERS_BATCH
  config.data.name = 'imagenet2012'
  config.augment.crop = 'resized'
  config.norm.momentum = 0.999
  config.norm.group_size = _PAPERS_BATCH if times > 1 else 0
  config.train.batch_size = batch
  config.train.steps = 31_200_000 // times
  config.train.log_every = 1000 // times
  config.optim.learning_rate = 0.0015 * times
  config.optim.decay_rate = 0.96
  config.optim.decay_steps = 8 * 1_281_167 // batch
  config.eval.every = 100_000 // times
  config.eval.batch_size = 100
  config.checkpoint.every = 100_000 // times


def modifications(config: ConfigDict, factor: float = 5) -> dict[str, dict]:
  """Returns the seven of section 4.2.1, each as overrides of one knob.

  Except that the faster decay also shortens training.

  Args:
    config: Inception's config.
    factor: factor on the learning rate.
  """
  optim = config.optim
  return {
    'learning_rate': {
      'optim.learning_rate': round(factor * optim.learning_rate, 9)
    },
    'dropout': {'model.dropout_rate': 0.0},
    'l2': {'optim.l2': optim.l2 / 5},
    'decay': {
      'optim.decay_steps': optim.decay_steps // 6,
      'train.steps': config.train.steps // 3,
    },
    'lrn': {'model.lrn': 'no'},
    'shuffle': {'data.shuffle': 'within_shard'},
    'photometric': {'augment.photometric': 0.5},
  }


def _with(*overrides):
  """Returns the override for BN, with further overrides."""
  result = {'norm.name': 'batch'}
  for more in overrides:
    result |= more
  return result


def _figure2(config):
  x5, x30 = (modifications(config, factor) for factor in (5, 30))
  sigmoid = {'model.activation': 'sigmoid'}
  return {
    'inception': {},
    'bn_baseline': _with(),
    'bn_x5': _with(*x5.values()),
    'bn_x30': _with(*x30.values()),
    'bn_x5_sigmoid': _with(*x5.values(), sigmoid),
    'inception_x5': x5['learning_rate'],
    'inception_sigmoid': sigmoid,
  }


def _modifications(config):
  every = modifications(config)
  result = {'bn_baseline': _with()}
  for name, overrides in every.items():
    result[f'bn_baseline_with_{name}'] = _with(overrides)
  result['bn_x5'] = _with(*every.values())
  for name in every:
    others = [every[other] for other in every if other != name]
    result[f'bn_x5_without_{name}'] = _with(*others)
  return result


def _ensemble(config):
  x30 = _with(*modifications(config, 30).values())
  weights = {'model.init_gain': 2.0}
  last = {'norm.per_activation': ('inception_5*',)}
  dropout_5, dropout_10 = ({'model.dropout_rate': r} for r in (0.05, 0.1))
  members = {
    'weights': weights,
    'dropout_5': dropout_5,
    'dropout_10': dropout_10,
    'per_activation': last,
    'weights_dropout_5': weights | dropout_5,
    'per_activation_dropout_10': last | dropout_10,
  }
  return {'bn_x30': x30} | {
    f'member_{name}': x30 | overrides | {'seed': 100 * k}  # none share a seed
    for k, (name, overrides) in enumerate(members.items(), 1)
  }


def _photometric(config):
  strengths = (0.0, 0.5, 1.0, 2.0)  # the paper states none
  return _both(
    config,
    {f'photometric_{s:g}': {'augment.photometric': s} for s in strengths},
  )


def _auxiliary(config):
  heads = {'model.auxiliary_heads': True}
  return _both(
    config,
    {
      'auxiliary_none': {},
      'auxiliary_total': heads | {'objective.auxiliary_weight': 1.0},
      # The published results are of this kind, through the whole network.
      'auxiliary_alternating': heads
      | {'objective.auxiliary': 'alternating_whole'},
    },
  )


def _alternating(config):
  heads = {'model.auxiliary_heads': True}
  return _both(
    config,
    {
      way: heads | {'objective.auxiliary': way}
      for way in ('weighted', 'alternating', 'alternating_whole')
    },
  )


def _both(config, variants):
  """Returns the variants of both Inception and BN-x5."""
  x5 = _with(*modifications(config).values())
  return {
    f'{label}_{name}': base | overrides
    for label, base in (('inception', {}), ('bn_x5', x5))
    for name, overrides in variants.items()
  }


def _tuning(config):
  rates = [config.optim.learning_rate * 2.0**k for k in (-2, -1, 0, 1, 2)]
  return {
    f'inception_at_{rate:g}': {'optim.learning_rate': rate} for rate in rates
  }


_STUDIES = {
  'figure2': _figure2,
  'modifications': _modifications,
  'ensemble': _ensemble,
  'photometric': _photometric,
  'auxiliary': _auxiliary,
  'alternating': _alternating,
  'tuning': _tuning,
}
