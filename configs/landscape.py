"""What training meets along its gradient, with BN and without.

Command:  python -m bnresearch.main --config=configs/landscape.py
Expected: see experiments/santurkar2018_landscape.py, which plots it.
Time:     about 10 s a point on one CPU core.

After a colon, comma-separated:
  networks=lenet+mlp     joined by +
  data=digits|mnist|fashion_mnist
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=1000

Training is as in Santurkar et al. 2018, appendix A: plain SGD of rate 0.1,
batches of 128, Glorot's initial weights, no augmentation. lenet has ReLUs, and
the stem for small images; mlp has ten hidden layers of 100 ReLUs. VGG-11, with
the stem for small images, does not leave chance on digits in 200 such steps
without BN: there is no landscape to compare with.
"""

from configs import default

NETWORKS = {
  'lenet': {'model.name': 'lenet', 'model.stem': 'small'},
  'mlp': {'model.name': 'mlp', 'model.features': (100,) * 10},
}
# From 1/2 to 4 updates, as in the paper, on a logarithmic scale.
LENGTHS = (0.5, 1.0, 2.0, 3.0, 4.0)
FIRST = (1, 2, 3, 5, 7)


def get_config(arg: str = ''):
  """Returns the sweep over networks, norms (none, batch) and seeds."""
  chosen = default.parse(
    arg, networks='lenet+mlp', data='digits', seeds=1, steps=1000
  )
  steps = chosen['steps']
  config = default.get_config()
  config.data.name = chosen['data']
  config.model.activation = 'relu'
  config.model.initializer = 'xavier'
  config.train.steps = steps
  config.train.batch_size = 128
  every = _every(steps)
  config.train.log_every = config.probes.every = config.eval.every = every
  config.checkpoint.every = steps
  config.probes.names = ('gradient_landscape',)
  config.probes.steps = tuple(step for step in FIRST if step <= steps)
  config.probes.step_lengths = LENGTHS
  config.sweep = tuple(
    NETWORKS[network]
    | {'label': f'{network}_{norm}', 'norm.name': norm, 'seed': seed}
    for seed in range(chosen['seeds'])
    for network in chosen['networks'].split('+')
    for norm in ('none', 'batch')
  )
  return config


def _every(steps):
  """Returns a divisor of the steps that makes 100 records or a few more."""
  most = max(1, steps // 100)
  return next(n for n in range(most, 0, -1) if steps % n == 0)
