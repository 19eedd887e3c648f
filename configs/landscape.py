"""What training meets along its gradient, with BN and without.

Command:  python -m bnresearch.main --config=configs/landscape.py
Expected: see experiments/santurkar2018_landscape.py, which plots it.
Time:     about a minute a point of vgg on one CPU core, 10 s of mlp.

After a colon, comma-separated:
  networks=vgg+mlp       joined by +
  data=digits|mnist|fashion_mnist
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=1500

vgg is as in Santurkar et al. 2018, appendix A: plain SGD of rate 0.1, batches
of 128, Glorot's initial weights, no augmentation; but it is '11' with the stem
for small images and a quarter of its width. mlp is Figure 1's of the BN paper,
from the easy start, with batches of 128 too.
"""

from configs import default

NETWORKS = {
  'vgg': {
    'model.name': 'vgg',
    'model.variant': '11',
    'model.stem': 'small',
    'model.width': 0.25,
    'model.initializer': 'xavier',
    'model.dropout_rate': 0.0,
  },
  'mlp': {'model.name': 'mlp', 'model.init_std': 0.1},
}
# From 1/2 to 4 updates, as in the paper, on a logarithmic scale.
LENGTHS = (0.5, 1.0, 2.0, 3.0, 4.0)
FIRST = (1, 2, 5, 10)


def get_config(arg: str = ''):
  """Returns the sweep over networks, norms (none, batch) and seeds."""
  chosen = default.parse(
    arg, networks='vgg+mlp', data='digits', seeds=1, steps=1500
  )
  steps = chosen['steps']
  config = default.get_config()
  config.data.name = chosen['data']
  config.train.steps = steps
  config.train.batch_size = 128
  config.train.log_every = config.probes.every = max(1, steps // 60)
  config.eval.every = max(1, steps // 10)
  config.checkpoint.every = steps
  config.probes.names = ('gradient_landscape', 'gradient_norm')
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
