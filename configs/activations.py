"""Activations, initializers, and BN or none, in one network.

Command:  python -m bnresearch.main --config=configs/activations.py \\
              --launcher=vectorized
Expected: with BN, test accuracy of 80 to 85%; without, 71 to 84%, or a guess
          where the activation does not train from an initializer.
Time:     140 s for three seeds on two cores of an AMD EPYC.

After a colon, comma-separated:
  data=fashion_mnist     or mnist, digits, cifar10, ...
  activations=relu+...   names of `ACTIVATIONS`, joined by +
  initializers=xavier+kaiming+lsuv
  layers=10              each of 64 units
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=500

The network is deep enough for an initializer to matter. All points share
optimizer and learning rate.
"""

from configs import default

ACTIVATIONS = ('relu', 'prelu', 'elu', 'relu6', 'maxout', 'tanh', 'sigmoid')
INITIALIZERS = ('xavier', 'kaiming', 'lsuv')
NORMS = ('none', 'batch')
LAYERS, WIDTH = 10, 64


def get_config(arg: str = ''):
  """Returns the sweep over activations, initializers, norms and seeds."""
  chosen = default.parse(
    arg,
    data='fashion_mnist',
    activations='+'.join(ACTIVATIONS),
    initializers='+'.join(INITIALIZERS),
    layers=LAYERS,
    seeds=1,
    steps=500,
  )
  config = default.get_config()
  config.data.name = chosen['data']
  config.model.features = (WIDTH,) * chosen['layers']
  config.norm.momentum = 0.9
  config.optim.learning_rate = 0.03
  config.optim.momentum = 0.9
  config.optim.schedule = 'cosine'
  config.train.steps = chosen['steps']
  config.eval.every = config.checkpoint.every = chosen['steps']
  config.sweep = tuple(
    {
      'model.activation': activation,
      'model.initializer': initializer,
      'norm.name': norm,
      'seed': seed,
    }
    for seed in range(chosen['seeds'])
    for activation in chosen['activations'].split('+')
    for initializer in chosen['initializers'].split('+')
    for norm in NORMS
  )
  return config
