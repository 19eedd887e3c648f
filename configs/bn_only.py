"""Residual networks that train gamma and beta only.

Command:  python -m bnresearch.main --config=configs/bn_only.py
Expected: see experiments/frankle2021_bn_only.py.
Time:     about 2 minutes a seed on two CPU cores.

After a colon, comma-separated:
  data=digits|mnist|fashion_mnist|cifar10
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=1000

The networks are ResNets for small images, 1, 3 or 7 units a stage, of half the
width. All other parameters keep their random values, the logits included.
"""

from configs import default

UNITS = (1, 3, 7)  # 8, 20 and 44 layers
TRAINED = {
  'all': ('*',),
  'gamma and beta': ('*norm/scale', '*norm/bias'),
  'logits': ('logits/*',),
}


def get_config(arg: str = ''):
  """Returns the sweep over depths, what is trained, and seeds."""
  chosen = default.parse(arg, data='digits', seeds=1, steps=1000)
  config = default.get_config()
  config.data.name = chosen['data']
  config.model.name = 'resnet'
  config.model.variant = 'cifar_20'
  config.model.width = 0.5
  config.model.min_width = 8
  config.model.init_sites = ('logits=kaiming',)  # 0.01 would leave them flat
  config.norm.momentum = 0.9
  config.optim.learning_rate = 0.1
  config.optim.momentum = 0.9
  config.optim.schedule = 'cosine'
  config.train.steps = chosen['steps']
  config.train.log_every = 50
  config.eval.every = 100
  config.checkpoint.every = chosen['steps']
  config.sweep = tuple(
    {
      'model.blocks': (units,) * 3,
      'optim.trained': trained,
      'seed': seed,
      'label': f'{6 * units + 2}_layers_{name.replace(" ", "_")}',
    }
    for units in UNITS
    for name, trained in TRAINED.items()
    for seed in range(chosen['seeds'])
  )
  return config
