"""Every knob, with the value it has unless a config file says otherwise.

Command:  python -m bnresearch.main --config=configs/default.py
Expected: 98.6% test accuracy on the embedded digits.
Time:     about 5 s on one CPU core.

A config file is `get_config(arg)`: it takes these defaults, changes some and,
for a study, adds a sweep, a tuple of overrides made by comprehension:

  config.sweep = tuple({'seed': s} for s in range(5))

Any knob can be set on the command line, `--config.optim.learning_rate=0.5`.
"""

import ml_collections


def get_config(arg: str = '') -> ml_collections.ConfigDict:
  """Returns the defaults; takes no argument after the colon."""
  parse(arg)
  config = ml_collections.ConfigDict()
  config.seed = 0  # initial weights, order of the examples, dropout
  config.dry_run = False  # two steps on tiny synthetic data, kept nowhere
  config.sweep = ()  # tuple of {'dotted.key': value}; () is a single run

  config.data = ml_collections.ConfigDict()
  config.data.name = 'digits'  # a file of bnresearch/data
  config.data.binarize = False  # pixels 0 or 1, the paper's MNIST input
  config.data.binarize_threshold = 0.5  # fraction of white; not in the paper
  config.data.examples = 600  # size of each split, data set synthetic only

  config.model = ml_collections.ConfigDict()
  config.model.name = 'mlp'  # a file of bnresearch/models
  config.model.features = (100, 100, 100)  # units of the hidden layers
  config.model.activation = 'sigmoid'  # its name in flax.linen
  config.model.init_std = 0.1  # of the Gaussian weights; not in the paper

  config.norm = ml_collections.ConfigDict()
  config.norm.name = 'batch'  # a file of bnresearch/norms
  config.norm.momentum = 0.99  # weight of the old running statistics
  config.norm.epsilon = 1e-5  # added to the variance; not in the paper
  config.norm.running_variance = 'unbiased'  # m/(m-1), the paper's; or biased
  config.norm.use_scale = True  # learn gamma
  config.norm.use_bias = True  # learn beta

  config.train = ml_collections.ConfigDict()
  config.train.steps = 5000  # updates
  config.train.batch_size = 60  # examples of one update; the paper's
  config.train.log_every = 100  # steps in one call and one row of the log
  config.train.scan = 'auto'  # lax.scan over the call: auto, always, never

  config.optim = ml_collections.ConfigDict()
  config.optim.name = 'sgd'  # its name in optax
  config.optim.learning_rate = 0.1  # peak of the schedule; not in the paper
  config.optim.momentum = 0.0  # sgd, rmsprop: 0 keeps no velocity
  config.optim.nesterov = False  # sgd, rmsprop
  config.optim.weight_decay = 0.0  # decoupled: adamw, lamb, lion
  config.optim.l2 = 0.0  # gradient of l2/2 |w|^2, on kernels only
  config.optim.schedule = 'constant'  # constant, cosine, exponential, step
  config.optim.warmup_steps = 0  # linear from 0, before the schedule
  config.optim.decay_rate = 0.1  # exponential, step: factor per decay_steps
  config.optim.decay_steps = 1000  # exponential, step

  config.eval = ml_collections.ConfigDict()
  config.eval.every = 500  # steps; the whole test split, exactly
  config.eval.batch_size = 1000  # examples of one call
  config.eval.statistics = 'ema'  # that normalize: ema or batch
  config.eval.population_batches = 100  # of Algorithm 2, in --mode=eval

  config.probes = ml_collections.ConfigDict()
  config.probes.names = ()  # files of bnresearch/probes
  config.probes.every = 500  # steps
  config.probes.examples = 1000  # first test images, the fixed probe batch
  config.probes.statistics = 'ema'  # that normalize: ema or batch
  config.probes.percentiles = (15.0, 50.0, 85.0)  # Figure 1's
  config.probes.saturation_threshold = 4.0  # |input| whose sigmoid is flat

  config.checkpoint = ml_collections.ConfigDict()
  config.checkpoint.every = 5000  # steps; also at the end and on SIGTERM
  config.checkpoint.keep = 2  # latest ones; the best one is kept besides
  return config.lock()


def parse(arg: str, **defaults: str | int) -> dict[str, str | int]:
  """Reads what follows the colon of `--config=FILE:key=value,key=value`.

  Args:
    arg: the text after the colon.
    **defaults: the keys that this config knows; a value takes its default's
      type.

  Raises:
    ValueError: a key is unknown or a value has the wrong type.
  """
  values = dict(defaults)
  for item in filter(None, arg.split(',')):
    key, equals, text = item.partition('=')
    if not equals or key not in defaults:
      takes = ', '.join(f'{k}={v}' for k, v in defaults.items()) or 'nothing'
      raise ValueError(f'{item!r} after the colon: this config takes {takes}.')
    try:
      values[key] = type(defaults[key])(text)
    except ValueError:
      kind = type(defaults[key]).__name__
      raise ValueError(f'{item!r} after the colon: needs {kind}.') from None
  return values
