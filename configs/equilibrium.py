"""Where weights below BN come to rest under L2: rates, L2 and momentum.

Command:  python -m bnresearch.main --config=configs/equilibrium.py \\
              --launcher=vectorized
Expected: see experiments/wan2020_equilibrium.py.
Time:     about a minute a seed on two CPU cores.

After a colon, comma-separated:
  data=fashion_mnist     or mnist, digits, ...
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=20000

Two of the four pairs of rate and L2 have the same product.
"""

from configs import default

RATES = (0.05, 0.2)
L2 = (1e-3, 4e-3)
MOMENTA = (0.0, 0.9)


def get_config(arg: str = ''):
  """Returns the sweep over rates, weights of L2, momenta and seeds."""
  chosen = default.parse(arg, data='fashion_mnist', seeds=1, steps=20_000)
  config = default.get_config()
  config.data.name = chosen['data']
  config.model.activation = 'relu'
  config.model.initializer = 'kaiming'
  config.train.steps = chosen['steps']
  config.train.log_every = 100
  config.eval.every = 2000
  config.checkpoint.every = chosen['steps']
  config.probes.names = ('gradient_norm', 'update_ratio')
  config.probes.every = 100
  config.sweep = tuple(
    {
      'optim.learning_rate': rate,
      'optim.l2': weight,
      'optim.momentum': momentum,
      'seed': seed,
    }
    for momentum in MOMENTA
    for rate in RATES
    for weight in L2
    for seed in range(chosen['seeds'])
  )
  return config
