"""How distributions move in any network, with a norm and without.

Command:  python -m bnresearch.main --config=configs/histograms.py
Expected: two runs that colab/ics_histograms.ipynb draws: histograms of every
          layer, and internal covariate shift by every definition, at steps 0,
          1, 2, 3, 5, 7, 10 and so on.
Time:     about 20 s a point on one CPU core; inception_v2 compiles for two
          minutes.

After a colon, comma-separated:
  network=mlp|lenet|vgg|resnet|inception_v2
  data=digits            or mnist, fashion_mnist, ...
  norm=batch             beside none
  position=before|after  the activation
  activation=own         or relu, sigmoid, ...
  initializer=own        or kaiming, normal, ...
  init_std=0.01          of the mlp's weights, or of initializer=normal
  rate=own               learning rate; own: 0.1 for the mlp, else 0.05
  steps=50000            for the mlp; else take a few hundred
  seeds=1                runs seeds 0 ... seeds-1 of both

The mlp is that of Figure 1 of the BN paper. The others are small: the stem for
small images, narrow layers, momentum 0.9, of running statistics too.
"""

from configs import default

_SMALL = {
  'model.stem': 'small',
  'optim.learning_rate': 0.05,
  'optim.momentum': 0.9,
}
_NARROW = _SMALL | {'model.width': 0.25, 'model.min_width': 8}
NETWORKS = {
  'mlp': {'data.binarize': True},
  'lenet': _SMALL,
  'vgg': _NARROW | {'model.variant': '11'},
  'resnet': _NARROW | {'model.variant': '18'},
  'inception_v2': _NARROW,
}
PROBES = (
  'activation_histogram',
  'activation_percentiles',
  'distribution_shift',
  'gradient_norm',
  'gradient_shift',
)
_DECADE = 10, 14, 20, 30, 50, 70
# Norms that have running statistics. In a few hundred steps, those of momentum
# 0.99 do not forget where they began.
_RUNNING = (
  *('batch', 'batch_renorm', 'evonorm_b0', 'iterative_whitening'),
  *('lp', 'noisy_batch', 'switchable'),
)


def get_config(arg: str = ''):
  """Returns the sweep over two norms, none and another, and seeds."""
  chosen = default.parse(
    arg,
    network=tuple(NETWORKS),
    data='digits',
    norm='batch',
    position=('before', 'after'),
    activation='own',
    initializer='own',
    init_std='0.01',
    rate='own',
    steps=50_000,
    seeds=1,
  )
  config = default.get_config()
  config.data.name = chosen['data']
  _set_network(config, chosen)
  _set_records(config, chosen['steps'])
  own = {'norm.name': chosen['norm']}
  if chosen['position'] == 'after':
    own['model.norm_position'] = 'after'
  if chosen['norm'] in _RUNNING:
    own['probes.statistics'] = 'batch'  # at step 0, others estimate nothing
    if chosen['network'] != 'mlp':
      own['norm.momentum'] = 0.9
  config.sweep = tuple(
    {**norm, 'seed': seed}
    for seed in range(chosen['seeds'])
    for norm in ({'norm.name': 'none'}, own)
  )
  return config


def _set_network(config, chosen):
  network, initializer = chosen['network'], chosen['initializer']
  config.model.name = network
  for key, value in NETWORKS[network].items():
    group, name = key.split('.')
    config[group][name] = value
  config.model.activation = chosen['activation']
  config.model.initializer = initializer
  if 'normal' in initializer or (network == 'mlp' and initializer == 'own'):
    config.model.init_std = float(chosen['init_std'])
  if chosen['rate'] != 'own':
    config.optim.learning_rate = float(chosen['rate'])


def _set_records(config, steps):
  every = max(1, min(500, steps // 20))
  config.train.steps = steps
  config.train.log_every = config.eval.every = config.probes.every = every
  config.checkpoint.every = steps
  config.probes.names = PROBES
  config.probes.bins = 60
  config.probes.steps = tuple(_early(steps))


def _early(steps):
  """Returns 1, 2, 3, 5, 7, 10, 14, 20, 30 and so on, below `steps`."""
  places = sorted({step * 10**k // 10 for step in _DECADE for k in range(6)})
  return [step for step in places if step < steps]
