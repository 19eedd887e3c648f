"""Deep networks: plain, with BN, with shortcuts, with both.

Command:  python -m bnresearch.main --config=configs/depth.py \\
              --launcher=vectorized
Expected: with both, 94 to 98% at every depth; with 50 layers of ReLU 25 to 38%
          with BN, 44 to 74% with neither, and divergence with shortcuts.
Time:     9 minutes for three seeds on two busy cores of an AMD EPYC,
          most of it to compile.

After a colon, comma-separated:
  data=digits|mnist|fashion_mnist
  activations=sigmoid+tanh+relu
  depths=3+12+50         hidden layers, joined by +
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=500

Each activation starts from the initializer that was made for it. All points
share optimizer and learning rate.
"""

from configs import default

INITIALIZERS = {'sigmoid': 'xavier', 'tanh': 'xavier', 'relu': 'kaiming'}
CURES = {
  'neither': ('none', False),
  'BN': ('batch', False),
  'shortcuts': ('none', True),
  'both': ('batch', True),
}
WIDTH = 64  # of all layers, and of the digits


def get_config(arg: str = ''):
  """Returns the sweep over activations, cures, depths and seeds."""
  chosen = default.parse(
    arg,
    data='digits',
    activations='+'.join(INITIALIZERS),
    depths='3+12+50',
    seeds=1,
    steps=500,
  )
  names, depths = (chosen[k].split('+') for k in ('activations', 'depths'))
  for name in names:
    if name not in INITIALIZERS:
      raise ValueError(
        f'activations={chosen["activations"]} after the colon: {name!r} is '
        f'none of {", ".join(INITIALIZERS)}, joined by +.'
      )
  if not all(map(str.isdecimal, depths)):
    raise ValueError(
      f'depths={chosen["depths"]} after the colon: needs whole numbers, joined '
      'by +.'
    )
  config = default.get_config()
  config.data.name = chosen['data']
  config.norm.momentum = 0.9  # forgets the initial statistics in 100 steps
  config.optim.learning_rate = 0.003
  config.optim.momentum = 0.9
  config.optim.schedule = 'cosine'
  config.train.steps = chosen['steps']
  config.eval.every = config.checkpoint.every = chosen['steps']
  config.probes.names = ('backpropagated',)
  config.probes.every = chosen['steps']
  config.sweep = tuple(
    {
      'label': f'{activation}_{depth}_{cure}',
      'model.activation': activation,
      'model.initializer': INITIALIZERS[activation],
      'model.features': (WIDTH,) * int(depth),
      'model.residual': residual,
      'norm.name': norm,
      'seed': seed,
    }
    for seed in range(chosen['seeds'])
    for activation in names
    for depth in depths
    for cure, (norm, residual) in CURES.items()
  )
  return config
