"""Convolutions and poolings that papers exchange: which gives more for less?

Command:  python -m bnresearch.main --config=configs/convolutions.py
Expected: on Fashion-MNIST, 82% to 85% test accuracy, less with a dense layer;
          see experiments/convolutions.py.
Time:     about 40 s a point on one core of an AMD EPYC.

After a colon, comma-separated:
  data=fashion_mnist     or mnist, cifar10, ...
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=800              of 32 images

Each network is a published one, a sixteenth as wide, and those of Inception
have few modules; points of a network differ by one knob. 5x5 are on maps from
28x28 down to one pixel, which VGG pools; 7x7 are on maps of 13x13. Optimizer
and learning rate are the same for all, and none is tuned.
"""

from configs import default

NETWORKS = {
  'vgg': {'model.stem': 'small'},
  'inception_v3': {'model.stem': 'small', 'model.blocks': (0, 1, 0)},
  'inception_v2': {'model.stem': 'medium', 'model.blocks': (0, 0, 0)},
}
# {label: (network, overrides)}.
POINTS = {
  '5x5': ('vgg', {'model.variant': '8_5x5'}),
  'two_3x3': ('vgg', {'model.variant': '13'}),
  'one_3x3': ('vgg', {'model.variant': '8'}),
  '7x7': ('inception_v3', {'model.asymmetric': False}),
  '1x7_7x1': ('inception_v3', {'model.asymmetric': True}),
  'pooled': ('inception_v2', {'model.reduction': 'pooled'}),
  'strided': ('inception_v2', {'model.reduction': 'strided'}),
  'dense': ('inception_v2', {'model.last_pooling': 'none'}),
}


def get_config(arg: str = ''):
  """Returns the sweep over the points and seeds."""
  chosen = default.parse(arg, data='fashion_mnist', seeds=1, steps=800)
  config = default.get_config()
  config.data.name = chosen['data']
  config.model.width = 0.0625
  config.model.min_width = 4
  config.model.dropout_rate = 0.0
  config.norm.momentum = 0.9  # with 0.99, forgetting takes 458 steps
  config.train.batch_size = 32
  config.train.steps = chosen['steps']
  config.train.log_every = 50
  config.optim.learning_rate = 0.1
  config.optim.momentum = 0.9
  config.optim.schedule = 'cosine'
  config.eval.every = chosen['steps']
  config.eval.batch_size = 500
  config.checkpoint.every = chosen['steps']
  config.sweep = tuple(
    {'label': label, 'model.name': network, 'seed': seed}
    | NETWORKS[network]
    | overrides
    for seed in range(chosen['seeds'])
    for label, (network, overrides) in POINTS.items()
  )
  return config
