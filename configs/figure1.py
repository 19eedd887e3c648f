"""Figure 1 of Ioffe & Szegedy 2015: a sigmoid network with and without BN.

Command:  python -m bnresearch.main --config=configs/figure1.py
Expected: test accuracy of 94.1% with BN and 90.7% without; on mnist, 97.7% and
          94.1%. With init=easy they differ less: 94.7, 94.1; 97.5, 97.0%.
Time:     about 15 s a point on one CPU core; on mnist, about 45 s.

After a colon, comma-separated:
  data=digits|mnist|fashion_mnist   mnist is the paper's
  init=tight|easy|both   initial weights with std 0.01, 0.1, or each
  probes=paper|gradients percentiles, moments and saturation every 500 steps; or
                         gradients and their shift, at 1, 2, 5, 10, ... too
  seeds=1                runs seeds 0 ... seeds-1 of each point
  steps=50000            the paper's

The paper states the network, the batch of 60 and the 50,000 steps. Optimizer,
learning rate, initial std and binarization threshold are our assumptions.
"""

from configs import default

PROBES = {
  'paper': ('activation_percentiles', 'activation_moments', 'saturation'),
  'gradients': ('gradient_norm', 'gradient_shift', 'activation_percentiles'),
}
FIRST = (1, 2, 5, 10, 20, 50, 100, 200)
INIT_STD = {'tight': (0.01,), 'easy': (0.1,), 'both': (0.01, 0.1)}


def get_config(arg: str = ''):
  """Returns the sweep over norms (none, batch), initializations and seeds."""
  chosen = default.parse(
    arg,
    data='digits',
    init=tuple(INIT_STD),
    probes=tuple(PROBES),
    seeds=1,
    steps=50_000,
  )
  config = default.get_config()
  config.data.name = chosen['data']
  config.data.binarize = True
  config.train.steps = chosen['steps']
  config.train.log_every = 500
  config.probes.names = PROBES[chosen['probes']]
  if chosen['probes'] == 'gradients':
    steps = config.train.steps
    config.probes.steps = tuple(step for step in FIRST if step <= steps)
  config.sweep = tuple(
    {'model.init_std': std, 'norm.name': norm, 'seed': seed}
    for seed in range(chosen['seeds'])
    for std in INIT_STD[chosen['init']]
    for norm in ('none', 'batch')
  )
  return config
