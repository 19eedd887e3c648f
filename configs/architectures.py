"""Every architecture at small-image scale, with and without BN.

Command:  python -m bnresearch.main --config=configs/architectures.py
Expected: on Fashion-MNIST, 65% to 84% test accuracy with BN. Without it, half
          of the deep networks are still at chance; MLP, LSTM, LeNet, VGG,
          ResNet and DenseNet are not.
Time:     on Fashion-MNIST, on one CPU core, from 1 s a point (mlp) to 11
          minutes (inception_v4); 53 minutes for all, two at a time.

After a colon, comma-separated:
  data=digits|mnist|fashion_mnist
  models=all             keys of MODELS, joined by +
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=300

All networks share learning rate, optimizer, batch size and number of steps;
none is tuned. The comparison is how well each learns in so few steps. The deep
networks have a quarter of the published width, and the stem for small images.
"""

from configs import default

_SMALL = {'model.stem': 'small', 'model.width': 0.25}
MODELS = {
  'mlp': {'model.activation': 'relu'},
  'lstm': {},
  'lenet': {'model.stem': 'small'},
  'alexnet': _SMALL,
  'vgg': _SMALL | {'model.variant': '11'},
  'nin': _SMALL,
  'googlenet': _SMALL,
  'inception_v2': _SMALL,
  'inception_v3': _SMALL | {'model.blocks': (1, 1, 1)},
  'inception_v4': _SMALL | {'model.blocks': (1, 1, 1)},
  'inception_resnet_v2': _SMALL | {'model.blocks': (1, 1, 1)},
  'resnet': _SMALL | {'model.variant': '18'},
  'densenet': _SMALL
  | {'model.variant': 'bc_100_12', 'model.blocks': (4, 4, 4)},
  'mobilenet_v1': _SMALL,
  'mobilenet_v2': _SMALL,
}


def get_config(arg: str = ''):
  """Returns the sweep over architectures, norms (none, batch) and seeds."""
  chosen = default.parse(arg, data='digits', models='all', seeds=1, steps=300)
  models = chosen['models'].split('+')
  models = list(MODELS) if models == ['all'] else models
  for model in models:
    if model not in MODELS:
      raise ValueError(
        f'models={model} after the colon: needs all, or some of '
        f'{", ".join(MODELS)}.'
      )
  config = default.get_config()
  config.data.name = chosen['data']
  config.train.steps = chosen['steps']
  config.train.log_every = min(50, chosen['steps'])
  if any('model.width' in MODELS[model] for model in models):
    config.model.min_width = 8
  config.norm.momentum = 0.9  # with 0.99, forgetting takes 458 steps
  config.optim.learning_rate = 0.05
  config.optim.momentum = 0.9
  config.eval.every = chosen['steps']
  config.eval.batch_size = 500
  config.checkpoint.every = chosen['steps']
  config.sweep = tuple(
    {'model.name': model, 'norm.name': norm, 'seed': seed} | MODELS[model]
    for seed in range(chosen['seeds'])
    for model in models
    for norm in ('none', 'batch')
  )
  return config
